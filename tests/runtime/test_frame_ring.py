"""Workers in real processes share a frame's tiles through shared memory: each tile once, whoever is killed."""

import math
import os
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.runtime.frame_ring import MAX_WORKERS, FrameRing, TileFate
from edge_runtime.runtime.gate_latch import SEVERAL_MODELS
from edge_runtime.runtime.ring_layout import PAGE_BYTES, RingLayout
from edge_runtime.runtime.slot_arrays import slot_arrays

LAYOUT = RingLayout(slot_count=4, max_pixels=64)
TILES = 40

# Shares the tiles of parts FIRST..LAST, part N in slot N % 4, after a line came in on its standard input.
WORKER = """
import sys
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.ring_layout import RingLayout
fd, worker, first, last, tiles = map(int, sys.argv[1:])
ring = FrameRing(RingLayout(4, 64), fd)
print("up", flush=True)
sys.stdin.readline()
for part in range(first, last + 1):
    while (tile := ring.claim(part % 4, part, tiles, worker)) is not None:
        if ring.working_on(worker) != part:
            print("not working on", part)
        print(part, tile, int(ring.finish(part % 4, part, tiles, tile)))
        ring.rest(worker)
"""

# Claims COUNT tiles of a part, finishes none and waits to be killed.
CLAIMER = """
import signal, sys
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.ring_layout import RingLayout
fd, worker, part, tiles, count = map(int, sys.argv[1:])
ring = FrameRing(RingLayout(4, 64), fd)
print(*[ring.claim(part % 4, part, tiles, worker) for _ in range(count)], flush=True)
signal.pause()
"""

# Prepares part 1: says so, waits for a line, and says that it is done.
PREPARER = """
import sys
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.ring_layout import RingLayout
ring = FrameRing(RingLayout(4, 64), int(sys.argv[1]))
def work():
    print("inside", flush=True)
    sys.stdin.readline()
ring.prepare(1, 1, int(sys.argv[2]), work)
print("done", flush=True)
"""

# Is stopped inside `claim`, while it holds the lock of part 1, by a tracer that stops at its first look at a counter.
HOLDER = """
import os, signal, sys
from edge_runtime.runtime import frame_ring
ring = frame_ring.FrameRing(frame_ring.RingLayout(4, 64), int(sys.argv[1]))
def trace(frame, event, arg):
    if event == "line" and frame.f_code.co_name == "claim" and "owner" in frame.f_locals:
        print("inside", flush=True)
        signal.pause()
    return trace
sys.settrace(trace)
ring.claim(1, 1, 10, 0)
"""

# A worker that has seen the gate miss a defect.
CLOSER = """
import sys
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.ring_layout import RingLayout
FrameRing(RingLayout(4, 64), int(sys.argv[1])).gate.close(sys.argv[2])
"""


@pytest.fixture
def ring():
    ring = FrameRing.create(LAYOUT)
    yield ring
    ring.close()


