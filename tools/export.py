"""`export`: a network as a float Paddle program of one tile size, with bytes coming out and, if wanted, going in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.crops import MEAN, STD
from tools.errors import ToolError
from tools.forms import InputForm, OutputForm
from tools.graph import FloatArray, Graph
from tools.paddle_first import paddle
from tools.paddle_network import evaluating
from tools.tile_form import TILE_PX, check_tile

nn = paddle.nn

MODEL_NAME = "model"


class Exported(nn.Layer):  # type: ignore[misc,name-defined]
    """The form that leaves the tools.

    class_and_score: class ids and scores, uint8 (N, H/s, W/s); score = 1 - P(background), 255 = certain; the class is
    the likeliest defect, whatever the score, so that the threshold stays adjustable on the device. score: the scores
    alone, for one class. probabilities: softmax, float32 (N, classes, H/s, W/s), for comparisons. With uint8 input
    (N, H, W, C) the normalisation is part of the graph.
    Paddle Lite casts neither bool nor int32 to uint8, hence the way by float32.
    """

    def __init__(self, network: Any, input_form: InputForm, output_form: OutputForm) -> None:
        super().__init__()
        self.network = network
        self.input_form, self.output_form = input_form, output_form

    def forward(self, x: Any) -> Any:
        if self.input_form == "uint8":
            x = paddle.transpose(paddle.cast(x, "float32"), [0, 3, 1, 2]) * (1 / (255.0 * STD)) - MEAN / STD
        logits = self.network(x)
        probabilities = nn.functional.softmax(logits, axis=1)
        if self.output_form == "probabilities":
            return probabilities
        scores = paddle.cast((1.0 - probabilities[:, 0]) * 255.0 + 0.5, "uint8")
        if self.output_form == "score":
            return scores
        likeliest = paddle.cast(paddle.argmax(logits[:, 1:], axis=1), "float32")
        return paddle.cast(likeliest + 1.0, "uint8"), scores


def exported_network(
    graph: Graph,
    weights: Mapping[str, FloatArray],
    input_form: InputForm = "float32",
    output_form: OutputForm = "class_and_score",
) -> Any:
    """The network in its exported form, as a Paddle layer in evaluation mode."""
    if output_form == "score" and graph.class_count != 2:
        raise ToolError(f"output 'score' is for one defect class, the network has {graph.class_count - 1}")
    exported = Exported(evaluating(graph, weights), input_form, output_form)
    exported.eval()
    return exported


def export_network(
    graph: Graph,
    weights: Mapping[str, FloatArray],
    prefix: Path,
    tile_px: int = TILE_PX,
    input_form: InputForm = "float32",
    output_form: OutputForm = "class_and_score",
) -> Path:
    """Write `prefix`.pdmodel and .pdiparams for tiles of `tile_px`; returns the .pdmodel.

    clip_extra=False keeps attributes that opt needs. Raises ToolError for a side the network cannot take.
    """
    check_tile(graph, tile_px)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    exported = exported_network(graph, weights, input_form, output_form)
    channels = graph.input_channels
    shape = [1, tile_px, tile_px, channels] if input_form == "uint8" else [1, channels, tile_px, tile_px]
    tile = paddle.static.InputSpec(shape, input_form, "tile")
    paddle.jit.save(exported, str(prefix), input_spec=[tile], clip_extra=False)
    return prefix.with_suffix(".pdmodel")
