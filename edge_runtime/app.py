"""Composition root: processes, cameras and stores; wires in wires.py, predictors in engines.py. Entry of each child.

Drivers are imported inside the functions that build them, so that each process loads only what it owns: the line
must stay free of numpy, OpenCV and the predictor.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_S, SystemClock
from edge_runtime.config import (
    Settings,
)
from edge_runtime.config_camera import BeltCameraSettings, FolderCameraSettings, SyntheticCameraSettings
from edge_runtime.config_signals import OutputLineSettings
from edge_runtime.errors import ConfigError
from edge_runtime.huge_pages import own_memory, take_huge_pages
from edge_runtime.processors import keep_to
from edge_runtime.recipe_table import digest_of, facts_of, read_manifest, recipe_facts
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.child import run_child
from edge_runtime.runtime.children import Child, ChildSpec, Process, Role, Spawn, spawn_child
from edge_runtime.runtime.frame_ring import FrameRing, RingLayout
from edge_runtime.runtime.health import RestartBudget
from edge_runtime.runtime.messages import Prepared, Setup, Stop
from edge_runtime.standard_streams import PatientHandler
from edge_runtime.wires import (
    build_lines,
    build_publisher,
    build_register_server,
    build_serial_port,
    build_signals,
    last_words,
)

if TYPE_CHECKING:
    from edge_runtime.inference.bundle import Bundle
    from edge_runtime.interfaces import Camera, Segmenter
    from edge_runtime.runtime.capture import CodeRule
    from edge_runtime.runtime.fork_server import ForkServer
    from edge_runtime.runtime.line import Line
    from edge_runtime.runtime.picture_saver import DrawingPlan
    from edge_runtime.runtime.pool import InspectionPool
    from edge_runtime.runtime.takeover import TakeoverPlan
    from edge_runtime.runtime.tile_gate import TileGate

log = logging.getLogger(__name__)
LOG_FORMAT = "%(asctime)s %(levelname)s {process} %(message)s"
DATABASE_NAME, PICTURES_NAME, SNAPSHOT_NAME = "records.sqlite", "pictures", "snapshot.json"
MQTT_CURSOR_NAME = "mqtt-cursor.json"
OFFICE_HANG_TIMEOUT_MS = 15_000.0
GUARD_HANG_TIMEOUT_MS = 5_000.0
FIELDBUS_HANG_TIMEOUT_MS = 2_000.0
FIELDBUS_STALE_MS = 3_000.0
MEASURE_SHARE = 0.6  # of the time to start: the rest is for opening what was chosen
REPORTER_DATA_BYTES = 192 * 1024**2  # eight times what it needs: a broker's nonsense must not cost the workers theirs
REPORTER_HANG_TIMEOUT_MS = 60_000.0  # a name server or a broker may be slow to say nothing
MAX_TOLD_CHARS = 1000
TAKEN_OVER = {"recipe", "recipes", "inspection"}
NICENESS = {
    Role.GUARD: 0,
    Role.CAPTURE: 2,
    Role.INSPECTION: 5,
    Role.OFFICE: 8,
    Role.FIELDBUS: 1,
    Role.REPORTER: 8,
    Role.PREPARER: 8,
}


def set_up_logging(process: str) -> None:
    """Log to standard error, which may block or lead nowhere. $EDGE_RUNTIME_LOG is the lowest level that is told."""
    wanted = os.environ.get("EDGE_RUNTIME_LOG", "").upper()
    level = wanted if wanted in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
    handlers = [PatientHandler(sys.stderr.fileno())]
    logging.basicConfig(handlers=handlers, level=level, format=LOG_FORMAT.format(process=process))


def put_line_first(realtime_priority: int) -> None:
    """Let the scheduler run the line before everything else: on a busy machine it otherwise waits 5 ms and more.

    With priority 0, or without the right to it, only the children's niceness favours the line.
    """
    if realtime_priority == 0:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(realtime_priority))
    except PermissionError:
        log.warning("no right to real-time priority %d: set LimitRTPRIO in the service unit", realtime_priority)


# -- the line ---------------------------------------------------------------------------------------------------


def fork_children_fast() -> ForkServer:
    """A process that starts the line's children; to be called before anything is open or logged here."""
    from edge_runtime.runtime.fork_server import ForkServer

    return ForkServer(_preload, child_main)


