"""`prune`: a smaller network file from a network file and one wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.files import write_atomically
from tools.errors import ToolError
from tools.graph import Graph, Weights, count_macs, count_parameters
from tools.network_file import FILE_NAME, load_network, save_network
from tools.pruning.choice import Cost, Limits
from tools.pruning.cut import Plan, cut
from tools.pruning.groups import LAYERS, Dependencies, find_dependencies
from tools.pruning.plan import TILE_PX, plan_macs, plan_milliseconds, plan_parameters, plan_ratios
from tools.pruning.scores import Scores, check_method, score_units
from tools.tables import markdown_table


@dataclass(frozen=True)
class Wish:
    """Exactly one of these; `macs` and `parameters` up to 1 are shares of the network's own.

    `ratios`: pattern of layers to the share of their channels that goes.
    """

    macs: float | None = None
    parameters: float | None = None
    milliseconds: float | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        targets = {"macs": self.macs, "parameters": self.parameters, "milliseconds": self.milliseconds}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) + bool(self.ratios) != 1:
            raise ToolError(
                "say how much to prune in exactly one way: --macs, --parameters, --milliseconds, or ratios "
                "(--ratio, --ratio-of)"
            )
        for name, value in given.items():
            if not value > 0:
                raise ToolError(f"{name} {value}: must be above 0")


@dataclass(frozen=True)
class Pruned:
    """What went in and what came out."""

    before: Graph
    graph: Graph
    weights: Weights

    def width_rows(self) -> list[tuple[str, int, int]]:
        """(layer, channels before, after) of each convolution."""
        after = {node.name: node.channels for node in self.graph}
        return [(node.name, node.channels, after[node.name]) for node in self.before if node.op in LAYERS]

    def figures(self) -> list[tuple[str, int, int, str]]:
        """(figure, before, after, share that is left)."""
        counts = (
            ("MACs", count_macs(self.before, TILE_PX), count_macs(self.graph, TILE_PX)),
            ("parameters", count_parameters(self.before), count_parameters(self.graph)),
        )
        return [(name, before, after, f"{after / before:.1%}") for name, before, after in counts]

    def text(self) -> str:
        return (
            f"# Pruned\n\n{markdown_table(('figure', 'before', 'after', 'left'), self.figures())}\n"
            f"{markdown_table(('layer', 'channels before', 'after'), self.width_rows())}"
        )


def prune_network(graph: Graph, weights: Weights, method: str, wish: Wish, limits: Limits, measure: Cost) -> Pruned:
    """`measure` gives a graph's milliseconds; only a wish for milliseconds asks it.

    Raises ToolError for an unknown method, layer or ratio, and a target that cannot be reached.
    """
    dependencies = find_dependencies(graph)
    plan = _plan(dependencies, score_units(dependencies, weights, method), wish, limits, measure)
    return Pruned(graph, *cut(weights, plan))


def prune_file(network: Path, out: Path, method: str, wish: Wish, limits: Limits, measure: Cost) -> Pruned:
    """Write `out`/network.npz and `out`/pruning.md.

    Raises ToolError like `prune_network`, and when `out` holds `network` itself.
    """
    check_method(method)
    source = network / FILE_NAME if network.is_dir() else network
    if source.resolve() == (out / FILE_NAME).resolve():
        raise ToolError(f"{out}: holds the network to prune; give another folder for the smaller one")
    pruned = prune_network(*load_network(network), method, wish, limits, measure)
    save_network(out / FILE_NAME, pruned.graph, pruned.weights)
    write_atomically(out / "pruning.md", pruned.text().encode())
    return pruned


def _plan(dependencies: Dependencies, scores: Scores, wish: Wish, limits: Limits, measure: Cost) -> Plan:
    graph = dependencies.graph
    if wish.macs is not None:
        return plan_macs(dependencies, scores, _absolute(wish.macs, count_macs(graph, TILE_PX)), limits)
    if wish.parameters is not None:
        return plan_parameters(dependencies, scores, _absolute(wish.parameters, count_parameters(graph)), limits)
    if wish.milliseconds is not None:
        return plan_milliseconds(dependencies, scores, wish.milliseconds, limits, measure)
    return plan_ratios(dependencies, scores, wish.ratios, limits)


def _absolute(target: float, present: int) -> float:
    return target * present if target <= 1 else target
