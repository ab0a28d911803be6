"""What each output says when nobody can vouch for the line."""

from collections.abc import Mapping
from types import MappingProxyType

from edge_runtime.interfaces import Output

SAFE_ACTIVE: Mapping[Output, bool] = MappingProxyType(
    {output: output in (Output.REJECT, Output.FAULT, Output.STOP) for output in Output}
)