def _preload() -> None:
    """What capture, inspection and office need, but for the engines: those must not be loaded before a fork."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy would start threads, which no fork takes along
    from edge_runtime import fastest_engine as fastest_engine
    from edge_runtime.camera import folder as folder
    from edge_runtime.camera import opencv as opencv
    from edge_runtime.runtime import capture as capture
    from edge_runtime.runtime import guard as guard
    from edge_runtime.runtime import inspection as inspection
    from edge_runtime.runtime import office as office
    from edge_runtime.storage import database as database
    from edge_runtime.storage import image_store as image_store


def build_line(settings: Settings, fork_server: ForkServer | None = None, config: Path | None = None) -> Line:
    """The parent process with its children described but not started, by `fork_server` where there is one.

    `config` is the settings' file: by SIGHUP its recipes and models are taken over. Raises ConfigError, BundleError.
    """
    from edge_runtime.runtime.line import Line
    from edge_runtime.runtime.line_control import LineRules
    from edge_runtime.runtime.service_notify import ServiceNotifier
    from edge_runtime.runtime.stop_rules import StopLimits, StopRule
    from edge_runtime.runtime.supervisor import Supervisor
    from edge_runtime.runtime.takeover import Takeover

    clock = SystemClock()
    line = settings.line
    recipes = recipe_facts(settings)
    ring = _new_ring(settings)
    rules = LineRules(
        deadline_ms=line.deadline_ms,
        deadline_guard_ms=line.deadline_guard_ms,
        slot_count=line.ring_slots,
        capture_timeout_ms=line.capture_timeout_ms,
        recipes=recipes,
        recipe_at_start=_recipe_at_start(settings),
        recipe_by_code=settings.recipe_code is not None,
        free_run=line.trigger == "free_run",
        keep_ok_every=settings.archive.keep_ok_every,
        max_pending_records=settings.archive.max_pending_records,
    )
    supervisor = Supervisor(_children(settings, ring, fork_server), ServiceNotifier())
    stop_rule = StopRule(StopLimits(**settings.stop.model_dump()))
    plan = None if config is None else _takeover_plan(config.absolute(), ring, fork_server)
    takeover = Takeover(plan, supervisor, settings.model_dump_json())
    return Line(settings.station.name, rules, supervisor, ring, build_signals(settings), clock, stop_rule, takeover)


def _recipe_at_start(settings: Settings) -> int:
    return 0 if settings.recipes else 1


def _takeover_plan(config: Path, ring: FrameRing, fork_server: ForkServer | None) -> TakeoverPlan:
    from edge_runtime.runtime.takeover import TakeoverPlan

    def preparer(text: str) -> Child:
        settings = Settings.model_validate_json(text)
        spec = ChildSpec(Role.PREPARER, 0, settings.inspection.start_timeout_ms, OFFICE_HANG_TIMEOUT_MS)
        (child,) = _described([spec], settings, ring, fork_server)
        child.settings_json = json.dumps({"file": str(config), "settings": text})
        return child

    def workers(text: str, first_index: int) -> list[Child]:
        settings = Settings.model_validate_json(text)
        return _described(_worker_specs(settings, first_index), settings, ring, fork_server)

    return TakeoverPlan(preparer, workers)


def _children(settings: Settings, ring: FrameRing, fork_server: ForkServer | None) -> list[Child]:
    """The process table. The guard comes first, so that it is there before anything can go wrong."""
    start_ms = settings.inspection.start_timeout_ms
    specs = [
        ChildSpec(Role.GUARD, 0, start_ms, GUARD_HANG_TIMEOUT_MS, ping_every_ms=_line_silent_ms(settings) / 4),
        ChildSpec(Role.OFFICE, 0, start_ms, OFFICE_HANG_TIMEOUT_MS),
        ChildSpec(Role.CAPTURE, 0, start_ms, settings.line.camera_hang_timeout_ms),
    ]
    if settings.modbus is not None:
        specs.append(ChildSpec(Role.FIELDBUS, 0, start_ms, FIELDBUS_HANG_TIMEOUT_MS))
    if settings.mqtt is not None:
        specs.append(ChildSpec(Role.REPORTER, 0, start_ms, REPORTER_HANG_TIMEOUT_MS))
    return _described([*specs, *_worker_specs(settings)], settings, ring, fork_server)


def _line_silent_ms(settings: Settings) -> float:
    """How long the line may be silent before its outputs are made safe: the shortest time any of them allows."""
    outputs = settings.gpio.outputs.values() if settings.gpio else ()
    return min((wiring.max_unrefreshed_ms for wiring in outputs), default=OutputLineSettings(line=0).max_unrefreshed_ms)


def _worker_specs(settings: Settings, first_index: int = 0) -> list[ChildSpec]:
    inspection = settings.inspection
    return [
        ChildSpec(Role.INSPECTION, first_index + index, inspection.start_timeout_ms, inspection.hang_timeout_ms)
        for index in range(inspection.workers)
    ]


def _described(
    specs: Sequence[ChildSpec], settings: Settings, ring: FrameRing, fork_server: ForkServer | None = None
) -> list[Child]:
    spawn = _spawn(ring.fd, fork_server)
    window_ns = round(settings.line.restarts_window_s * NS_PER_S)
    text = settings.model_dump_json()
    return [Child(spec, spawn, text, RestartBudget(settings.line.restarts_max, window_ns)) for spec in specs]


def _spawn(ring_fd: int, fork_server: ForkServer | None) -> Spawn:
    """How children start; the reporter always as a program of its own, because its memory is bounded."""
    start_program = spawn_child("edge_runtime.app", ring_fd)

    def spawn(spec: ChildSpec, channel_fd: int) -> Process:
        if fork_server is None or not fork_server.is_alive or spec.role is Role.REPORTER:
            return start_program(spec, channel_fd)
        return fork_server.spawn(spec, channel_fd, ring_fd)

    return spawn


def build_pool(settings: Settings, mask_stride_px: int) -> InspectionPool:
    """The inspection workers alone, for pictures of at most camera.width_px × camera.height_px pixels."""
    from edge_runtime.runtime.pool import InspectionPool

    ring = _new_ring(settings)
    workers = _described(_worker_specs(settings), settings, ring)
    (number, entry), *_ = settings.numbered_recipes.items()
    takes_template = read_manifest(entry.bundle)[0].input.template
    return InspectionPool(workers, ring, mask_stride_px, takes_template, facts_of(number, entry), SystemClock())


def _new_ring(settings: Settings) -> FrameRing:
    layout = _ring_layout(settings)
    try:
        return FrameRing.create(layout)
    except OSError as exc:
        raise ConfigError(
            f"no shared memory for {layout.slot_count} pictures, {layout.total_bytes / 1e6:.0f} MB: {exc}; "
            "set fewer line.ring_slots or a smaller camera.width_px and height_px"
        ) from exc


def _ring_layout(settings: Settings) -> RingLayout:
    return RingLayout(settings.line.ring_slots, settings.camera.width_px * settings.camera.height_px)


# -- the children -----------------------------------------------------------------------------------------------


def serve_child(role: Role, ring_fd: int, channel: Channel, setup: Setup) -> None:
    """The body of one child process."""
    os.nice(NICENESS[role])
    if role is Role.PREPARER:
        _serve_preparer(channel, setup)
        return
    settings = Settings.model_validate_json(setup.settings)
    if role is Role.GUARD:
        from edge_runtime.runtime import guard

        guard.serve(
            channel, build_serial_port(settings), build_lines(settings), last_words(settings), _line_silent_ms(settings)
        )
        return
    if role is Role.FIELDBUS:
        _serve_fieldbus(channel, settings)
        return
    if role is Role.REPORTER:
        _serve_reporter(channel, settings)
        return
    ring = FrameRing(_ring_layout(settings), ring_fd)
    {Role.CAPTURE: _serve_capture, Role.INSPECTION: _serve_inspection, Role.OFFICE: _serve_office}[role](
        channel, ring, settings, setup.index
    )


def _serve_preparer(channel: Channel, setup: Setup) -> None:
    """Read the settings file for a line that runs by other settings. Raises ConfigError, BundleError."""
    from edge_runtime.config import load_settings

    given = json.loads(setup.settings)
    new, old = load_settings(Path(given["file"])), Settings.model_validate_json(given["settings"])
    check_can_take_over(old, new)
    channel.send_patiently(Prepared(new.model_dump_json(), recipe_facts(new), _recipe_at_start(new)))
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


def _serve_fieldbus(channel: Channel, settings: Settings) -> None:
    from edge_runtime.protocol.modbus_bank import RegisterBank
    from edge_runtime.runtime.fieldbus import Fieldbus

    assert settings.modbus is not None
    bank = RegisterBank(settings.modbus.word_order, settings.line.trigger == "modbus")
    stale_ms = max(FIELDBUS_STALE_MS, 3 * settings.line.heartbeat_ms)
    Fieldbus(channel, build_register_server(settings, bank), bank, stale_ms, SystemClock()).serve()


def _serve_capture(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    from edge_runtime.pictures import read_grey_picture
    from edge_runtime.runtime.capture import CapturePlan, CaptureServer

    def plan_of(settings: Settings) -> CapturePlan:
        digests, templates = {}, {}
        for number, entry in settings.numbered_recipes.items():
            if entry.recipe.template is not None:
                templates[number] = read_grey_picture(entry.recipe.template)
                digests[number] = digest_of(entry.recipe, read_manifest(entry.bundle)[1])
        return CapturePlan(digests, templates)

    def load(text: str) -> CapturePlan:
        return plan_of(Settings.model_validate_json(text))

    camera, code_rule = build_camera(settings), _build_code_rule(settings)
    CaptureServer(channel, ring, camera, SystemClock(), plan_of(settings), code_rule, load).serve()


def _build_code_rule(settings: Settings) -> CodeRule | None:
    from edge_runtime.runtime.capture import CodeRule
    from edge_runtime.vision.codes import CodeReader

    code = settings.recipe_code
    if code is None:
        return None
    xyxy_px = (code.x_px, code.y_px, code.x_px + code.width_px, code.y_px + code.height_px)
    return CodeRule(CodeReader(code.kind, xyxy_px), code.codes, code.unreadable == "keep")


def _serve_inspection(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    keep_to(settings.inspection.processors_of(index))  # before the imports: threads that they start take it over
    import cv2

    from edge_runtime.runtime.inspection import InspectionPlan, InspectionWorker

    cv2.setNumThreads(1)  # the other processors have workers of their own
    shared = own_memory()
    settings = settings.model_copy(update={"inspection": settings.inspection.of_worker(index)})
    bundles = _load_bundles(settings)
    gates = {folder: _proved_gate(settings, bundle) for folder, bundle in bundles.items()}
    segmenters = _open_segmenters(settings, bundles)
    plans = {}
    for number, entry in settings.numbered_recipes.items():
        bundle, digest = bundles[entry.bundle], digest_of(entry.recipe, bundles[entry.bundle].model_id)
        segmenter = segmenters[number]
        plans[number] = InspectionPlan(
            segmenter, bundle.classes, entry.recipe.value(), bundle.model_id, digest, gates[entry.bundle]
        )
    take_huge_pages(but_not=shared)
    InspectionWorker(index, channel, ring, plans, SystemClock(), _engines_told(settings, bundles)).serve()


def _engines_told(settings: Settings, bundles: dict[Path, Bundle]) -> str:
    """What runs each model and, where it was measured, what the others took."""
    from edge_runtime.fastest_engine import told_engine

    inspection = settings.inspection
    if inspection.backend != "auto":
        return inspection.backend
    told = (f"{each.model_id}, {told_engine(inspection, each, settings.station.data_dir)}" for each in bundles.values())
    return "; ".join(told)[:MAX_TOLD_CHARS]


def _proved_gate(settings: Settings, bundle: Bundle) -> TileGate | None:
    """The bundle's gate, if it has one that is wanted. Raises BundleError for one that fails the golden tiles."""
    from edge_runtime.inference.bundle import check_gate
    from edge_runtime.runtime.tile_gate import TileGate

    if bundle.gate is None or settings.inspection.gate == "off":
        return None
    check_gate(bundle)
    return TileGate(bundle.gate, settings.inspection.gate_audit_every)


