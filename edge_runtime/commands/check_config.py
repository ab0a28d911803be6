"""`edge-runtime check-config`: everything that can be known before a device is touched."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_runtime.clock import NS_PER_MS
from edge_runtime.commands.settings_notes import notes_on
from edge_runtime.config import NumberedRecipe, Settings, load_settings
from edge_runtime.config_camera import FolderCameraSettings
from edge_runtime.engines import tiles_in_use
from edge_runtime.errors import ConfigError
from edge_runtime.fastest_engine import Use, told_engine
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.pictures import read_picture
from edge_runtime.processors import check_online
from edge_runtime.protocol.mqtt_topics import Kind
from edge_runtime.recipe_table import recipe_facts
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.wires import unsafe_without_power


def check(config: Path) -> None:
    """Print what the settings amount to. Raises ConfigError, BundleError."""
    settings = load_settings(config)
    check_online(settings.inspection.cpu_affinity)
    table = Table("", "", title=f"{config}: in order", show_header=False)
    for name, value in _summary(settings):
        table.add_row(name, value)
    Console().print(table)


def _summary(settings: Settings) -> list[tuple[str, str]]:
    recipes = recipe_facts(settings)
    models = [("model", _model(settings, folder)) for folder in _bundle_folders(settings)]
    camera, line = settings.camera, settings.line
    return [
        ("station", f"{settings.station.name}, data in {settings.station.data_dir}"),
        ("camera", f"{camera.driver}, {camera.width_px} × {camera.height_px}"),
        *models,
        *(row for facts in recipes for row in _recipe(settings, facts, settings.numbered_recipes[facts.number])),
        ("code", _code(settings)),
        ("trigger", f"{line.trigger}, verdict within {line.deadline_ms:.0f} ms"),
        ("serial", f"{settings.serial.driver} {settings.serial.port}".strip() if settings.serial else "none"),
        *_gpio(settings),
        ("ejection", _ejection(settings)),
        ("stop", _stop(settings)),
        ("modbus", _modbus(settings)),
        ("mqtt", _mqtt(settings)),
        ("memory", f"frame ring of {line.ring_slots} slots, at most {settings.ring_bytes / 1e6:.0f} MB"),
        *(("note", note) for note in notes_on(settings)),
    ]


def _bundle_folders(settings: Settings) -> list[Path]:
    """Without repeats, in the order of the recipes."""
    return list(dict.fromkeys(entry.bundle for entry in settings.numbered_recipes.values()))


def _model(settings: Settings, folder: Path) -> str:
    bundle = load_bundle(folder)
    engine = told_engine(settings.inspection, bundle, Use.of(settings, folder), settings.station.data_dir)
    return f"{bundle.model_id}, {engine}, {_workers(settings)}"


def _workers(settings: Settings) -> str:
    inspection = settings.inspection
    where = f" on processors {' | '.join(inspection.cpu_affinity)}" if inspection.cpu_affinity else ""
    return f"{inspection.workers} workers{where}"


def _recipe(settings: Settings, facts: RecipeFacts, entry: NumberedRecipe) -> list[tuple[str, str]]:
    rules = ", ".join(sorted(entry.recipe.rules)) or "one rule for all classes"
    told = f"{facts.name}, digest {facts.digest}, {facts.model_id}: {rules}"
    rows = [(f"recipe {facts.number}", told), ("", _tiles(settings, entry))]
    template = entry.recipe.template
    return rows if template is None else [*rows, ("", f"template {_template(settings, template)}")]


def _tiles(settings: Settings, entry: NumberedRecipe) -> str:
    """Raises BundleError for tiles that the model does not offer."""
    recipe, image_hw = entry.recipe.value(), (settings.camera.height_px, settings.camera.width_px)
    tiles = tiles_in_use(settings.inspection, load_bundle(entry.bundle), recipe, image_hw)
    most_px = settings.inspection.tile_px_max
    bound = "" if most_px is None else f", none larger than {most_px} px"
    return f"{tiles}, {tiles.count * tiles.side_px**2 / 1e6:.1f} megapixels computed{bound}"


def _code(settings: Settings) -> str:
    """Raises ConfigError for a region outside the picture."""
    code, camera = settings.recipe_code, settings.camera
    if code is None:
        return "none"
    if code.x_px + code.width_px > camera.width_px or code.y_px + code.height_px > camera.height_px:
        raise ConfigError(
            f"recipe_code: its region ends at ({code.x_px + code.width_px}, {code.y_px + code.height_px}), outside the "
            f"camera's picture of {camera.width_px} x {camera.height_px} px"
        )
    return f"{code.kind}, {len(code.codes)} codes, unreadable: {code.unreadable}"


def _template(settings: Settings, path: Path) -> str:
    """Raises CameraError for a file that is no picture, ConfigError for a size that no picture will have."""
    camera = settings.camera
    height_px, width_px = read_picture(path).shape[:2]
    fits = (width_px, height_px) == (camera.width_px, camera.height_px)
    if isinstance(camera, FolderCameraSettings):
        fits = width_px * height_px <= camera.width_px * camera.height_px
    if not fits:
        raise ConfigError(
            f"template {path} is {width_px} x {height_px} px, the camera gives {camera.width_px} x {camera.height_px} "
            "px; save one of its own pictures"
        )
    return f"{path}, {width_px} × {height_px}"


def _gpio(settings: Settings) -> list[tuple[str, str]]:
    gpio = settings.gpio
    if gpio is None:
        return [("gpio", "none")]
    outputs = ", ".join(output.value for output in gpio.outputs) or "no outputs"
    inputs = ", ".join(name.value for name in gpio.inputs) or "no inputs"
    rows = [("gpio", f"{gpio.driver} {gpio.chip}, {gpio.verdicts}: {outputs}; {inputs}")]
    unsafe = ", ".join(output.value for output in unsafe_without_power(gpio))
    return [*rows, ("", f"not safe without power, unless an inverting board follows: {unsafe}")] if unsafe else rows


def _ejection(settings: Settings) -> str:
    ejection = settings.ejection
    if ejection is None:
        return "by the controller"
    unit = "ms" if ejection.mode == "delay" else "encoder pulses"
    way, min_gap, eye, tolerance = ejection.in_axis_units()
    scale = NS_PER_MS if ejection.mode == "delay" else 1
    gap = f"parts at least {min_gap / scale:g} apart" if min_gap else "distance of parts not checked"
    seen = f", second eye at {eye / scale:g} ± {tolerance / scale:g}" if ejection.has_eye else ""
    return f"{way / scale:g} {unit} after the trigger, {gap}{seen}"


def _stop(settings: Settings) -> str:
    stop = settings.stop
    rules = [f"{stop.consecutive_rejects} rejects in a row"] if stop.consecutive_rejects else []
    rules += [f"{stop.reject_rate:.0%} of {stop.rate_window} parts rejected"] if stop.reject_rate else []
    return " or ".join(rules) or "none"


def _modbus(settings: Settings) -> str:
    modbus = settings.modbus
    if modbus is None:
        return "none"
    if modbus.mode == "rtu":
        return f"rtu {modbus.serial_port}, {modbus.baud_rate} baud, unit {modbus.unit_id}"
    lists = {"read": modbus.allow_read, "write": modbus.allow_write}
    peers = (
        f"{what} by {'this machine' if who is None else ', '.join(map(str, who)) or 'nobody'}"
        for what, who in lists.items()
    )
    return f"tcp {modbus.host} port {modbus.port}, {', '.join(peers)}"


def _mqtt(settings: Settings) -> str:
    """Raises ConfigError for a file that cannot be read."""
    mqtt = settings.mqtt
    if mqtt is None:
        return "none"
    mqtt.check_files()
    host, port = mqtt.address
    topics = mqtt.topics(settings.station.name)
    return f"{host}:{port}{'' if mqtt.tls is None else ', encrypted'}, records on {topics.topic(Kind.RECORD)}"
