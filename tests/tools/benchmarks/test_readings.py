"""What is read from the kernel, from logs and from stamps."""

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.runtime.pool import PoolResult
from edge_runtime.values import Outcome, Verdict
from tools.benchmarks.frames import inspect_once, made_frame, repeated
from tools.benchmarks.limit import measure_gemm, share_of_peak
from tools.benchmarks.memory import growth
from tools.benchmarks.scaling import flatness_by_workers
from tools.benchmarks.smaps import Footprint, footprint, parse_smaps, together
from tools.benchmarks.start import ready_times, steps_of
from tools.errors import ToolError

SMAPS = """\
7f10a000-7f10b000 rw-s 00001000 00:01 1234                       /memfd:frame-ring (deleted)
Size:                  4 kB
Rss:                 400 kB
Pss:                 200 kB
Private_Clean:         0 kB
Private_Dirty:        10 kB
VmFlags: rd wr
7f20a000-7f20b000 r-xp 00000000 08:01 99                         /usr/lib/libc.so.6
Pss:                  30 kB
Pss_Dirty:             5 kB
Private_Clean:         7 kB
Private_Dirty:         0 kB
7f30a000-7f30b000 rw-p 00000000 00:00 0
Pss:                   9 kB
Private_Clean:         0 kB
Private_Dirty:         9 kB
"""


def test_the_ring_is_told_apart_in_smaps():
    assert parse_smaps(SMAPS) == Footprint(pss_kb=239, uss_kb=26, ring_kb=200)
    assert together([parse_smaps(SMAPS)] * 2) == Footprint(478, 52, 400)


def test_this_process_has_memory_and_a_gone_one_none():
    mine = footprint(os.getpid())
    assert 1000 < mine.uss_kb <= mine.pss_kb
    assert footprint(2**22 + 1) == Footprint(0, 0, 0)


LOG = """\
2026-11-26 00:56:13,079 INFO line guard is ready (process 1918)
2026-11-26 00:56:14,393 INFO line inspection-0 is ready (process 1919)
2026-11-26 00:56:15,000 WARNING line fault recipe raised
2026-11-26 00:56:15,417 INFO line inspection-1 is ready (process 1921)
2026-11-26 00:56:15,418 INFO line state starting -> ready
"""


def test_the_last_child_of_a_role_counts():
    times = ready_times(LOG, datetime(2026, 11, 26, 0, 56, 12, 500_000))
    assert times == {"guard": pytest.approx(579), "inspection": pytest.approx(2917)}


def test_steps_lie_between_stamps():
    assert steps_of({"start": 5_000_000, "a": 7_000_000, "b": 10_500_000}) == {"a": 2.0, "b": 3.5, "all": 5.5}


def test_growth_is_the_slope_of_each_kind():
    rows = [{"megapixels": x, "pss_mb": 300 + 20 * x, "ring_mb": 18 * x, "rest_mb": 300 + 2 * x} for x in (1, 4, 16)]
    found = growth(rows)
    assert found["growth_mb_per_megapixel"] == {"whole": 20, "frame ring": 18, "without the ring": 2}
    assert found["at_zero_mb"] == {"whole": 300, "frame ring": 0, "without the ring": 300}
    assert growth(rows[:1]) == {}


def test_flatness_is_of_each_worker_count():
    rows = [{"workers": w, "ms_per_megapixel": ms} for w, ms in ((1, 60.0), (1, 66.0), (2, 30.0))]
    assert flatness_by_workers(rows, "ms_per_megapixel") == {"1": 1.1, "2": 1.0}


def test_a_share_is_the_median_of_the_rounds_ratios():
    row = share_of_peak(1.0, [20.0, 10.0, 40.0], [100.0, 400.0, 100.0])
    assert (row["gflops"], row["peak_gflops"], row["share"]) == (100.0, 100.0, 0.5)


def test_sgemm_is_measured():
    (found,) = measure_gemm(sides=[64], repeats=2).items()
    assert found[0] == "f32"
    assert found[1] > 0.1


def test_a_library_that_is_not_there_is_told():
    with pytest.raises(ToolError, match="torch's matrix product ended with 1"):
        measure_gemm("torch", Path("/bin/false"), [64], 1)


@pytest.mark.parametrize("side_px", [100, 2048, 2100])
def test_a_frame_has_the_wished_side_and_a_large_one_repeats(side_px):
    picture = repeated(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3), side_px)
    assert picture.shape == (side_px, side_px, 3)
    assert (picture[64:, 64:] == picture[:-64, :-64]).all()


def test_a_template_comes_where_the_model_takes_one():
    assert made_frame(96, False).template is None
    assert made_frame(96, True).template.shape == (96, 96)


def test_no_figure_is_of_a_picture_that_was_not_inspected():
    verdict = Verdict(1, Outcome.NOT_INSPECTED, ("worker_lost",), (), 0, 0, "m", "r")

    class LosingPool:
        def inspect(self, image, template):
            return PoolResult(verdict, None, 0, {"frame": 5.0})

    with pytest.raises(ToolError, match=r"96 x 96 px were not inspected \(worker_lost\)"):
        inspect_once(LosingPool(), made_frame(96, False))
