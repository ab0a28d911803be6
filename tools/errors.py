"""What a workstation command says when it cannot go on."""

from edge_runtime.errors import EdgeRuntimeError


class ToolError(EdgeRuntimeError):
    """A data set, run, model or bundle given to a tool cannot be used; the message says why and what to do."""


class DatasetError(ToolError):
    """A data set is incomplete or contradicts itself."""


class ConversionError(ToolError):
    """A model cannot be converted for Paddle Lite, or the converted one does not compute the same."""


class CalibrationError(ToolError):
    """Calibration tiles cannot teach a network the ranges of its activations."""
