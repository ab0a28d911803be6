"""The steps that follow from a recipe.

The order of the chain is train, prune and fine-tune (as often as listed), distil, quantise, pack; every stage becomes a
bundle of its own that is evaluated alike, so that a drop shows where it happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.network_file import FILE_NAME
from tools.recipe_file import PACE, Prune, Recipe, Table, read_recipe

__all__ = ["TILES_NAME", "Recipe", "Step", "read_recipe", "stage_networks", "steps"]

TILES_NAME = "tiles.npz"


@dataclass(frozen=True)
class Step:
    """One command of the chain: what it reads decides whether its output in `folder` is still good.

    `settings` are written to a JSON file whose path follows --settings. `trains`: it can be resumed. `permanent`: its
    output is never replaced.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    settings: Mapping[str, Any] | None = None
    trains: bool = False
    permanent: bool = False

    def settings_path(self, work: Path) -> Path:
        return work / f"{self.name}.json"


def steps(recipe: Recipe) -> list[Step]:
    """Every command of the chain in order."""
    return [*_synthesis(recipe), *_training(recipe), *_quantisation(recipe), *_stages(recipe), _packing(recipe)]


def stage_networks(recipe: Recipe) -> dict[str, Path]:
    """The network of each stage that is compared, by name."""
    named = {"unpruned": recipe.work / "train"}
    if recipe.prune:
        named["pruned"] = recipe.work / f"finetune{len(recipe.prune)}"
    if recipe.distill is not None:
        named["distilled"] = recipe.work / "distill"
    return named


def _synthesis(recipe: Recipe) -> Iterator[Step]:
    for table in recipe.synthesize:
        options = {name: getattr(table, name) for name in ("count", "side", "seed", "defects")}
        flags = ["--binary"] if table.binary else []
        yield Step(
            f"synthesize-{table.out.name}",
            table.out,
            ("synthesize", "--out", str(table.out), *_options(options), *flags),
        )


def _training(recipe: Recipe) -> Iterator[Step]:
    base = _base_settings(recipe)
    unpruned = recipe.work / "train"
    yield _trained("train", unpruned, ("train",), (), {**base, "network": recipe.network})
    network = unpruned
    for number, prune in enumerate(recipe.prune, 1):
        pruned, tuned = recipe.work / f"prune{number}", recipe.work / f"finetune{number}"
        yield Step(f"prune{number}", pruned, _prune_command(prune, network, pruned), (network / FILE_NAME,))
        command = ("train", "--network", str(pruned))
        yield _trained(tuned.name, tuned, command, (pruned / FILE_NAME,), {**base, **prune.train})
        network = tuned
    if recipe.distill is not None:
        taught = ("distill", "--student", str(network), "--teacher", str(unpruned))
        reads = (network / FILE_NAME, unpruned / FILE_NAME)
        yield _trained("distill", recipe.work / "distill", taught, reads, {**base, **recipe.distill})


def _base_settings(recipe: Recipe) -> Table:
    return {"data": [{"folder": str(d.folder), "share": d.share} for d in recipe.data], **recipe.train}


def _trained(name: str, out: Path, command: tuple[str, ...], reads: tuple[Path, ...], settings: Table) -> Step:
    """A training step; it reads the networks and the data sets its settings name."""
    folders = tuple(Path(entry["folder"]) for entry in settings["data"])
    line = (command[0], "--out", str(out), *command[1:])
    return Step(name, out, line, (*folders, *reads), settings, trains=True)


def _prune_command(prune: Prune, network: Path, out: Path) -> tuple[str, ...]:
    spared = [word for pattern in prune.spare for word in ("--spare", pattern)]
    options = {"method": prune.method, "align": prune.align, **prune.target()}
    return ("prune", str(network), "--out", str(out), *_options(options), *spared)


def _quantisation(recipe: Recipe) -> Iterator[Step]:
    if recipe.quantize is None:
        return
    if recipe.quantize.train is not None:
        yield _fine_tuned(recipe, recipe.quantize.train)
        return
    network, program, tiles = _final_network(recipe), recipe.work / "program", recipe.work / "tiles"
    shift = _options({"prior-shift": recipe.pack.prior_shift})
    yield Step("program", program, ("export", str(network), "--out", str(program), *shift), (network / FILE_NAME,))
    folders = tuple(entry.folder for entry in recipe.data)
    data = [word for folder in folders for word in ("--data", str(folder))]
    count = _options({"count": recipe.quantize.tiles, "network": network})
    reads = (*folders, network / FILE_NAME)
    yield Step("tiles", tiles, ("tiles", "--out", str(tiles), *data, *count), reads)
    chosen = recipe.quantize
    options = {"calibration": tiles / TILES_NAME, "algorithm": chosen.algorithm, "tolerance": chosen.tolerance}
    out = recipe.work / "quantize"
    command = ("quantize", str(program), "--out", str(out), *_options(options))
    yield Step("quantize", out, command, (program / "model.pdmodel", program / "model.pdiparams", tiles / TILES_NAME))


