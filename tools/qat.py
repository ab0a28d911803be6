"""Quantisation-aware fine-tuning: a network that computes as its INT8 form will, while its weights stay trainable.

Convolutions get 8-bit weights (one scale a channel) and 8-bit inputs (moving average of the largest value) in the
forward pass; transposed convolutions stay float, because Paddle Lite's x86 kernel for them is wrong in INT8.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.errors import ConversionError
from tools.paddle_first import paddle
from tools.program_edit import mend_program

MOVING_RATE = 0.9


def wrap_for_qat(network: Any, float_layers: Sequence[str] = ()) -> Any:
    """Change a float network in place so that its convolutions are simulated in INT8, and return it in training mode.

    float_layers: names of sublayers that stay float (`network.named_sublayers()`). Train it as before, at a tenth of
    the learning rate or less; its activations' scales settle within about 20 steps. Optimisers must be made afterwards.
    Raises ConversionError when there is no convolution to quantise or a name is not one.
    """
    convolutions = dict(_convolutions(network))
    unknown = [name for name in float_layers if name not in convolutions]
    if unknown or set(convolutions) <= set(float_layers):
        allowed = ", ".join(convolutions) or "none: the network has no paddle.nn.Conv2D"
        raise ConversionError(f"layers to keep float: {', '.join(float_layers) or 'none'}; convolutions are {allowed}")
    for name in float_layers:
        convolutions[name].skip_quant = True
    network.train()
    _quantiser().quantize(network)
    return network


def quantized_layer_names(network: Any) -> tuple[str, ...]:
    """The sublayers that compute in simulated INT8, by the names they had before they were wrapped."""
    quantized_class = paddle.nn.quant.quant_layers.QuantizedConv2D
    found = [name for name, layer in network.named_sublayers() if isinstance(layer, quantized_class)]
    return tuple(name.removesuffix("._layer") for name in found)


def export_qat(network: Any, prefix: Path, input_spec: Any) -> Path:
    """Write `prefix`.pdmodel and .pdiparams, a quantised program that opt reads; returns the .pdmodel.

    network: one from `wrap_for_qat`, or a layer that holds it. It is left as it was. The program run by Paddle answers
    exactly as the network does in evaluation mode.
    """
    if not quantized_layer_names(network):
        raise ConversionError("the network holds no INT8 convolution; wrap it with wrap_for_qat first")
    exported = copy.deepcopy(network)
    exported.eval()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with _own_static_world():
        _quantiser().save_quantized_model(exported, str(prefix), input_spec=[input_spec], clip_extra=False)
    path = prefix.with_name(f"{prefix.name}.pdmodel")
    mend_program(path)
    return path


def _quantiser() -> Any:
    # onnx_format=True would quantise the convolutions' outputs too, which was not trained.
    return paddle.quantization.ImperativeQuantAware(
        quantizable_layer_type=["Conv2D"],
        weight_quantize_type="channel_wise_abs_max",
        activation_quantize_type="moving_average_abs_max",
        moving_rate=MOVING_RATE,
        onnx_format=False,
    )


def _convolutions(network: Any) -> Iterator[tuple[str, Any]]:
    for name, layer in network.named_sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            yield name, layer


@contextmanager
def _own_static_world() -> Iterator[None]:
    """Paddle's exporter switches to static mode, fills the global scope and warns; nothing of it outlives this."""
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), paddle.static.scope_guard(paddle.static.Scope()):
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logging.disable(silenced)
        paddle.disable_static()
