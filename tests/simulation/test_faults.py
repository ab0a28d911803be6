"""The plan of a run: seeded, spread out, every kind of fault in it, or a refusal that says what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.simulation.faults import (
    FAULTS,
    NEED_ENCODER,
    NEED_RECORDING,
    NEED_SECOND_EYE,
    named_faults,
    plan_faults,
)
from edge_runtime.simulation.plan import LEAD_S, RunWish, plan_run

KINDS = st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=6, unique=True)


def wish(faults: str = "none", parts: int = 100, seed: int = 1) -> RunWish:
    return RunWish(parts, 10, 500, 500, 0.5, 0.2, named_faults(faults), seed)


@given(KINDS, st.integers(0, 99), st.floats(30, 300))
def test_every_kind_comes_and_each_leaves_the_line_time_to_settle(names, seed, to_s):
    kinds = [FAULTS[name] for name in names]
    if sum(kind.lasts_s + kind.settle_s + 1.0 for kind in kinds) > to_s - 2.0:
        with pytest.raises(ConfigError, match="take more --parts"):
            plan_faults(kinds, 2.0, to_s, 1.0, seed)
        return
    injections = plan_faults(kinds, 2.0, to_s, 1.0, seed)
    assert {injection.kind.name for injection in injections} == set(names)
    ends_s = [2.0, *(each.until_s + each.kind.settle_s + 1.0 for each in injections)]
    assert all(each.at_s >= end_s - 1e-9 for each, end_s in zip(injections, ends_s[:-1], strict=True))
    assert ends_s[-1] <= to_s + 1e-6


def test_all_leaves_out_what_this_line_cannot_have_and_what_is_had_by_name_only():
    able, less = named_faults("all"), named_faults("all", cannot=NEED_ENCODER)
    assert {kind.name for kind in able} - {kind.name for kind in less} == {"speed_change", "belt_stop"}
    assert set(FAULTS.values()) - set(able) == {FAULTS["belt_reverse"], FAULTS["daemon_freeze"]}
    assert set(FAULTS) > NEED_ENCODER | NEED_SECOND_EYE | NEED_RECORDING
    assert named_faults("none") == ()


def test_an_unknown_fault_is_named_with_those_that_are_known():
    with pytest.raises(ConfigError, match="no fault earthquake; known are all, none, jitter"):
        named_faults("noise,earthquake")


def test_the_same_seed_plans_the_same_run_and_another_one_another():
    runs = [plan_run(wish("bounce,belt_stop,doubled_edge,lost_edge", seed=seed)) for seed in (3, 3, 4)]
    assert runs[0].belt.parts == runs[1].belt.parts != runs[2].belt.parts
    assert runs[0].injections == runs[1].injections
    assert list(runs[0].belt.eye_levels()) == list(runs[1].belt.eye_levels())


def test_a_run_has_its_parts_its_bad_edges_and_a_camera_that_sees_each_part_once():
    run = plan_run(wish("bounce,doubled_edge,lost_edge"))
    assert len(run.belt.parts) == 100
    own = {each.kind.name: run.own_parts(each) for each in run.injections}
    assert [(part.number,) for part in run.belt.parts if part.doubled] == [own["doubled_edge"]]
    assert [(part.number,) for part in run.belt.parts if part.lost] == [own["lost_edge"]]
    assert 10 <= sum(part.bounces for part in run.belt.parts) <= 30
    assert [view.number for view in run.script(1000).views] == list(range(1, 101))
    assert run.script(0).views[0].from_ns == pytest.approx(LEAD_S * 1e9, abs=0.1e9)


def test_a_belt_that_stops_makes_the_run_longer():
    assert plan_run(wish("belt_stop")).end_s > plan_run(wish()).end_s + 0.8


def test_parts_of_a_reversal_are_those_that_pass_the_photo_eye_again():
    run = plan_run(wish("belt_reverse"))
    (injection,) = run.injections[:1]
    for number in run.own_parts(injection):
        assert len(run.belt.motion.crossings(run.belt.parts[number - 1].front_mm)) == 3


def test_the_camera_hangs_when_the_plan_says_so():
    run = plan_run(wish("camera_hang"))
    assert [hang[0] for hang in run.script(0).hangs] == [round(each.at_s * 1e9) for each in run.injections]
