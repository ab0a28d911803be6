"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tools.convert import Converted
from tools.scoring import Scores
from tools.verify import TileParity


def show_scores(console: Console, title: str, scores: Mapping[str, Scores]) -> None:
    table = Table("class", "labelled", "found", "right", "precision", "recall", "F", "AP", title=title)
    for name, one in scores.items():
        counts = (str(one.labelled), str(one.found), str(one.right))
        shares = (one.precision, one.recall, one.f_score, one.average_precision)
        table.add_row(name, *counts, *(f"{share:.3f}" for share in shares))
    console.print(table)


def show_converted(console: Console, converted: Sequence[Converted]) -> None:
    for made in converted:
        checked = "not run here"
        if made.parity is not None:
            worst = max(parity.max_difference for parity in made.parity)
            checked = f"equals Paddle within {worst:.3g}"
        console.print(f"{made.path}: {made.path.stat().st_size:,} bytes, opt {made.opt_version}, {checked}")


def show_parity(console: Console, parity: TileParity, theoretical_px: int, measured_px: int) -> None:
    console.print(
        f"against the float network on {parity.tiles} tiles: scores differ by up to {parity.max_score_difference} of "
        f"255 (mean {parity.mean_score_difference:.5f}), classes equal in {parity.equal_class_share:.4%} of the cells"
    )
    console.print(f"receptive radius: {measured_px} px measured, {theoretical_px} px at most")