def _open_segmenters(settings: Settings, bundles: dict[Path, Bundle]) -> dict[int, Segmenter]:
    """The predictors by the numbers of their recipes, each after it has passed the golden tiles.

    Their tiles suit the camera's largest picture; another one is covered by the same tiles.
    """
    from edge_runtime.fastest_engine import open_proved

    inspection, data_dir, camera = settings.inspection, settings.station.data_dir, settings.camera
    limit_s = MEASURE_SHARE * inspection.start_timeout_ms / 1000 / len(bundles)
    image_hw = (camera.height_px, camera.width_px)
    opened: dict[int, Segmenter] = {}
    for folder, bundle in bundles.items():
        recipes = {n: each.recipe.value() for n, each in settings.numbered_recipes.items() if each.bundle == folder}
        opened |= open_proved(inspection, bundle, data_dir, limit_s, recipes, image_hw)
    return opened


def _serve_office(channel: Channel, ring: FrameRing, settings: Settings, index: int) -> None:
    from edge_runtime.runtime.office import Office, OfficePlan
    from edge_runtime.storage.database import Database
    from edge_runtime.storage.image_store import ImageStore

    clock, archive, folder = SystemClock(), settings.archive, settings.station.data_dir
    images = ImageStore(
        folder / PICTURES_NAME,
        archive.picture_budget_mb * 1_000_000,
        archive.keep_ok,
        free_bytes_min=archive.free_mb_min * 1_000_000,
    )
    plan = OfficePlan(_drawings(settings), folder / SNAPSHOT_NAME, _drawings_of)
    Office(channel, ring, Database(folder / DATABASE_NAME, clock), images, plan, clock).serve()


