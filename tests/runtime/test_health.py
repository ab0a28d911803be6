"""What state the box is in follows from a table, and a dying child is started again at a bounded pace."""

import itertools
import socket
from contextlib import closing

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.runtime.health import (
    BLINDING,
    MAX_BACKOFF_NS,
    TRANSITIONS,
    Fault,
    RestartBudget,
    State,
    move,
    next_state,
)
from edge_runtime.runtime.service_notify import ServiceNotifier

PAIRS = list(itertools.product(State, State))
WINDOW_NS = 60_000_000_000
FAULT_SETS = [frozenset(), frozenset(Fault), *(frozenset({fault}) for fault in Fault)]


def is_illegal(current: State, wanted: State) -> bool:
    if current is State.STOPPING:
        return wanted is not State.STOPPING
    return wanted is State.STARTING and current not in (State.STARTING, State.FAULT)


def test_every_state_is_reached_from_the_start():
    reached, todo = set(), [State.STARTING]
    while todo:
        state = todo.pop()
        reached.add(state)
        todo += TRANSITIONS[state] - reached
    assert reached == set(State) == set(TRANSITIONS)


@pytest.mark.parametrize(("current", "wanted"), [pair for pair in PAIRS if not is_illegal(*pair)])
def test_a_legal_transition_is_made(current, wanted):
    assert move(current, wanted) is wanted


@pytest.mark.parametrize(("current", "wanted"), [pair for pair in PAIRS if is_illegal(*pair)])
def test_an_absent_transition_is_an_error(current, wanted):
    with pytest.raises(ValueError, match=f"no way from {current.value} to {wanted.value}"):
        move(current, wanted)


@pytest.mark.parametrize(
    ("started", "faults", "parts", "state"),
    [
        (False, set(), 0, State.STARTING),
        (False, set(), 3, State.STARTING),
        (False, {Fault.OFFICE}, 0, State.FAULT),
        (True, set(), 0, State.READY),
        (True, set(), 1, State.INSPECTING),
        (True, {Fault.WORKER}, 0, State.DEGRADED),
        (True, {Fault.OFFICE, Fault.SERIAL}, 5, State.DEGRADED),
        (True, {Fault.CAMERA}, 0, State.FAULT),
        (True, {Fault.WORKERS, Fault.WORKER}, 1, State.FAULT),
        (True, {Fault.RECORDS}, 1, State.FAULT),
        (True, {Fault.GPIO}, 0, State.FAULT),
        (True, {Fault.RECIPE}, 1, State.FAULT),
    ],
)
def test_the_state_follows_from_what_is_true(started, faults, parts, state):
    assert next_state(State.FAULT, started, frozenset(faults), parts) is state
    assert next_state(State.STOPPING, started, frozenset(faults), parts) is State.STOPPING


@pytest.mark.parametrize("fault", Fault)
def test_a_blind_box_is_in_fault_and_a_hampered_one_degraded(fault):
    blinding = {Fault.CAMERA, Fault.WORKERS, Fault.RECORDS, Fault.GPIO, Fault.ENCODER, Fault.RECIPE}
    assert blinding == BLINDING
    expected = State.FAULT if fault in blinding else State.DEGRADED
    assert next_state(State.READY, True, frozenset({fault}), 0) is expected


@pytest.mark.parametrize("faults", FAULT_SETS)
@pytest.mark.parametrize("parts", [0, 1])
def test_what_follows_is_always_a_legal_move(faults, parts):
    for current in State:
        move(current, next_state(current, True, faults, parts))
    for current in (State.STARTING, State.FAULT, State.STOPPING):
        move(current, next_state(current, False, faults, parts))


# -- restarts ---------------------------------------------------------------------------------------------------


def delays_ms(budget: RestartBudget, clock: ManualClock, deaths: int, was_ready: bool) -> list[float]:
    """How long each restart waits when the child dies again as soon as it was started."""
    delays = []
    for _ in range(deaths):
        advice = budget.died(clock.monotonic_ns(), was_ready)
        delays.append((advice.at_ns - clock.monotonic_ns()) / 1e6)
        clock.advance_ms(delays[-1])
    return delays


def test_a_child_that_was_ready_is_started_again_at_once():
    assert delays_ms(RestartBudget(5, WINDOW_NS), ManualClock(), 5, was_ready=True) == [0, 0, 0, 0, 0]


def test_one_that_never_becomes_ready_waits_longer_and_longer():
    waits = delays_ms(RestartBudget(20, 1000 * WINDOW_NS), ManualClock(), 10, was_ready=False)
    assert waits == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]


def test_a_start_that_works_ends_the_growing_waits():
    budget, clock = RestartBudget(20, WINDOW_NS), ManualClock()
    assert delays_ms(budget, clock, 3, was_ready=False) == [50, 100, 200]
    assert delays_ms(budget, clock, 1, was_ready=True) == [0]
    assert delays_ms(budget, clock, 1, was_ready=False) == [50]


@pytest.mark.parametrize("was_ready", [True, False])
def test_a_spent_budget_means_the_slow_pace(was_ready):
    budget, clock = RestartBudget(3, WINDOW_NS), ManualClock()
    assert [budget.died(clock.monotonic_ns(), was_ready).spent for _ in range(3)] == [False, False, False]
    assert not budget.spent(clock.monotonic_ns())
    advice = budget.died(clock.monotonic_ns(), was_ready)
    assert advice.spent
    assert advice.at_ns == clock.monotonic_ns() + MAX_BACKOFF_NS
    assert budget.spent(clock.monotonic_ns())


def test_the_budget_recovers_when_the_window_has_passed():
    budget, clock = RestartBudget(3, WINDOW_NS), ManualClock(start_ns=5)
    for _ in range(10):
        budget.died(clock.monotonic_ns(), was_ready=True)
    clock.advance_ms(WINDOW_NS / 1e6 - 0.001)
    assert budget.spent(clock.monotonic_ns())
    clock.advance_ms(0.001)
    assert not budget.spent(clock.monotonic_ns())
    assert not budget.died(clock.monotonic_ns(), was_ready=True).spent


def test_without_a_budget_every_restart_is_slow():
    advice = RestartBudget(0, WINDOW_NS).died(7, was_ready=True)
    assert (advice.at_ns, advice.spent) == (7 + MAX_BACKOFF_NS, True)


# -- the service manager ----------------------------------------------------------------------------------------


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    listener.settimeout(5)
    return listener


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_hears_each_word(tmp_path, kind):
    address = str(tmp_path / "notify") if kind == "path" else f"@edge-runtime-test-{tmp_path}"
    with closing(ServiceNotifier({"NOTIFY_SOCKET": address})) as notifier:
        with listen(address.replace("@", "\0")) as listener:
            notifier.ready()
            notifier.alive()
            notifier.status("ready on ü")
            notifier.stopping()
            heard = [listener.recv(200).decode() for _ in range(4)]
        notifier.alive()  # nobody listens any more: not the line's trouble
    assert heard == ["READY=1", "WATCHDOG=1", "STATUS=ready on ü", "STOPPING=1"]


def test_a_service_manager_that_does_not_read_never_holds_the_line_up(tmp_path):
    address = str(tmp_path / "notify")
    with listen(address) as listener, closing(ServiceNotifier({"NOTIFY_SOCKET": address})) as notifier:
        for _ in range(2000):
            notifier.alive()
        assert listener.recv(100) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_is_said():
    ServiceNotifier({}).ready()
