"""Which processors this machine has and which are the fast ones; sets of them as the kernel writes them: "0-3,6"."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import ConfigError

log = logging.getLogger(__name__)
SYSFS = Path("/sys/devices/system/cpu")
MAX_PROCESSOR = 1023
_PART = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


@dataclass(frozen=True)
class Processor:
    """One logical processor.

    `speed`: its capacity or highest clock, to compare within this machine; 0 where the kernel tells neither. `domain`:
    processors with the same clock or cache, itself included. `siblings`: those that share its core.
    """

    number: int
    speed: int
    domain: tuple[int, ...]
    siblings: tuple[int, ...]


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The numbers in "0-3,6", ascending. Raises ValueError for anything else, for none, and beyond `MAX_PROCESSOR`."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_PROCESSOR:
            raise ValueError(f'must be processors of 0..{MAX_PROCESSOR}, as "4-7" or "0,2"')
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def format_cpu_list(numbers: Iterable[int]) -> str:
    """The shortest text that `parse_cpu_list` reads as these numbers."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def read_online(sysfs: Path = SYSFS) -> tuple[int, ...]:
    """The processors that are switched on; none where the kernel does not say."""
    return _read_list(sysfs / "online")


def absent_processors(sets: Sequence[str], online: Sequence[int]) -> tuple[int, ...]:
    """Those of the sets that are not online."""
    wanted = {number for text in sets for number in parse_cpu_list(text)}
    return tuple(sorted(wanted - set(online)))


def check_online(sets: Sequence[str], sysfs: Path = SYSFS) -> None:
    """Raise ConfigError when a set of `inspection.cpu_affinity` names a processor that this machine does not have."""
    online = read_online(sysfs)
    absent = absent_processors(sets, online) if online else ()
    if absent:
        raise ConfigError(
            f"inspection.cpu_affinity: processor {format_cpu_list(absent)} is not here or switched off; online are "
            f"{format_cpu_list(online)}"
        )


def keep_to(processors: Sequence[int]) -> None:
    """From now on this process, with the threads it has or starts, computes on these processors; none: on all it may.

    One that is switched off is left out, with a warning: better slow than blind. Raises ConfigError when none is left.
    """
    if not processors:
        return
    try:
        os.sched_setaffinity(0, processors)
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread), processors)
    except OSError as exc:
        raise ConfigError(
            f"inspection.cpu_affinity {format_cpu_list(processors)!r}: this process may not use any of them ({exc})"
        ) from exc
    missing = set(processors) - os.sched_getaffinity(0)
    if missing:
        log.warning("inspection.cpu_affinity: processor %s cannot be used", format_cpu_list(missing))


def read_processors(sysfs: Path = SYSFS, allowed: Iterable[int] | None = None) -> tuple[Processor, ...]:
    """The processors that are online and `allowed` (None: all), by number."""
    online = read_online(sysfs)
    numbers = sorted(set(online) if allowed is None else set(allowed) & set(online or allowed))
    capacities = [_read_int(sysfs / f"cpu{number}/cpu_capacity") for number in numbers]
    clocks = [_read_int(sysfs / f"cpu{number}/cpufreq/cpuinfo_max_freq") for number in numbers]
    speeds = capacities if all(capacities) else clocks if all(clocks) else [0] * len(numbers)
    return tuple(
        Processor(number, speed, *_relatives(sysfs / f"cpu{number}", number, numbers))
        for number, speed in zip(numbers, speeds, strict=True)
    )


def fastest(processors: Sequence[Processor]) -> tuple[Processor, ...]:
    """Those of the fastest kind; kinds differ by more than a tenth, so that favoured cores stay with theirs."""
    top = max(processor.speed for processor in processors)
    return tuple(processor for processor in processors if processor.speed >= 0.9 * top)


def in_order_of_use(processors: Sequence[Processor]) -> tuple[int, ...]:
    """The numbers, fast ones first, one of each core before its siblings, neighbours of a domain together."""
    fast = {processor.number for processor in fastest(processors)}

    def rank(processor: Processor) -> tuple[object, ...]:
        is_second = processor.number != min(processor.siblings)
        return (processor.number not in fast, is_second, min(processor.domain), processor.number)

    return tuple(processor.number for processor in sorted(processors, key=rank))


def _relatives(folder: Path, number: int, numbers: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Domain and siblings among `numbers`."""
    siblings = _read_list(folder / "topology/thread_siblings_list") or (number,)
    for name in ("topology/cluster_cpus_list", "cpufreq/related_cpus", "topology/core_siblings_list"):
        domain = set(_read_list(folder / name)) & set(numbers)
        if len(domain) > len(siblings):
            break
    else:
        domain = {number}
    return tuple(sorted(domain | {number})), tuple(sorted({*siblings, number} & set(numbers)))


def _read_list(path: Path) -> tuple[int, ...]:
    try:
        return parse_cpu_list(path.read_text(encoding="ascii").strip().replace(" ", ","))
    except (OSError, ValueError):
        return ()


def _read_int(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
