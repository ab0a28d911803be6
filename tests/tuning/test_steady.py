"""When a device counts as warm."""

from __future__ import annotations

import pytest

from edge_runtime.tuning.steady import Window, is_steady

STILL = Window(100.0, 60.0, 1800.0)


@pytest.mark.parametrize(
    ("windows", "steady"),
    [
        ([STILL] * 4, True),
        ([STILL] * 3, False),
        ([Window(150.0, 40.0, 2400.0), *[STILL] * 4], True),
        ([Window(100.0), Window(101.0), Window(99.0), Window(100.0)], True),
        ([Window(100.0), Window(104.0), Window(99.0), Window(100.0)], False),
        ([Window(100.0, 60.0 + n, 1800.0) for n in range(4)], False),
        ([Window(100.0, 60.0, 1800.0 - 50 * n) for n in range(4)], False),
        ([], False),
    ],
)
def test_steady_means_that_nothing_moved_over_four_windows(windows: list[Window], steady: bool) -> None:
    assert is_steady(windows) is steady
