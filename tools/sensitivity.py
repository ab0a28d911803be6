"""What the network loses when one class of channels alone is pruned and nothing is trained again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from edge_runtime.files import write_atomically
from tools.errors import ToolError
from tools.graph import Graph, Weights, count_macs, count_parameters
from tools.network_file import graph_to_json
from tools.pruning.choice import Limits
from tools.pruning.cut import Plan, cut
from tools.pruning.groups import Dependencies, find_dependencies
from tools.pruning.plan import TILE_PX, plan_class
from tools.pruning.scores import check_method, score_units

Quality = Callable[[Graph, Weights], float]
WHOLE = "(nothing)"


@dataclass(frozen=True)
class Trial:
    """One class pruned by `ratio`: channels of its first layer before and after, the whole network's figures.

    `study`: digest of what was pruned how, so that rows of another network are not taken for this one's.
    """

    study: str
    channel_class: str
    ratio: float
    channels: int
    kept: int
    macs: int
    parameters: int
    quality: float


@dataclass(frozen=True)
class Study:
    """Which network loses what: each class of channels at each of `ratios`, chosen by `method`.

    `judged_on` names the pictures. Raises ToolError for a ratio outside 0 < ratio < 1 and an unknown method.
    """

    graph: Graph
    weights: Weights
    method: str
    ratios: tuple[float, ...]
    align: int = 8
    judged_on: str = ""

    def __post_init__(self) -> None:
        if not self.ratios or not all(0 < ratio < 1 for ratio in self.ratios):
            raise ToolError(f"ratios {', '.join(map(str, self.ratios))}: give one or more above 0 and below 1")
        check_method(self.method)

    @property
    def key(self) -> str:
        """Digest of all but the ratios, which may be added to."""
        choices = [graph_to_json(self.graph), self.method, self.align, self.judged_on]
        digest = hashlib.sha256(json.dumps(choices).encode())
        for name in sorted(self.weights):
            digest.update(self.weights[name].tobytes())
        return digest.hexdigest()[:12]

    def trials(self, dependencies: Dependencies) -> list[tuple[str, float]]:
        """(class, ratio), the whole network first."""
        return [(WHOLE, 0.0), *((c.name, ratio) for c in dependencies.classes for ratio in sorted(set(self.ratios)))]


def measure_sensitivity(
    study: Study, quality: Quality, table: Path, show: Callable[[int, int], None] = lambda done, total: None
) -> list[Trial]:
    """Prune, judge, and write each trial to the CSV `table` before the next; returns them all.

    Trials already in the table are not repeated, and one that leaves as many channels as another takes over its
    quality. `show` is told how many of how many are done. Raises ToolError for the table of another study.
    """
    done = {(trial.channel_class, trial.ratio): trial for trial in read_trials(table, study.key)}
    qualities = {(trial.channel_class, trial.kept): trial.quality for trial in done.values()}
    dependencies = find_dependencies(study.graph)
    scores = score_units(dependencies, study.weights, study.method)
    limits = Limits(align=study.align, protect_head_input=False)
    wanted = study.trials(dependencies)
    for number, (name, ratio) in enumerate(wanted, 1):
        if (name, ratio) not in done:
            plan = plan_class(dependencies, scores, name, ratio, limits)
            alike = (name, _kept(plan, name))
            if alike not in qualities:
                qualities[alike] = quality(*cut(study.weights, plan))
            done[name, ratio] = _trial(study.key, plan, name, ratio, qualities[alike])
            write_trials(table, list(done.values()))
        show(number, len(wanted))
    return [done[key] for key in wanted]


def read_trials(table: Path, key: str) -> list[Trial]:
    """The trials on disk, none where there is no table. Raises ToolError for a damaged table or another study's."""
    if not table.exists():
        return []
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)] for field in fields(Trial)}
    try:
        rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
        trials = [Trial(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as exc:
        raise ToolError(f"{table}: no table of trials ({exc}); move it away or give another folder") from exc
    if any(trial.study != key for trial in trials):
        raise ToolError(
            f"{table}: trials of another network, method, alignment or data set; move it away or give another folder"
        )
    return trials


def write_trials(table: Path, trials: Sequence[Trial]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Trial)])
    writer.writerows(astuple(trial) for trial in trials)
    write_atomically(table, stream.getvalue().encode())


def _kept(plan: Plan, name: str) -> int:
    return 0 if name == WHOLE else len(plan.kept[_layer(name)])


def _layer(name: str) -> str:
    return name.partition("#")[0]


def _trial(key: str, plan: Plan, name: str, ratio: float, quality: float) -> Trial:
    smaller = plan.smaller_graph()
    channels = 0 if name == WHOLE else plan.graph[_layer(name)].channels
    figures = count_macs(smaller, TILE_PX), count_parameters(smaller)
    return Trial(key, name, ratio, channels, _kept(plan, name), *figures, quality)
