"""The benchmark of the line measures every trigger, and says what it took off."""

from edge_runtime.runtime.part_times import STATIONS
from tools.benchmarks.line import LineFigures, LineWish, Spread, bench_line


def test_every_trigger_is_inspected_and_the_parts_of_its_time_add_up():
    (row,) = bench_line(LineWish(triggers=15, rate_hz=8, predict_ms=4, workers=2, priorities=[0])).rows
    assert (row["triggers"], row["inspected"], row["priority"]) == (15, 15, 0)
    assert row["trigger_to_wire_ms"]["p50"] > 4
    assert 0 < row["beyond_inference_ms"]["p50"] < row["trigger_to_wire_ms"]["p50"]
    assert list(row["hops_ms"]) == [*STATIONS, "wire"]
    assert row["hops_ms"]["tiles"]["p50"] >= 4
    assert row["beyond_compute_ms"]["max"] > row["beyond_compute_ms"]["p50"] > 0


def test_the_goal_is_missed_by_a_trigger_that_was_not_inspected():
    fast = Spread(1.0, 2.0, 3.0)
    fields = {"priority": 0, "priority_granted": True, "triggers": 10, "answered": 10, "rate_hz": 20}
    fields |= {"workers": 2, "predict_ms": 5}
    spreads = {"trigger_to_wire_ms": fast, "beyond_inference_ms": fast, "beyond_compute_ms": fast, "hops_ms": {}}
    assert LineFigures(**fields, **spreads, inspected=10).meets_goal
    assert not LineFigures(**fields, **spreads, inspected=9).meets_goal
    assert not LineFigures(**fields, **(spreads | {"beyond_inference_ms": Spread(1, 6, 9)}), inspected=10).meets_goal