def _fine_tuned(recipe: Recipe, train: Table) -> Step:
    """INT8 by `qat`, which cannot be resumed and needs Paddle: a step like any other, not one of training's."""
    network, out = _final_network(recipe), recipe.work / "quantize"
    inherited = {name: value for name, value in _base_settings(recipe).items() if name not in PACE}
    settings = {**inherited, **train}
    folders = tuple(Path(entry["folder"]) for entry in settings["data"])
    command = ("qat", str(network), "--out", str(out), *_options({"prior-shift": recipe.pack.prior_shift}))
    return Step("quantize", out, command, (*folders, network / FILE_NAME), settings)


def _stages(recipe: Recipe) -> Iterator[Step]:
    """Each stage as a bundle for this machine, and the table over all of them."""
    for stage, network in stage_networks(recipe).items():
        out = recipe.work / "stages" / stage
        command = (*_pack_command(recipe, network, out / "1", stage), "--target", "x86")
        yield Step(f"stage-{stage}", out, command, _packed_from(recipe, network))
    out = recipe.work / "compare"
    bundles = [word for stage in stage_networks(recipe) for word in ("--stage", str(_stage_bundle(recipe, stage)))]
    quantized, program = _quantized(recipe)
    validation = [word for entry in recipe.validation for word in ("--data", f"{entry.label}={entry.folder}")]
    reads = tuple(_stage_bundle(recipe, stage) / "manifest.json" for stage in stage_networks(recipe))
    yield Step(
        "compare",
        out,
        ("compare-stages", "--out", str(out), *bundles, *quantized, *validation),
        (*reads, *program, *(entry.folder for entry in recipe.validation)),
    )


def _stage_bundle(recipe: Recipe, stage: str) -> Path:
    return recipe.work / "stages" / stage / "1"


def _final_network(recipe: Recipe) -> Path:
    return list(stage_networks(recipe).values())[-1]


def _packing(recipe: Recipe) -> Step:
    out, network = recipe.out / recipe.name / recipe.version, _final_network(recipe)
    notes = recipe.work / "compare" / "stages.md"
    targets = [word for target in recipe.pack.targets for word in ("--target", target)]
    quantized, program = _quantized(recipe)
    calibrated, tiles = _calibrated(recipe)
    evaluation = [word for entry in recipe.validation for word in ("--data", f"{entry.label}={entry.folder}")]
    command = _pack_command(recipe, network, out, recipe.name)
    allowed = [word for precision in recipe.pack.allow for word in ("--allow", precision)]
    return Step(
        "pack",
        out,
        (*command, "--notes", str(notes), *targets, *quantized, *calibrated, *allowed, *evaluation),
        (*_packed_from(recipe, network), notes, *program, *tiles, *(entry.folder for entry in recipe.validation)),
        permanent=True,
    )


def _quantized(recipe: Recipe) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The option that names the INT8 program, and its files; both empty without one."""
    if recipe.quantize is None:
        return (), ()
    folder = recipe.work / "quantize"
    return ("--quantized", str(folder)), (folder / "model.pdmodel", folder / "model.pdiparams")


def _calibrated(recipe: Recipe) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The option that names the calibration tiles of onnx+int8, and their file; both empty without that target."""
    if "onnx+int8" not in recipe.pack.targets:
        return (), ()
    tiles = recipe.work / "tiles" / TILES_NAME
    return ("--calibration", str(tiles)), (tiles,)


def _packed_from(recipe: Recipe, network: Path) -> tuple[Path, ...]:
    """What every bundle is made of: the network, the terms, the pictures that choose the thresholds."""
    return (network / FILE_NAME, recipe.terms, *(entry.folder for entry in recipe.data))


def _pack_command(recipe: Recipe, network: Path, out: Path, name: str) -> tuple[str, ...]:
    thresholds = [word for entry in recipe.data for word in ("--thresholds-on", str(entry.folder))]
    options = {"motif": recipe.pack.motif, "prior-shift": recipe.pack.prior_shift, "terms": recipe.terms}
    by = () if recipe.pack.thresholds_by == "boxes" else ("--thresholds-by", recipe.pack.thresholds_by)
    return ("pack", str(network), "--out", str(out), "--name", name, *_options(options), *by, *thresholds)


def _options(values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]
