"""Processors read from the kernel's folders as boards show them, and sets of processors as text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.processors import (
    MAX_PROCESSOR,
    check_online,
    fastest,
    format_cpu_list,
    in_order_of_use,
    parse_cpu_list,
    read_processors,
)

Tree = dict[str, str]


def rk3588() -> Tree:
    """4 × A55 below 4 × A76; the two pairs of A76 have clocks of their own, which differ by the chip's binning."""
    tree = {"online": "0-7"}
    for cpu in range(8):
        clock_khz, policy = (1_800_000, "0 1 2 3") if cpu < 4 else (2_256_000, "4 5") if cpu < 6 else (2_304_000, "6 7")
        tree[f"cpu{cpu}/cpufreq/cpuinfo_max_freq"] = str(clock_khz)
        tree[f"cpu{cpu}/cpufreq/related_cpus"] = policy
        tree[f"cpu{cpu}/cpu_capacity"] = "414" if cpu < 4 else "1002" if cpu < 6 else "1024"
        tree[f"cpu{cpu}/topology/thread_siblings_list"] = str(cpu)
    return tree


def orin_nx() -> Tree:
    """Two clusters of 4 × A78AE, the second one partly switched off by its power mode."""
    tree = {"online": "0-5"}
    for cpu in range(8):
        tree[f"cpu{cpu}/cpufreq/cpuinfo_max_freq"] = "1984000"
        tree[f"cpu{cpu}/cpufreq/related_cpus"] = "0 1 2 3" if cpu < 4 else "4 5 6 7"
        tree[f"cpu{cpu}/topology/thread_siblings_list"] = str(cpu)
    return tree


def laptop() -> Tree:
    """2 fast cores with two threads each, and 4 slow ones with shared cache."""
    tree = {"online": "0-7"}
    for cpu in range(8):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        tree[f"cpu{cpu}/cpufreq/cpuinfo_max_freq"] = "4700000" if cpu < 4 else "3500000"
        tree[f"cpu{cpu}/cpufreq/related_cpus"] = str(cpu)
        tree[f"cpu{cpu}/topology/thread_siblings_list"] = pair if cpu < 4 else str(cpu)
        tree[f"cpu{cpu}/topology/cluster_cpus_list"] = pair if cpu < 4 else "4-7"
    return tree


def virtual_xeon() -> Tree:
    """2 processors of a virtual machine: one capacity, no clock."""
    tree = {"online": "0-1"}
    for cpu in range(2):
        tree[f"cpu{cpu}/cpu_capacity"] = "1024"
        tree[f"cpu{cpu}/topology/thread_siblings_list"] = str(cpu)
        tree[f"cpu{cpu}/topology/core_siblings_list"] = "0-1"
    return tree


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[[Tree], Path]:
    def lay(tree: Tree) -> Path:
        for name, text in tree.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")
        return tmp_path

    return lay


@pytest.mark.parametrize(
    ("board", "fast", "order"),
    [
        (rk3588, [4, 5, 6, 7], (4, 5, 6, 7, 0, 1, 2, 3)),
        (orin_nx, [0, 1, 2, 3, 4, 5], (0, 1, 2, 3, 4, 5)),
        (laptop, [0, 1, 2, 3], (0, 2, 1, 3, 4, 5, 6, 7)),
        (virtual_xeon, [0, 1], (0, 1)),
    ],
)
def test_fast_processors_come_first_and_cores_before_their_second_threads(
    board: Callable[[], Tree], fast: list[int], order: tuple[int, ...], lay_out: Callable[[Tree], Path]
) -> None:
    processors = read_processors(lay_out(board()))
    assert [processor.number for processor in fastest(processors)] == fast
    assert in_order_of_use(processors) == order


def test_domains_are_what_shares_a_clock_or_a_cache(lay_out: Callable[[Tree], Path]) -> None:
    processors = read_processors(lay_out(rk3588()))
    assert [processor.domain for processor in processors] == [(0, 1, 2, 3)] * 4 + [(4, 5)] * 2 + [(6, 7)] * 2


def test_only_what_this_process_may_use_is_read(lay_out: Callable[[Tree], Path]) -> None:
    processors = read_processors(lay_out(rk3588()), allowed={2, 3, 4, 9})
    assert [processor.number for processor in processors] == [2, 3, 4]
    assert processors[0].domain == (2, 3)


def test_a_kernel_that_tells_nothing_has_equal_processors(tmp_path: Path) -> None:
    processors = read_processors(tmp_path, allowed={0, 1})
    assert [(each.number, each.speed, each.domain) for each in processors] == [(0, 0, (0,)), (1, 0, (1,))]
    assert len(fastest(processors)) == 2


@given(st.sets(st.integers(0, MAX_PROCESSOR), min_size=1))
def test_a_written_set_is_read_as_the_same_set(numbers: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(numbers)) == tuple(sorted(numbers))


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,", "-1", "0 1", "1024", "0-4000", "1;2", "²"])
def test_other_texts_are_no_sets(text: str) -> None:
    with pytest.raises(ValueError, match="must be processors"):
        parse_cpu_list(text)


def test_a_processor_that_is_not_online_is_named(lay_out: Callable[[Tree], Path]) -> None:
    sysfs = lay_out(orin_nx())
    check_online(["0-3", "4-5"], sysfs)
    check_online([], sysfs)
    with pytest.raises(ConfigError, match=r"processor 6-7 is not here or switched off; online are 0-5"):
        check_online(["0-3", "4-7"], sysfs)


KEEP = """
import os, sys, threading
from edge_runtime.processors import keep_to
keep_to([int(word) for word in sys.argv[1:]])
print(sorted(os.sched_getaffinity(0)))
"""


def kept(*processors: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KEEP, *map(str, processors)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_process_keeps_to_its_processors_and_goes_on_without_one_that_is_switched_off() -> None:
    first = min(os.sched_getaffinity(0))
    assert kept(first).stdout == f"[{first}]\n"
    some = kept(first, 1000)
    assert some.stdout == f"[{first}]\n"
    assert "processor 1000 cannot be used" in some.stderr
    assert "may not use any" in kept(1000).stderr
    assert kept().stdout == f"{sorted(os.sched_getaffinity(0))}\n"