def _drawings(settings: Settings) -> dict[str, DrawingPlan]:
    from edge_runtime.runtime.picture_saver import DrawingPlan

    drawings, bundles = {}, _load_bundles(settings)
    for each in settings.numbered_recipes.values():
        bundle = bundles[each.bundle]
        plan = DrawingPlan(bundle.classes, each.recipe.value(), bundle.mask_stride_px)
        drawings[digest_of(each.recipe, bundle.model_id)] = plan
    return drawings


def _drawings_of(text: str) -> dict[str, DrawingPlan]:
    return _drawings(Settings.model_validate_json(text))


def _serve_reporter(channel: Channel, settings: Settings) -> None:
    from edge_runtime.processes import bound_memory
    from edge_runtime.protocol.reports import discovery
    from edge_runtime.runtime.reporter import Reporter, ReportPlan
    from edge_runtime.storage.record_feed import SqliteRecordFeed

    bound_memory(REPORTER_DATA_BYTES)
    mqtt, folder = settings.mqtt, settings.station.data_dir
    assert mqtt is not None
    topics = mqtt.topics(settings.station.name)
    manifests = [read_manifest(entry.bundle)[0] for entry in settings.numbered_recipes.values()]
    names = {f"{each.name}/{each.version}": each.class_names() for each in manifests}
    plan = ReportPlan(
        topics,
        names,
        tuple(discovery(topics, mqtt.discovery_prefix, ", ".join(names))) if mqtt.discovery else (),
        folder / SNAPSHOT_NAME,
        folder / MQTT_CURSOR_NAME,
    )
    feed = SqliteRecordFeed(folder / DATABASE_NAME)
    Reporter(channel, feed, build_publisher(mqtt, topics), plan, SystemClock()).serve()


