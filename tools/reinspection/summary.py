"""Counts over all pictures, and the few worth looking at; bounded however many pass."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tools.reinspection.comparison import SAME, Reinspected
from tools.reinspection.values import CRASHED

LISTED_MAX = 20
FOLDERS_MAX = 10_000
OTHER_FOLDERS = "(other folders)"
Key = tuple[float, ...]


class Top:
    """The `count` pictures with the highest keys; the earlier one of equals."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[Key, int, Reinspected]] = []
        self._seen = 0

    def add(self, key: Key, one: Reinspected) -> None:
        self._seen += 1
        push = heapq.heappush if len(self._heap) < self._count else heapq.heappushpop
        if self._count:
            push(self._heap, (key, -self._seen, one))

    def __iter__(self) -> Iterator[Reinspected]:
        return (one for *_, one in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


class Summary:
    """What the report tells. `overlay_count` pictures are chosen: changed verdicts first, then the most defective."""

    def __init__(self, overlay_count: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.by_folder: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.defects_by_class: Counter[int] = Counter()
        self.changes: Counter[str] = Counter()
        self.old_outcomes: Counter[str] = Counter()
        self.error_kinds: Counter[str] = Counter()
        self.errors: list[Reinspected] = []
        self.slowest = Top(LISTED_MAX)
        self.changed = Top(LISTED_MAX)
        self.remarkable = Top(overlay_count)
        self.inspect_ms = 0.0
        self.tiles = 0

    def passing(self, pictures: Iterable[Reinspected]) -> Iterator[Reinspected]:
        """The same pictures, each counted as it passes."""
        for one in pictures:
            self.add(one)
            yield one

    def add(self, one: Reinspected) -> None:
        result = one.result
        self.outcomes[result.outcome.value] += 1
        self.by_folder[self._folder_of(one.picture.path)][result.outcome.value] += 1
        self.defects_by_class.update(defect.class_id for defect in result.defects)
        self.inspect_ms += result.ms
        self.tiles += result.tiles
        if result.error is None:
            self._add_inspected(one)
        else:
            self.error_kinds[result.reasons[0]] += 1
            if len(self.errors) < LISTED_MAX:
                self.errors.append(one)

    @property
    def pictures(self) -> int:
        return sum(self.outcomes.values())

    @property
    def changed_count(self) -> int:
        return sum(count for change, count in self.changes.items() if change != SAME)

    def as_json(self, class_names: dict[int, str]) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "outcomes": dict(self.outcomes),
            "defects": {class_names[class_id]: count for class_id, count in sorted(self.defects_by_class.items())},
            "errors": sum(self.error_kinds.values()),
            "crashed": self.error_kinds[CRASHED],
            "changes": dict(self.changes),
            "inspect_ms": round(self.inspect_ms, 1),
        }

    def _add_inspected(self, one: Reinspected) -> None:
        change, defects = one.change, float(len(one.result.defects))
        self.slowest.add((one.result.ms,), one)
        moved = float(change.defects_gone + change.defects_new) if change else 0.0
        is_changed = change is not None and change.verdict != SAME
        if one.picture.record and change:
            self.changes[change.verdict] += 1
            self.old_outcomes[one.picture.record.outcome] += 1
        if is_changed:
            self.changed.add((moved, defects), one)
        if is_changed or defects:
            self.remarkable.add((float(is_changed), moved, defects, one.max_score or 0.0), one)

    def _folder_of(self, path: str) -> str:
        """The first two folders of the path: a day and NG or OK in a device's archive."""
        folder = "/".join(path.split("/")[:-1][:2]) or "."
        return folder if folder in self.by_folder or len(self.by_folder) < FOLDERS_MAX else OTHER_FOLDERS