@pytest.fixture
def run(ring):
    """Start a script beside us that shares the ring; whatever still runs at the end is killed."""
    started = []

    def run(script: str, *arguments: int | str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", script, str(ring.fd), *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, pass_fds=[ring.fd], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def share(run, workers: range, first: int, last: int, tiles: int) -> list[list[tuple[int, int, int]]]:
    """What each worker did: (part, tile, whether it was told that this was the last one)."""
    processes = [run(WORKER, worker, first, last, tiles) for worker in workers]
    for process in processes:
        assert process.stdout.readline() == "up\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    return [[tuple(map(int, line.split())) for line in output.splitlines()] for output in outputs]


def joined(outputs: list[list[tuple[int, int, int]]]) -> list[tuple[int, int, int]]:
    return [each for output in outputs for each in output]


def everything(first: int, last: int, tiles: int) -> list[tuple[int, int]]:
    return [(part, tile) for part in range(first, last + 1) for tile in range(tiles)]


def last_ones(done: list[tuple[int, int, int]]) -> list[int]:
    return sorted(part for part, _, is_last in done if is_last)


def test_each_tile_goes_to_one_worker_and_one_is_told_that_the_frame_is_done(ring, run):
    tiles = 2000
    for part in range(1, 5):
        ring.start(part % 4, part)
    done = joined(share(run, range(3), 1, 4, tiles))
    assert sorted((part, tile) for part, tile, _ in done) == everything(1, 4, tiles)
    assert last_ones(done) == [1, 2, 3, 4]
    assert [ring.working_on(worker) for worker in range(3)] == [None, None, None]


def test_a_worker_killed_with_claims_leaves_a_hole_and_never_stops_the_others(ring, run):
    ring.start(1, 1)
    ring.start(2, 2)
    claimer = run(CLAIMER, 0, 1, TILES, 3)
    assert claimer.stdout.readline() == "0 1 2\n"
    assert ring.working_on(0) == 1
    claimer.send_signal(signal.SIGKILL)
    claimer.wait()
    assert ring.working_on(0) == 1
    done = joined(share(run, range(1, 3), 1, 2, TILES))
    assert sorted((part, tile) for part, tile, _ in done) == everything(1, 2, TILES)[3:]
    assert last_ones(done) == [2]


def test_a_frame_started_again_has_no_hole_any_more(ring, run):
    ring.start(1, 1)
    claimer = run(CLAIMER, 0, 1, TILES, 3)
    assert claimer.stdout.readline() == "0 1 2\n"
    claimer.kill()
    claimer.wait()
    ring.start(1, 1)
    done = joined(share(run, range(1, 2), 1, 1, TILES))
    assert sorted((part, tile) for part, tile, _ in done) == everything(1, 1, TILES)
    assert last_ones(done) == [1]


def test_a_worker_killed_in_the_middle_of_a_claim_lets_the_others_go_on(ring, run):
    ring.start(1, 1)
    holder = run(HOLDER)
    assert holder.stdout.readline() == "inside\n"
    assert ring.working_on(0) == 1
    waiting = run(CLAIMER, 1, 1, TILES, 1)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    holder.kill()
    assert waiting.stdout.readline() == "0\n"


def test_the_line_never_waits_for_a_worker(ring, run):
    ring.start(1, 1)
    holder = run(HOLDER)
    assert holder.stdout.readline() == "inside\n"
    ring.cancel(1)
    ring.start(1, 2)
    assert ring.claim(1, 2, TILES, 1) == 0


def test_one_worker_prepares_a_frame_and_the_others_wait_for_it(ring, run):
    ring.start(1, 1)
    first = run(PREPARER, 0)
    assert first.stdout.readline() == "inside\n"
    assert ring.working_on(0) == 1
    waiting = run(PREPARER, 1)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    assert ring.working_on(1) is None, "nothing is lost if a waiting worker dies"
    assert (first.communicate("\n")[0], waiting.communicate()[0]) == ("done\n", "done\n")
    assert [ring.working_on(worker) for worker in range(2)] == [None, None]


def test_a_worker_killed_while_it_prepares_takes_its_frame_with_it(ring, run):
    ring.start(1, 1)
    first = run(PREPARER, 0)
    assert first.stdout.readline() == "inside\n"
    waiting = run(PREPARER, 1)
    first.kill()
    first.wait()
    assert ring.working_on(0) == 1
    assert waiting.communicate(timeout=20)[0] == "done\n", "half a preparation is not used, nor done again"
    assert ring.claim(1, 1, TILES, 1) is None


def test_nobody_waits_for_a_cancelled_frame_to_be_prepared(ring, run):
    ring.start(1, 1)
    first = run(PREPARER, 0)
    assert first.stdout.readline() == "inside\n"
    waiting = run(PREPARER, 1)
    ring.cancel(1)
    assert waiting.communicate(timeout=20)[0] == "done\n"
    assert (first.poll(), ring.working_on(0), ring.working_on(1)) == (None, 1, None)


# -- in one process ---------------------------------------------------------------------------------------------


def claim_all(ring: FrameRing, slot: int, part_id: int, tiles: int, worker: int = 0) -> list[int]:
    claimed = []
    while (tile := ring.claim(slot, part_id, tiles, worker)) is not None:
        claimed.append(tile)
    return claimed


def test_a_cancelled_frame_gives_no_more_tiles_until_the_slot_is_started_anew(ring):
    ring.start(0, 1)
    assert ring.claim(0, 1, TILES, 5) == 0
    ring.cancel(0)
    assert ring.claim(0, 1, TILES, 6) is None
    assert ring.working_on(5) == 1
    assert ring.working_on(6) is None
    ring.start(0, 2)
    assert claim_all(ring, 0, 2, 3) == [0, 1, 2]


def test_a_frame_is_prepared_once_and_its_next_part_anew(ring):
    done = []
    for part_id in (1, 1 + PAGE_BYTES // 32, 1):
        ring.start(0, part_id)
        for worker in range(3):
            ring.prepare(0, part_id, worker, lambda part_id=part_id: done.append((part_id, ring.working_on(0))))
        ring.start(0, part_id)
        ring.prepare(0, part_id, 0, lambda part_id=part_id: done.append((part_id, "once more")))
    assert done == [(1, 1), (129, 129), (1, 1)]


def test_a_frame_that_is_cancelled_or_gone_is_not_prepared(ring):
    done = []
    ring.start(0, 1)
    ring.start(1, 3)
    ring.cancel(0)
    for slot, part_id in ((0, 1), (1, 2), (2, 5)):
        ring.prepare(slot, part_id, 0, lambda part_id=part_id: done.append(part_id))
    assert done == []


def test_a_worker_that_fails_to_prepare_holds_the_part_and_nobody_inspects_it(ring):
    def fail() -> None:
        raise OSError("no")

    ring.start(0, 1)
    with pytest.raises(OSError, match="no"):
        ring.prepare(0, 1, 4, fail)
    assert ring.working_on(4) == 1
    done = []
    ring.prepare(0, 1, 5, lambda: done.append(5))
    assert (done, ring.claim(0, 1, TILES, 5)) == ([], None)
    ring.start(0, 2)
    ring.prepare(0, 2, 5, lambda: done.append(5))
    assert (done, ring.claim(0, 2, TILES, 5)) == ([5], 0)


def test_nobody_works_on_a_frame_without_tiles_left(ring):
    ring.start(0, 1)
    assert claim_all(ring, 0, 1, 2, worker=7) == [0, 1]
    assert ring.working_on(7) is None


def test_a_latecomer_neither_takes_nor_counts_tiles_of_the_next_part(ring):
    ring.start(3, 1)
    assert ring.claim(3, 1, 3, 0) == 0
    for part_id in (2, 1 + PAGE_BYTES // 32, 1 + PAGE_BYTES):
        ring.start(3, part_id)
        assert ring.claim(3, 1, 3, 0) is None
        ring.finish(3, 1, 3, 0)
        assert claim_all(ring, 3, part_id, 3) == [0, 1, 2]
        assert [ring.finish(3, part_id, 3, tile) for tile in range(3)] == [False, False, True]


def test_slots_do_not_share_their_counters(ring):
    for slot in range(4):
        ring.start(slot, 9)
    ring.cancel(2)
    assert [claim_all(ring, slot, 9, 2) for slot in range(4)] == [[0, 1], [0, 1], [], [0, 1]]


def test_a_slot_that_was_never_started_has_no_tiles(ring):
    ring.cancel(0)
    assert ring.claim(0, 1, TILES, 0) is None
    assert not ring.finish(0, 1, 1, 0)


def test_workers_and_slots_that_do_not_exist_are_refused(ring):
    ring.start(0, 1)
    with pytest.raises(ValueError, match=r"worker 128 is outside 0\.\.127"):
        ring.claim(0, 1, TILES, MAX_WORKERS)
    with pytest.raises(ValueError, match="slot 4 does not exist; there are 4"):
        ring.start(4, 1)
    with pytest.raises(ValueError, match="slot -1 does not exist"):
        ring.claim(-1, 1, TILES, 0)


# -- the layout -------------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(1, 8192 * 8192))
def test_regions_lie_apart_on_whole_pages_inside_the_memory(slot_count, max_pixels):
    layout = RingLayout(slot_count, max_pixels)
    regions = [(0, 8 * MAX_WORKERS)]
    for slot in range(slot_count):
        regions += [
            (layout.header_at(slot), PAGE_BYTES),
            (layout.image_at(slot), 3 * max_pixels),
            (layout.class_ids_at(slot), max_pixels),
            (layout.scores_at(slot), max_pixels),
            (layout.template_at(slot), max_pixels),
            (layout.fates_at(slot), max_pixels),
        ]
    assert all(start % PAGE_BYTES == 0 for start, _ in regions)
    assert all(start + length <= next_start for (start, length), (next_start, _) in pairwise(regions))
    assert sum(regions[-1]) <= layout.total_bytes


@pytest.mark.parametrize(("slot_count", "max_pixels"), [(0, 100), (65, 100), (4, 0)])
def test_a_layout_without_room_is_refused(slot_count, max_pixels):
    with pytest.raises(ValueError, match=r"1\.\.64 slots of at least one pixel"):
        RingLayout(slot_count, max_pixels)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 90), st.integers(1, 90), st.integers(0, 200), st.integers(1, 9))
def test_what_is_written_into_one_array_is_seen_there_by_others_and_nowhere_else(slots, high, wide, spare, stride):
    ring = FrameRing.create(RingLayout(slots, high * wide + spare))
    other = FrameRing(ring.layout, ring.fd)
    values = iter(range(1, 256))
    written = []
    for slot in range(slots):
        ring.start(slot, slot + 1)
        arrays = slot_arrays(ring, slot, (high, wide), stride)
        assert arrays.image.shape == (high, wide, 3)
        assert arrays.template.shape == (high, wide)
        assert arrays.class_ids.shape == arrays.scores.shape == (math.ceil(high / stride), math.ceil(wide / stride))
        for name in ("image", "template", "class_ids", "scores"):
            getattr(arrays, name)[...] = value = next(values)
            written.append((slot, name, value))
    seen = [
        (slot, name, np.unique(getattr(slot_arrays(other, slot, (high, wide), stride), name)).tolist())
        for slot, name, _ in written
    ]
    assert seen == [(slot, name, [value]) for slot, name, value in written]
    assert [claim_all(other, slot, slot + 1, 2) for slot in range(slots)] == [[0, 1]] * slots
    del arrays
    other.memory.close()
    ring.close()


def test_a_picture_too_large_for_the_slot_is_refused(ring):
    assert slot_arrays(ring, 3, (1, 64), 1).image.shape == (1, 64, 3)
    with pytest.raises(ValueError, match=r"a picture of \(5, 13\) does not fit a slot of 64 pixels"):
        slot_arrays(ring, 3, (5, 13), 1)


@given(st.lists(st.sampled_from(TileFate), max_size=60))
def test_what_became_of_each_tile_is_kept_for_its_slot_alone(fates):
    ring = FrameRing.create(LAYOUT)
    try:
        ring.start(1, 1)
        ring.start(2, 2)
        for _ in fates:
            ring.claim(1, 1, len(fates), 0)
        last = [ring.finish(1, 1, len(fates), tile, fate) for tile, fate in enumerate(fates)]
        assert last == [n == len(fates) for n in range(1, len(fates) + 1)]
        assert ring.fates(1, len(fates)) == fates
        assert ring.fates(2, len(fates)) == [TileFate.COMPUTED] * len(fates)
    finally:
        ring.close()


def test_a_gate_closed_by_one_process_is_closed_for_all_and_no_part_opens_it(ring, run):
    longest = f"{'n' * 64}/{'v' * 32}@01234567"
    assert (ring.gate.is_closed, ring.gate.closed_by) == (False, "")
    run(CLOSER, longest).communicate(timeout=60)
    assert (ring.gate.is_closed, ring.gate.closed_by) == (True, longest)
    ring.gate.close(longest)
    for part in range(1, 300):
        ring.start(part % 4, part)
        for worker in (0, MAX_WORKERS - 1):
            ring.claim(part % 4, part, 1, worker)
            ring.finish(part % 4, part, 1, 0)
    assert ring.gate.closed_by == longest
    ring.gate.close("another/1@01234567")
    ring.gate.close(longest)
    assert ring.gate.closed_by == SEVERAL_MODELS
    ring.gate.open()
    assert (ring.gate.is_closed, ring.gate.closed_by) == (False, "")
    ring.gate.restore("another/1@01234567")
    assert ring.gate.closed_by == "another/1@01234567"
    ring.gate.restore(SEVERAL_MODELS)
    assert ring.gate.closed_by == SEVERAL_MODELS


@given(st.lists(st.tuples(*[st.integers(0, 60)] * 4), max_size=6))
def test_what_tiles_spot_is_joined_and_forgotten_at_the_next_start(corners):
    ring = FrameRing.create(LAYOUT)
    boxes = [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners]
    ring.start(1, 1)
    for box in boxes:
        ring.spot(1, 1, box)
        ring.spot(1, 5, (0, 0, 99, 99))  # a part that is not there
    sides = list(zip(*boxes, strict=True))
    expected = (*map(min, sides[:2]), *map(max, sides[2:])) if boxes else None
    assert ring.spotted(1, 1) == expected
    ring.start(1, 1)
    assert ring.spotted(1, 1) is None
    ring.close()


def test_workers_that_plan_a_frame_otherwise_than_the_first_are_told_so():
    ring = FrameRing.create(RingLayout(2, 64))
    ring.start(1, 1)
    assert [ring.agrees(1, 1, digest) for digest in (77, 77, 78, 77)] == [True, True, False, True]
    ring.start(1, 2)
    assert [ring.agrees(1, 2, digest) for digest in (78, 77)] == [True, False]
    ring.start(1, 2)
    assert ring.agrees(1, 2, 79), "a part that is started once more begins at nothing"
    ring.cancel(1)
    assert ring.agrees(1, 2, 5), "nobody works on a cancelled part"
    ring.close()


# -- memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_kernel", [False, True])
def test_populate_takes_memory_for_all_pictures_and_changes_none(old_kernel, monkeypatch):
    if old_kernel:
        monkeypatch.setattr("edge_runtime.runtime.frame_ring.MADV_POPULATE_WRITE", 0x7777)
    layout = RingLayout(slot_count=3, max_pixels=100_000)
    ring = FrameRing.create(layout)
    image = slot_arrays(ring, 1, (100, 1000), 1).image
    image[...] = 9
    before_kb = os.fstat(ring.fd).st_blocks // 2
    ring.populate(with_template=False)
    assert os.fstat(ring.fd).st_blocks // 2 - before_kb >= 2 * 300_000 // 1024
    assert (image == 9).all()
    del image
    ring.close()


def test_the_first_worker_to_begin_is_remembered_until_the_slot_is_started_anew():
    ring = FrameRing.create(LAYOUT)
    ring.start(1, 5)
    assert ring.began_ns(1, 5) == 0
    ring.begin(1, 5, 1000)
    ring.begin(1, 5, 2000)
    ring.begin(1, 1, 3000)  # a worker that is late for another part
    assert ring.began_ns(1, 5) == 1000
    ring.start(1, 5)
    assert ring.began_ns(1, 5) == 0
    ring.close()
