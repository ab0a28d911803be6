"""What all families are built of: named groups of nodes."""

from __future__ import annotations

from tools.graph import INPUT, Graph, Node


class GraphBuilder:
    """Collects nodes; each method appends some and returns the name of the last one's output."""

    def __init__(self, input_channels: int) -> None:
        self._input_channels = input_channels
        self._nodes: list[Node] = []
        self._channels = {INPUT: input_channels}

    def channels(self, source: str) -> int:
        return self._channels[source]

    def add(self, node: Node) -> str:
        self._nodes.append(node)
        inputs = [self._channels[name] for name in node.inputs]
        self._channels[node.name] = node.channels or (sum(inputs) if node.op == "concat" else inputs[0])
        return node.name

    def graph(self, output: str) -> Graph:
        return Graph(self._input_channels, tuple(self._nodes), output)

    def conv_bn(
        self, name: str, source: str, channels: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> str:
        conv = Node(f"{name}.conv", "conv", (source,), channels, kernel, stride, groups)
        return self.add(Node(f"{name}.bn", "bn", (self.add(conv),)))

    def relu(self, name: str, source: str) -> str:
        return self.add(Node(f"{name}.relu", "relu", (source,)))

    def conv_bn_relu(
        self, name: str, source: str, channels: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> str:
        return self.relu(name, self.conv_bn(name, source, channels, kernel=kernel, stride=stride, groups=groups))

    def separable(self, name: str, source: str, channels: int, stride: int = 1) -> str:
        """Depthwise 3x3 and pointwise convolution. Source: Howard et al. 2017, arXiv:1704.04861."""
        width = self.channels(source)
        spatial = self.conv_bn_relu(f"{name}.depthwise", source, width, stride=stride, groups=width)
        return self.conv_bn_relu(f"{name}.pointwise", spatial, channels, kernel=1)

    def residual(self, name: str, source: str) -> str:
        """Two 3x3 convolutions around an identity. Source: He et al. 2015, arXiv:1512.03385."""
        width = self.channels(source)
        first = self.conv_bn_relu(f"{name}.first", source, width)
        second = self.conv_bn(f"{name}.second", first, width)
        return self.relu(name, self.add(Node(f"{name}.add", "add", (source, second))))

    def upsample(self, name: str, source: str, channels: int, how: str) -> str:
        """Twice the resolution: `deconv` (2x2 without overlap) with batch norm, or 1x1 convolution and `resize`."""
        if how == "deconv":
            up = self.add(Node(f"{name}.deconv", "deconv", (source,), channels, kernel=2, stride=2))
            return self.add(Node(f"{name}.bn", "bn", (up,)))
        narrow = self.conv_bn(name, source, channels, kernel=1)
        return self.add(Node(f"{name}.resize", "resize", (narrow,), stride=2))

    def head(self, source: str, class_count: int) -> str:
        return self.add(Node("head", "conv", (source,), class_count, bias=True))
