"""`export`: a run's averaged network as a float Paddle program of one fixed tile size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.learner import averaged_network
from tools.networks import BytesOut
from tools.paddle_first import paddle
from tools.runs import load_checkpoint, load_settings

TILE_PX = 512
BACKGROUND = 0
PRIOR_SHIFT = 4.0
MODEL_NAME = "model"


def load_run_network(run: Path) -> Any:
    """The averaged network of a run's last checkpoint, in evaluation mode, its background made likelier.

    Training sees defects far more often than the line does (crops around them, class weights, Dice) and is too sure of
    them: without `PRIOR_SHIFT` on the background's logit all useful thresholds would crowd at the end of a byte.
    """
    network = averaged_network(load_settings(run), load_checkpoint(run))
    bias = network.head.bias.numpy()
    bias[BACKGROUND] += PRIOR_SHIFT
    network.head.bias.set_value(bias)
    return network


def export_run(run: Path, out: Path, tile_px: int = TILE_PX) -> Path:
    """Write `out`/model.pdmodel and .pdiparams, two uint8 outputs; returns the .pdmodel."""
    out.mkdir(parents=True, exist_ok=True)
    return export_network(load_run_network(run), out / MODEL_NAME, tile_px)


def export_network(network: Any, prefix: Path, tile_px: int) -> Path:
    """Write the bytes-out form of a logits network to `prefix`.pdmodel and .pdiparams.

    clip_extra=False keeps attributes that opt needs.
    """
    exported = BytesOut(network)
    exported.eval()
    tile = paddle.static.InputSpec([1, 1, tile_px, tile_px], "float32", "tile")
    paddle.jit.save(exported, str(prefix), input_spec=[tile], clip_extra=False)
    return prefix.with_suffix(".pdmodel")
