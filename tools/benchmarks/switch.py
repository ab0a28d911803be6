"""What a change of recipe costs in the running daemon, over its serial line: two recipes, two models, both loaded."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.protocol.messages import (
    FROM_DEVICE,
    Acknowledge,
    Heartbeat,
    Message,
    RecipeActive,
    RecipeRequest,
    Result,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.simulation.cable import Cable
from edge_runtime.simulation.station import Station
from edge_runtime.simulation.toml_text import to_toml
from edge_runtime.values import Outcome
from tools.benchmarks.daemon import READY_WITHIN_S, daemon_settings, end, scratch
from tools.benchmarks.frames import made_frame
from tools.errors import ToolError

SIDE_PX = 1024
ANSWER_WITHIN_S = 30.0
Heard = TypeVar("Heard", bound=Message)


def measure_switches(bundle: Path, other: Path, rounds: int, backend: str) -> dict[str, float]:
    """Medians in ms: a change told and answered; a part right after a change, and one that follows without.

    Each round changes to the other model and back. The bundles must have passed `check_switchable`. Raises
    EdgeRuntimeError when the daemon does not do as told.
    """
    with scratch("switch") as folder:
        controller = _Controller(folder, _settings(folder, bundle, other, backend))
        try:
            controller.begin()
            times = [controller.change_and_inspect(number) for _ in range(1 + rounds) for number in (2, 1)]
        finally:
            controller.end()
    counted = times[2:]
    return {key: round(statistics.median(each[key] for each in counted), 2) for key in counted[0]}


def measure_takeovers(bundle: Path, other: Path, rounds: int, backend: str, workers: int) -> dict[str, float]:
    """Medians in ms: from the request to the controller's hearing of the other model; the first part by it, the next.

    Each round has the running daemon take over the other bundle and the first one again. Raises as `measure_switches`.
    """
    with scratch("takeover") as folder:
        settings = _single(folder, bundle, backend, workers)
        controller = _Controller(folder, settings)
        try:
            controller.begin()
            times = []
            for each in [other, bundle] * (1 + rounds):
                inspection = settings["inspection"] | {"bundle": str(each.absolute())}
                times.append(controller.take_over_and_inspect(settings | {"inspection": inspection}))
        finally:
            controller.end()
    return {key: round(statistics.median(each[key] for each in times[2:]), 2) for key in times[0]}


def _single(folder: Path, bundle: Path, backend: str, workers: int) -> dict[str, Any]:
    settings = daemon_settings(folder, bundle, made_frame(SIDE_PX, with_template=False), workers, backend)
    del settings["gpio"]
    line = settings["line"] | {"trigger": "serial"}
    return settings | {"line": line, "serial": {"port": str(folder / "tty")}}


def check_switchable(bundles: Iterable[Path]) -> None:
    """Raises ToolError for models that need a template, BundleError."""
    if any(load_bundle(folder).input_contract.template for folder in bundles):
        raise ToolError("bench start changes between models that take no template; choose another --other")


def _settings(folder: Path, bundle: Path, other: Path, backend: str) -> dict[str, Any]:
    settings = daemon_settings(folder, bundle, made_frame(SIDE_PX, with_template=False), 1, backend)
    del settings["gpio"], settings["recipe"]
    recipes = {
        str(number): {"recipe": {"name": f"recipe{number}"}, "bundle": str(each.absolute())}
        for number, each in ((1, bundle), (2, other))
    }
    line = settings["line"] | {"trigger": "serial"}
    return settings | {"line": line, "serial": {"port": str(folder / "tty")}, "recipes": recipes}


class _Controller:
    """The far end of the serial cable; one thread."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        config = self._config = folder / "config.toml"
        config.write_text(to_toml(settings), encoding="utf-8")
        self._cable, self._station = Cable(folder / "tty"), Station(folder, config)
        self._decoder, self._line_seqno = Decoder(FROM_DEVICE), 0

    def begin(self) -> None:
        self._cable.plug()
        self._station.start()
        self._hear(Heartbeat, lambda heard: heard.state != "starting", READY_WITHIN_S)
        self._change(1)  # a daemon that never had a recipe says fault until it has one
        self._hear(Heartbeat, lambda heard: heard.state == "ready", READY_WITHIN_S)

    def end(self) -> None:
        end(self._station)
        self._cable.pull()

    def change_and_inspect(self, number: int) -> dict[str, float]:
        return {"answer": self._change(number), "first part": self._inspect(), "next part": self._inspect()}

    def take_over_and_inspect(self, settings: dict[str, Any]) -> dict[str, float]:
        self._config.write_text(to_toml(settings), encoding="utf-8")
        began_ns = time.monotonic_ns()
        self._station.signal(signal.SIGHUP)
        self._hear(RecipeActive, lambda heard: True, READY_WITHIN_S)
        answer_ms = (time.monotonic_ns() - began_ns) / NS_PER_MS
        return {"taken over": answer_ms, "first part": self._inspect(), "next part": self._inspect()}

    def _change(self, number: int) -> float:
        began_ns = time.monotonic_ns()
        self._say(RecipeRequest(number))
        self._hear(RecipeActive, lambda heard: heard.number == number, ANSWER_WITHIN_S)
        return (time.monotonic_ns() - began_ns) / NS_PER_MS

    def _inspect(self) -> float:
        self._line_seqno += 1
        began_ns = time.monotonic_ns()
        self._say(TriggerRequest(self._line_seqno))
        result = self._hear(Result, lambda heard: heard.line_seqno == self._line_seqno, ANSWER_WITHIN_S)
        took_ms = (time.monotonic_ns() - began_ns) / NS_PER_MS
        self._say(Acknowledge(result.seq))
        if result.outcome is Outcome.NOT_INSPECTED:
            raise EdgeRuntimeError(
                f"part {result.part_id} was not inspected; the log ends:\n{self._station.log_tail()}"
            )
        return took_ms

    def _say(self, message: Message) -> None:
        self._cable.write(encode(message))

    def _hear(self, kind: type[Heard], wanted: Callable[[Heard], bool], within_s: float) -> Heard:
        """The next message of the kind that is wanted; the others are passed over."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s and not self._station.has_ended:
            for message in self._decoder.feed(self._cable.read(50)):
                if isinstance(message, kind) and wanted(message):
                    return message
        raise EdgeRuntimeError(f"no {kind.__name__} from the daemon; its log ends:\n{self._station.log_tail()}")
