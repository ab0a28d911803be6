"""Parts and lists lose nothing; the summary keeps what it should, whatever passes."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edge_runtime.values import Defect, Outcome, Zone
from tools.reinspection.archive import ArchivePicture, Record
from tools.reinspection.comparison import reinspected
from tools.reinspection.report import code, escape, table
from tools.reinspection.summary import Top
from tools.reinspection.tables import read_listing, read_part, read_paths, write_listing, write_part
from tools.reinspection.values import PictureResult

on_disk = settings(deadline=None, max_examples=30)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
boxes = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h), *[st.integers(0, 8000)] * 2, *[st.integers(1, 192)] * 2
)  # fmt: skip
defects = st.builds(
    Defect,
    st.integers(1, 255),
    boxes,
    st.integers(1, 1 << 26),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1),
    st.sampled_from(Zone),
)
results = st.builds(
    PictureResult,
    texts,
    st.sampled_from(Outcome),
    st.lists(texts, max_size=3).map(tuple),
    st.none() | texts,
    st.none() | st.tuples(st.integers(1, 8192), st.integers(1, 8192)),
    st.integers(0, 1000),
    st.floats(0, 1e6),
    st.lists(defects, max_size=4).map(tuple),
)
records = st.builds(
    Record,
    st.integers(1, 2**62),
    st.sampled_from([each.value for each in Outcome]),
    st.lists(texts, max_size=3).map(tuple),
    st.integers(0, 1000),
    texts,
    st.lists(boxes, max_size=3).map(tuple),
)
paths = texts.map(lambda text: text.replace("\0", "0"))
pictures = st.builds(ArchivePicture, paths, st.integers(-1, 1 << 40), st.integers(0, 1 << 61), st.none() | records)


@on_disk
@given(st.lists(results, min_size=1, max_size=6))
def test_a_part_gives_back_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("part") / "00000000.parquet"
    write_part(path, rows, "job")
    assert read_part(path, "job") == rows


@on_disk
@given(st.lists(pictures, max_size=6))
def test_a_listing_gives_back_what_was_written(tmp_path_factory, listed):
    path = tmp_path_factory.mktemp("listing") / "listing.parquet"
    assert write_listing(path, listed)[0] == len(listed)
    assert list(read_listing(path)) == listed
    assert list(read_paths(path)) == [picture.path for picture in listed]


@on_disk
@given(st.lists(pictures, max_size=4), st.lists(pictures, max_size=4))
def test_two_lists_have_one_digest_exactly_when_they_are_equal(tmp_path_factory, one, other):
    def files(listed):
        return [(picture.path, picture.size_bytes, picture.mtime_ns) for picture in listed]

    folder: Path = tmp_path_factory.mktemp("listing")
    digests = [write_listing(folder / "listing.parquet", listed)[1] for listed in (one, other)]
    assert (digests[0] == digests[1]) == (files(one) == files(other))


@given(st.lists(st.integers(0, 9).map(float)), st.integers(0, 5))
def test_the_top_are_the_first_of_all_sorted(keys, count):
    top = Top(count)
    numbered = [
        (key, reinspected(ArchivePicture(str(index), 1, 1), PictureResult(str(index), Outcome.PASS, ())))
        for index, key in enumerate(keys)
    ]
    for key, one in numbered:
        top.add((key,), one)
    assert list(top) == [one for _, one in sorted(numbered, key=lambda pair: -pair[0])][:count]


@settings(deadline=None)
@given(texts.filter(str.strip), texts.filter(str.strip))
def test_a_cell_of_the_report_is_text_and_one_cell_whatever_it_holds(one, other):
    page = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render("\n".join(table("ab", [(escape(one), code(other))])))
    )
    assert page.count("<td>") == 2
    assert page.count("<table>") == 1
    assert not any(tag in page for tag in ("<a ", "<img", "<em>", "<strong>", "<script"))
