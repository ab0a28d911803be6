"""What goes into the database comes out again, once, in id order."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.clock import ManualClock
from edge_runtime.errors import StorageError
from edge_runtime.storage.database import Database
from edge_runtime.storage.rows import decode, encode, utc_text
from edge_runtime.values import Defect, InspectionRecord, Outcome, TileCounts, Trigger, Verdict, Zone

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PIXEL = st.integers(0, 20_000)
MOMENT = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(timezone(timedelta(hours=5, minutes=30))))


@st.composite
def defects(draw: st.DrawFn) -> Defect:
    x0, y0 = draw(PIXEL), draw(PIXEL)
    box = (x0, y0, x0 + 1 + draw(PIXEL), y0 + 1 + draw(PIXEL))
    area_mm2, score = draw(st.none() | FLOAT), draw(st.floats(0, 1))
    return Defect(
        draw(st.integers(1, 255)), box, draw(st.integers(1, 10**9)), area_mm2, score, draw(st.sampled_from(Zone))
    )


@st.composite
def inspection_records(draw: st.DrawFn) -> InspectionRecord:
    found = tuple(draw(st.lists(defects(), max_size=3)))
    part_id, at_ns = draw(st.integers(1, 2**62)), draw(st.integers(0, 2**62))
    verdict = Verdict(
        part_id,
        draw(st.sampled_from(Outcome)),
        tuple(draw(st.lists(TEXT, min_size=1, max_size=3))),
        found,
        len(found) + draw(st.integers(0, 9)),
        draw(INT64),
        draw(TEXT),
        draw(TEXT),
    )
    trigger = Trigger(part_id, at_ns, at_ns + draw(st.integers(1, 10**12)))
    stage_ms = draw(st.dictionaries(TEXT, FLOAT, max_size=3))
    tiles = TileCounts(
        draw(st.integers(9, 99)), draw(st.integers(0, 99)), draw(st.integers(4, 9)), draw(st.integers(0, 4))
    )
    seqno = draw(st.none() | INT64)
    means = {"tile_px": draw(st.integers(0, 4096)), "engine": draw(TEXT)}
    return InspectionRecord(trigger, verdict, draw(MOMENT), seqno, stage_ms, tiles=tiles, **means)


@settings(deadline=None, max_examples=25)  # each example waits for a disk
@given(records=st.lists(inspection_records(), max_size=4, unique_by=lambda record: record.trigger.part_id))
def test_every_record_comes_back_unchanged_and_in_id_order(records, tmp_path_factory):
    with closing(Database(tmp_path_factory.mktemp("db") / "records.db", ManualClock())) as database:
        database.open()
        for record in records:
            database.add(record)
        assert database.commit() == sorted(record.trigger.part_id for record in records)
        assert list(database.records()) == sorted(records, key=lambda record: record.trigger.part_id)


@given(MOMENT, MOMENT)
def test_order_of_time_labels_is_order_of_time(one, other):
    assert (utc_text(one) < utc_text(other)) == (one < other)


@settings(deadline=None)
@given(inspection_records())
def test_rows_decode_to_the_record_they_encode(record):
    assert decode(encode(record)) == record


def test_nothing_is_visible_before_the_commit(database, make_record):
    database.add(make_record(1))
    assert database.latest(10) == []
    assert database.commit() == [1]
    assert database.latest(10) == [make_record(1)]
    assert database.commit() == []


def test_latest_is_newest_first_and_limited(database, make_record):
    for part_id in (2, 9, 4, 7):
        database.add(make_record(part_id))
    database.commit()
    assert database.latest(3) == [make_record(9), make_record(7), make_record(4)]


def test_records_are_read_in_batches_while_others_are_committed(database, make_record):
    for part_id in range(1, 1201):
        database.add(make_record(part_id, Outcome.PASS))
    database.commit()
    reading = database.records(first_part_id=100)
    first = next(reading)
    database.add(make_record(1201))
    database.commit()
    assert [record.trigger.part_id for record in (first, *reading)] == list(range(100, 1202))


def test_a_repeated_record_is_answered_as_committed_again(database, make_record):
    database.add(make_record(1))
    database.add(make_record(1))
    assert database.commit() == [1]
    database.add(make_record(1))
    database.add(make_record(2))
    assert database.commit() == [1, 2]
    assert list(database.records()) == [make_record(1), make_record(2)]


@pytest.mark.parametrize("committed", [False, True])
def test_the_same_id_with_other_content_is_refused_and_harms_nothing(database, make_record, committed):
    database.add(make_record(1))
    if committed:
        database.commit()
    with pytest.raises(StorageError, match="part 1 is already recorded with other content"):
        database.add(make_record(1, model_id="other"))
    database.add(make_record(2))
    database.commit()
    assert list(database.records()) == [make_record(1), make_record(2)]


def test_another_defect_is_other_content(database, make_record):
    record = make_record(1)
    database.add(record)
    database.commit()
    fewer = replace(record, verdict=replace(record.verdict, defects=record.verdict.defects[:1]))
    with pytest.raises(StorageError, match="other content"):
        database.add(fewer)


def unstorable(record: InspectionRecord) -> dict[str, InspectionRecord]:
    defect = record.verdict.defects[0]
    far = 2**62 + 1
    too_far = replace(record.verdict, part_id=far)
    nan_area = replace(record.verdict, defects=(replace(defect, area_mm2=math.nan),))
    return {
        "not JSON compliant": replace(record, stage_ms={"total": math.nan}),
        "not a finite number": replace(record, verdict=nan_area),
        "not a 64-bit integer": replace(record, line_seqno=2**63),
        "no time zone": replace(record, triggered_at=datetime(2026, 1, 1)),
        "surrogates": replace(record, verdict=replace(record.verdict, model_id="\udc80")),
        "part ids end at": replace(record, trigger=replace(record.trigger, part_id=far), verdict=too_far),
        "verdict of part 8": replace(record, verdict=replace(record.verdict, part_id=8)),
    }


def test_what_sqlite_cannot_give_back_is_refused_at_once(database, make_record):
    for reason, record in unstorable(make_record(7)).items():
        with pytest.raises(StorageError, match=f"cannot record part {record.trigger.part_id}: .*{reason}"):
            database.add(record)
    database.add(make_record(7))
    assert database.commit() == [7]


def test_record_and_picture_of_one_part(database, make_record):
    database.add(make_record(5))
    database.set_picture(5, "2026-11-23/NG/000000005-picture.jpg")
    database.commit()
    assert database.record(5) == make_record(5)
    assert database.picture(5) == "2026-11-23/NG/000000005-picture.jpg"
    database.set_picture(5, None)
    database.commit()
    assert database.picture(5) is None


def test_a_picture_does_not_make_a_repeated_record_different(database, make_record):
    database.add(make_record(5))
    database.set_picture(5, "a.jpg")
    database.commit()
    database.add(make_record(5))
    assert database.commit() == [5]
    assert database.picture(5) == "a.jpg"


def test_an_unknown_part_has_no_record_and_takes_no_picture(database, make_record):
    database.add(make_record(9))
    database.commit()
    with pytest.raises(StorageError, match="no record of part 5"):
        database.record(5)
    with pytest.raises(StorageError, match="no record of part 5"):
        database.set_picture(5, "a.jpg")
    assert database.picture(5) is None
    with pytest.raises(StorageError, match="part ids end at"):
        database.record(2**70)


def test_counts_name_every_outcome(database, make_record, start):
    assert database.counts() == {Outcome.PASS: 0, Outcome.REJECT: 0, Outcome.NOT_INSPECTED: 0}
    for part_id, outcome in enumerate([Outcome.PASS] * 4 + [Outcome.REJECT] * 2 + [Outcome.NOT_INSPECTED], start=1):
        database.add(make_record(part_id, outcome))
    database.commit()
    assert database.counts() == {Outcome.PASS: 4, Outcome.REJECT: 2, Outcome.NOT_INSPECTED: 1}
    since_part_4 = (start + timedelta(seconds=4)).astimezone(timezone(timedelta(hours=-8)))
    assert database.counts(since_part_4) == {Outcome.PASS: 1, Outcome.REJECT: 2, Outcome.NOT_INSPECTED: 1}


def test_a_clock_that_jumps_back_changes_no_order(database, make_record):
    early = replace(make_record(2), triggered_at=datetime(1970, 1, 1, tzinfo=timezone.utc))
    database.add(make_record(1))
    database.add(early)
    database.commit()
    assert database.latest(2) == [early, make_record(1)]
    assert database.next_part_id() == 3


def test_prune_deletes_the_oldest_in_small_batches_and_their_defects(database, make_record, path):
    for part_id in range(1, 1101):
        database.add(make_record(part_id))
    database.commit()
    assert [database.prune(40), database.prune(40)] == [500, 500]
    database.add(make_record(1101))
    database.commit()
    assert [database.prune(40), database.prune(40)] == [61, 0]
    assert list(database.records()) == [make_record(part_id) for part_id in range(1062, 1102)]
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT min(part_id), count(*) FROM defects").fetchone() == (1062, 80)
    assert database.next_part_id() == 1102


def test_prune_never_empties_the_table(database):
    with pytest.raises(ValueError, match="max_rows must be at least 1"):
        database.prune(0)


def test_a_database_that_is_not_open_says_so(path, make_record):
    with pytest.raises(StorageError, match=r"records\.db: is not open"):
        Database(path, ManualClock()).add(make_record(1))
