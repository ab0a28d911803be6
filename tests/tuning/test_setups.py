"""Which set-ups are tried on which machine."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.processors import Processor, parse_cpu_list
from edge_runtime.tuning.setups import Engine, Setup, fits, layouts, with_affinities, with_layouts

ENGINE = Engine("onnxruntime", "onnx")


def big_and_little(little: int, big: int) -> list[Processor]:
    numbers = range(little + big)
    return [Processor(n, 400 if n < little else 1024, (n,), (n,)) for n in numbers]


def affinities(setup: Setup, processors: Sequence[Processor]) -> list[tuple[str, ...]]:
    return [each.cpu_affinity for each in with_affinities(setup, processors)]


def test_two_equal_processors() -> None:
    assert layouts(big_and_little(0, 2)) == [(2, 1), (1, 2), (1, 1)]
    assert layouts(big_and_little(0, 2), max_threads=1) == [(2, 1), (1, 1)]
    assert affinities(Setup(ENGINE, 2, 1), big_and_little(0, 2)) == [(), ("0", "1")]


def test_four_big_and_four_little_ones() -> None:
    board = big_and_little(4, 4)
    assert {(4, 1), (2, 2), (1, 4), (8, 1), (4, 2), (7, 1)} <= set(layouts(board))
    assert affinities(Setup(ENGINE, 4, 1), board) == [(), ("4-7",), ("4", "5", "6", "7")]
    assert affinities(Setup(ENGINE, 2, 2), board) == [(), ("4-7",), ("4-5", "6-7")]
    assert affinities(Setup(ENGINE, 5, 1), board) == [(), ("4", "5", "6", "7", "0")]


@given(little=st.integers(0, 12), big=st.integers(1, 12), max_threads=st.integers(1, 64))
def test_no_set_up_takes_more_than_there_is_and_no_two_workers_share(little: int, big: int, max_threads: int) -> None:
    board = big_and_little(little, big)
    engine = Engine("onnxruntime", "onnx", max_threads=max_threads)
    setups = with_layouts(Setup(engine, 1, 1), board)
    assert len(set(setups)) == len(setups) <= 40
    for setup in setups:
        assert setup.workers * setup.threads <= len(board)
        assert setup.threads <= max_threads
        for bound in with_affinities(setup, board):
            assert fits(bound, board)
            assert len(bound.cpu_affinity) in (0, 1, setup.workers)
            sets = [set(parse_cpu_list(text)) for text in bound.cpu_affinity]
            assert len(sets) < 2 or len(set().union(*sets)) == setup.workers * setup.threads


def test_the_smaller_one_computes_on_less_then_has_less_processes_then_is_not_bound() -> None:
    ordered = [Setup(ENGINE, 1, 1), Setup(ENGINE, 1, 2), Setup(ENGINE, 2, 1), Setup(ENGINE, 2, 1, ("0", "1"))]
    mixed = [ordered[index] for index in (2, 0, 3, 1)]
    assert sorted(mixed, key=lambda setup: setup.size) == ordered
