"""The program of every child process: `ROLE CHANNEL_FD RING_FD`. Each loads only what its role needs."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from edge_runtime.clock import SystemClock
from edge_runtime.config import Settings
from edge_runtime.errors import ConfigError
from edge_runtime.heap import keep_freed, keep_large_apart
from edge_runtime.huge_pages import own_memory, take_huge_pages
from edge_runtime.process_table import NICENESS, line_silent_ms, ring_layout
from edge_runtime.processors import keep_to
from edge_runtime.recipe_table import recipe_at_start, recipe_facts
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.child import run_child
from edge_runtime.runtime.children import Role
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import Prepared, Setup, Stop
from edge_runtime.standard_streams import set_up_logging
from edge_runtime.wires import build_lines, build_publisher, build_register_server, build_serial_port, last_words

DATABASE_NAME, PICTURES_NAME, SNAPSHOT_NAME = "records.sqlite", "pictures", "snapshot.json"
MQTT_CURSOR_NAME = "mqtt-cursor.json"
FIELDBUS_STALE_MS = 3_000.0
REPORTER_DATA_BYTES = 192 * 1024**2  # eight times what it needs: a broker's nonsense must not cost the workers theirs
TAKEN_OVER = {"recipe", "recipes", "inspection"}


def child_main(arguments: list[str]) -> int:
    """`ROLE CHANNEL_FD RING_FD`: what `spawn_child` starts and the fork server forks."""
    role = Role(arguments[0])
    channel_fd, ring_fd = int(arguments[1]), int(arguments[2])
    set_up_logging(role.value)
    outlives_line = role in (Role.OFFICE, Role.GUARD, Role.FIELDBUS)
    serve = partial(serve_child, role, ring_fd)
    return run_child(Channel.from_fd(channel_fd), serve, dies_with_line=not outlives_line)


def serve_child(role: Role, ring_fd: int, channel: Channel, setup: Setup) -> None:
    """The body of one child process."""
    os.nice(NICENESS[role])
    if role is Role.PREPARER:
        _serve_preparer(channel, setup)
        return
    settings = Settings.model_validate_json(setup.settings)
    if role in (Role.GUARD, Role.FIELDBUS, Role.REPORTER):
        without_ring = {Role.GUARD: _serve_guard, Role.FIELDBUS: _serve_fieldbus, Role.REPORTER: _serve_reporter}
        without_ring[role](channel, settings)
        return
    ring = FrameRing(ring_layout(settings), ring_fd)
    {Role.CAPTURE: _serve_capture, Role.INSPECTION: _serve_inspection, Role.OFFICE: _serve_office}[role](
        channel, ring, settings, setup.index
    )


def _serve_guard(channel: Channel, settings: Settings) -> None:
    from edge_runtime.runtime import guard

    port, lines = build_serial_port(settings), build_lines(settings)
    guard.serve(channel, port, lines, last_words(settings), line_silent_ms(settings))


def _serve_fieldbus(channel: Channel, settings: Settings) -> None:
    from edge_runtime.protocol.modbus_bank import RegisterBank
    from edge_runtime.runtime.fieldbus import Fieldbus

    assert settings.modbus is not None
    bank = RegisterBank(settings.modbus.word_order, settings.line.trigger == "modbus")
    stale_ms = max(FIELDBUS_STALE_MS, 3 * settings.line.heartbeat_ms)
    Fieldbus(channel, build_register_server(settings, bank), bank, stale_ms, SystemClock()).serve()


def _serve_capture(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    from edge_runtime.cameras import build_camera, build_code_rule
    from edge_runtime.recipe_plans import capture_plan
    from edge_runtime.runtime.capture import CapturePlan, CaptureServer

    def load(text: str) -> CapturePlan:
        return capture_plan(Settings.model_validate_json(text))

    camera, code_rule = build_camera(settings), build_code_rule(settings)
    CaptureServer(channel, ring, camera, SystemClock(), capture_plan(settings), code_rule, load).serve()


def _serve_inspection(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    keep_to(settings.inspection.processors_of(index))  # before the imports: threads that they start take it over
    import cv2

    from edge_runtime.recipe_plans import inspection_plans
    from edge_runtime.runtime.inspection import InspectionWorker

    cv2.setNumThreads(1)  # the other processors have workers of their own
    shared = own_memory()
    keep_large_apart()
    settings = settings.model_copy(update={"inspection": settings.inspection.of_worker(index)})
    plans, engines = inspection_plans(settings)
    keep_freed()  # the golden tiles have had the engines take what they keep
    take_huge_pages(but_not=shared)
    InspectionWorker(index, channel, ring, plans, SystemClock(), engines).serve()


def _serve_office(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    from edge_runtime.recipe_plans import drawings
    from edge_runtime.runtime.office import Office, OfficePlan
    from edge_runtime.runtime.picture_saver import DrawingPlan
    from edge_runtime.storage.database import Database
    from edge_runtime.storage.image_store import ImageStore

    def drawings_of(text: str) -> dict[str, DrawingPlan]:
        return drawings(Settings.model_validate_json(text))

    keep_large_apart()  # pictures pass through, and nothing waits for them
    clock, archive, folder = SystemClock(), settings.archive, settings.station.data_dir
    images = ImageStore(
        folder / PICTURES_NAME,
        archive.picture_budget_mb * 1_000_000,
        archive.keep_ok,
        free_bytes_min=archive.free_mb_min * 1_000_000,
    )
    plan = OfficePlan(drawings(settings), folder / SNAPSHOT_NAME, drawings_of)
    Office(channel, ring, Database(folder / DATABASE_NAME, clock), images, plan, clock).serve()


def _serve_reporter(channel: Channel, settings: Settings) -> None:
    from edge_runtime.processes import bound_memory
    from edge_runtime.protocol.reports import discovery
    from edge_runtime.recipe_plans import class_names
    from edge_runtime.runtime.reporter import Reporter, ReportPlan
    from edge_runtime.storage.record_feed import SqliteRecordFeed

    bound_memory(REPORTER_DATA_BYTES)
    mqtt, folder = settings.mqtt, settings.station.data_dir
    assert mqtt is not None
    topics = mqtt.topics(settings.station.name)
    names = class_names(settings)
    plan = ReportPlan(
        topics,
        names,
        tuple(discovery(topics, mqtt.discovery_prefix, ", ".join(names))) if mqtt.discovery else (),
        folder / SNAPSHOT_NAME,
        folder / MQTT_CURSOR_NAME,
    )
    feed = SqliteRecordFeed(folder / DATABASE_NAME)
    Reporter(channel, feed, build_publisher(mqtt, topics), plan, SystemClock()).serve()


def _serve_preparer(channel: Channel, setup: Setup) -> None:
    """Read the settings file for a line that runs by other settings. Raises ConfigError, BundleError."""
    from edge_runtime.config import load_settings

    given = json.loads(setup.settings)
    new, old = load_settings(Path(given["file"])), Settings.model_validate_json(given["settings"])
    check_can_take_over(old, new)
    channel.send_patiently(Prepared(new.model_dump_json(), recipe_facts(new), recipe_at_start(new)))
    while not isinstance(channel.wait(None), Stop):
        pass


def check_can_take_over(old: Settings, new: Settings) -> None:
    """Raise ConfigError unless the two differ in nothing but recipes and what runs them."""
    before, after = (each.model_dump(mode="json", exclude=TAKEN_OVER) for each in (old, new))
    changed = [key for key in after if after[key] != before[key]]
    if changed:
        raise ConfigError(
            f"changed in {', '.join(changed)}: that needs a restart; a running line takes over "
            f"{', '.join(sorted(TAKEN_OVER))} alone"
        )


if __name__ == "__main__":
    sys.exit(child_main(sys.argv[1:]))