def _load_bundles(settings: Settings) -> dict[Path, Bundle]:
    """Each bundle that a recipe needs, once, by its folder as the settings name it; recipes are checked against it."""
    from edge_runtime.inference.bundle import load_bundle
    from edge_runtime.vision.decision import check_recipe

    entries = settings.numbered_recipes.values()
    bundles = {folder: load_bundle(folder) for folder in {entry.bundle for entry in entries}}
    for entry in entries:
        check_recipe(entry.recipe.value(), {each.class_id: each.name for each in bundles[entry.bundle].classes})
    return bundles


def build_camera(settings: Settings) -> Camera:
    """The configured camera driver, not yet opened."""
    camera, clock = settings.camera, SystemClock()
    if isinstance(camera, SyntheticCameraSettings):
        from edge_runtime.camera.synthetic import SyntheticCamera

        return SyntheticCamera(
            (camera.height_px, camera.width_px),
            camera.seed,
            rate_hz=camera.rate_hz,
            clock=clock,
            distinct=camera.distinct,
            parts=camera.parts,
        )
    if isinstance(camera, FolderCameraSettings):
        from edge_runtime.camera.folder import FolderCamera

        return FolderCamera(camera.path, camera.rate_hz, camera.loop, clock)
    if isinstance(camera, BeltCameraSettings):
        from edge_runtime.camera.belt import BeltCamera

        return BeltCamera(camera.script, (camera.height_px, camera.width_px), camera.rate_hz, clock)
    from edge_runtime.camera.opencv import OpenCvCamera

    return OpenCvCamera(
        camera.source, camera.width_px, camera.height_px, camera.rate_hz, camera.exposure, camera.pixel_format, clock
    )


def child_main(arguments: list[str]) -> int:
    """`ROLE CHANNEL_FD RING_FD`: what `spawn_child` starts and the fork server forks."""
    role = Role(arguments[0])
    channel_fd, ring_fd = int(arguments[1]), int(arguments[2])
    set_up_logging(role.value)
    outlives_line = role in (Role.OFFICE, Role.GUARD, Role.FIELDBUS)
    serve = partial(serve_child, role, ring_fd)
    return run_child(Channel.from_fd(channel_fd), serve, dies_with_line=not outlives_line)


if __name__ == "__main__":
    sys.exit(child_main(sys.argv[1:]))
