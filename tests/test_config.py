"""A settings file is read once and bounded; what is wrong is told by file, key and what is allowed."""

from pathlib import Path

import pytest

from edge_runtime.config import Settings, load_recipe, load_settings
from edge_runtime.errors import ConfigError
from edge_runtime.interfaces import Input, Output
from edge_runtime.values import ClassRule, Recipe

CAMERA = '[camera]\ndriver = "synthetic"\n'
INSPECTION = '[inspection]\nbundle = "models/pcb"\n'
MINIMAL = CAMERA + INSPECTION
RULE = "[recipe.rules.open]\n"
EJECTION = '[ejection]\nmode = "delay"\ndelay_ms = 500\n'
EYE = "[gpio.inputs.eye]\nline = 5\n"
ENCODER = "[gpio.inputs.encoder_a]\nline = 6\ndebounce_us = 0\n"
SERIAL = '[line]\ntrigger = "serial"\ndeadline_ms = 400\n[serial]\nport = "/dev/ttyS9"\n'
TRACKED = (
    MINIMAL
    + """
[line]
trigger = "gpio"
deadline_ms = 400
[gpio.inputs.trigger]
line = 1
[gpio.outputs.ok]
line = 2
"""
)

FULL = """
recipe = "recipes/board-7.toml"

[station]
name = "Line 3, box 1"
data_dir = "data"

[camera]
driver = "folder"
path = "pictures"
width_px = 4096
height_px = 3000
rate_hz = 5
loop = true

[inspection]
bundle = "models/pcb"
backend = "scripted"
workers = 3
threads = 2
hang_timeout_ms = 1500.5

[line]
trigger = "gpio"
deadline_ms = 800
capture_timeout_ms = 300
camera_hang_timeout_ms = 800
ring_slots = 8

[serial]
driver = "recording"
journal = "journals/serial.jsonl"
baud_rate = 9600

[gpio]
driver = "recording"
chip = "gpiochip3"
journal = "journals/gpio.jsonl"

[gpio.outputs.ok]
line = 1

[gpio.outputs.reject]
line = "PQ.06"
active_low = false
pulse_ms = 30

[gpio.inputs.trigger]
line = 10
edge = "falling"
bias = "pull_up"

[archive]
keep_ok_every = 0
"""
RECIPE = """
name = "board-7"
mm_per_px = 0.05
include = [[[0, 0], [100, 0], [100, 50.5]]]

[default_rule]
min_score = 0.5

[rules.open]
max_count = 2
max_area_mm2 = 1.5
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "settings.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


WRONG = {
    "misspelt section": (MINIMAL + "[statoin]\n", "unknown key 'statoin'; did you mean 'station'? allowed: station"),
    "unknown section": (MINIMAL + "[xyz]\n", "unknown key 'xyz'; allowed: station, camera, inspection, line, serial"),
    "misspelt key": (MINIMAL + "[line]\ndeadline = 5\n", "line: unknown key 'deadline'; did you mean 'deadline_ms'?"),
    "key of another driver": (MINIMAL.replace("[insp", 'path = "x"\n[insp'), "camera.synthetic: unknown key 'path'"),
    "misspelt output": (
        MINIMAL + "[gpio.outputs.okay]\nline = 1\n",
        "gpio.outputs: unknown key 'okay'; did you mean 'ok'? allowed: ok, reject, busy, fault, ",
    ),
    "no camera": (INSPECTION, "camera: this key is missing"),
    "no driver": ("[camera]\nseed = 1\n" + INSPECTION, "camera.driver: this key is missing"),
    "no bundle": (CAMERA + "[inspection]\n", "inspection.bundle: this key is missing"),
    "no source": ('[camera]\ndriver = "opencv"\n' + INSPECTION, "camera.opencv.source: this key is missing"),
    "unknown driver": (
        '[camera]\ndriver = "v4l"\n' + INSPECTION,
        "camera.driver: must be one of 'synthetic', 'folder', 'belt', 'opencv', not 'v4l'",
    ),
    "unknown backend": (MINIMAL + 'backend = "onnx"\n', "inspection.backend: must be 'paddle_lite', 'onnxruntime',"),
    "unknown trigger": (
        MINIMAL + '[line]\ntrigger = "plc"\n',
        "line.trigger: must be 'free_run', 'serial', 'gpio' or",
    ),
    "text for a number": (MINIMAL + 'workers = "two"\n', "inspection.workers: must be a valid integer"),
    "number for text": (MINIMAL + "[station]\nname = 5\n", "station.name: must be a valid string, not 5"),
    "fraction for a whole number": (MINIMAL + "workers = 1.5\n", "inspection.workers: must be a valid integer"),
    "list for a number": (MINIMAL + "workers = [1]\n", "inspection.workers: must be a valid integer"),
    "value for a section": (MINIMAL.replace(CAMERA, "camera = 5\n"), "camera: "),
    "text for a switch": (
        MINIMAL + '[serial]\nport = "p"\nacknowledge = "perhaps"\n',
        "serial.acknowledge: must be a valid boolean",
    ),
    "ONNX for Paddle Lite": (
        MINIMAL + 'target = "onnx"\n',
        "inspection: target 'onnx' is for another backend: paddle_lite",
    ),
    "Lite for OpenVINO": (
        MINIMAL + 'target = "x86"\nbackend = "openvino"\n',
        "inspection: target 'x86' is for another backend: openvino runs ONNX networks",
    ),
    "no provider": (MINIMAL + "onnxruntime_providers = []\n", "inspection.onnxruntime_providers: "),
    "unknown target": (MINIMAL + 'target = "npu"\n', "inspection.target: must be 'x86', 'arm', 'arm+fp16', 'arm+int8'"),
    "no processors": (
        MINIMAL + 'cpu_affinity = ["0", "big"]\n',
        'inspection.cpu_affinity[1]: must be processors of 0..1023, as "4-7" or "0,2", not \'big\'',
    ),
    "processors of some workers": (
        MINIMAL + 'workers = 3\ncpu_affinity = ["0", "1"]\n',
        "inspection: cpu_affinity has 2 entries for 3 workers: give each one, or one for all",
    ),
    "no workers": (MINIMAL + "workers = 0\n", "inspection.workers: must be greater than or equal to 1, not 0"),
    "too many workers": (MINIMAL + "workers = 65\n", "inspection.workers: must be less than or equal to 64, not 65"),
    "one slot": (MINIMAL + "[line]\nring_slots = 1\n", "line.ring_slots: must be greater than or equal to 2, not 1"),
    "no deadline": (MINIMAL + "[line]\ndeadline_ms = 0\n", "line.deadline_ms: must be greater than or equal to 1"),
    "not a number": (MINIMAL + "[line]\ndeadline_ms = nan\n", "line.deadline_ms: must be a finite number"),
    "endless": (MINIMAL + "[line]\ndeadline_ms = inf\n", "line.deadline_ms: must be "),
    "camera too wide": (MINIMAL.replace("[insp", "width_px = 8193\n[insp"), "less than or equal to 8192, not 8193"),
    "name too long": (MINIMAL + f'[station]\nname = "{"x" * 65}"\n', "station.name: must have at most 64 characters"),
    "pixel format": (
        '[camera]\ndriver = "opencv"\nsource = "0"\npixel_format = "mjpeg"\n' + INSPECTION,
        "camera.opencv.pixel_format: must match pattern",
    ),
    "slow camera": (
        MINIMAL + "[line]\ncapture_timeout_ms = 4600\n",
        "line: camera_hang_timeout_ms must exceed capture_timeout_ms by at least 500",
    ),
    "guard too long": (
        MINIMAL + "[line]\ndeadline_ms = 15\n",
        "line: deadline_guard_ms must be at most half of deadline_ms",
    ),
    "no port": (MINIMAL + "[serial]\n", "serial: driver 'serial' needs a port, for example /dev/serial/by-id/"),
    "no serial section": (MINIMAL + '[line]\ntrigger = "serial"\n', "line.trigger 'serial' needs a [serial] section"),
    "no gpio section": (
        MINIMAL + '[line]\ntrigger = "gpio"\n',
        "line.trigger 'gpio' needs a [gpio.inputs.trigger] section",
    ),
    "no trigger line": (
        MINIMAL + '[line]\ntrigger = "gpio"\n[gpio.outputs.ok]\nline = 1\n',
        "line.trigger 'gpio' needs a [gpio.inputs.trigger] section",
    ),
    "negative line": (MINIMAL + "[gpio.inputs.trigger]\nline = -1\n", "gpio.inputs.trigger.line"),
    "edge": (
        MINIMAL + '[gpio.inputs.trigger]\nline = 1\nedge = "both"\n',
        "gpio.inputs.trigger.edge: must be 'rising' or 'falling'",
    ),
    "ejection in free run": (MINIMAL + EJECTION, "[ejection] needs triggers: set line.trigger to gpio"),
    "no ejector": (
        MINIMAL + '[line]\ntrigger = "gpio"\n[gpio.inputs.trigger]\nline = 1\n' + EJECTION,
        "needs [gpio.outputs.ok] or [gpio.outputs.reject]",
    ),
    "no delay": (TRACKED + '[ejection]\nmode = "delay"\n', "ejection: mode 'delay' needs delay_ms"),
    "no pulses": (TRACKED + '[ejection]\nmode = "encoder"\n', "ejection: mode 'encoder' needs pulses"),
    "no encoder": (TRACKED + '[ejection]\nmode = "encoder"\npulses = 9\n', "needs [gpio.inputs.encoder_a]"),
    "too near": (TRACKED + EJECTION + "min_gap_ms = 501\n", "min_gap must not exceed the way from trigger to ejector"),
    "verdict too late": (
        TRACKED.replace("deadline_ms = 400", "deadline_ms = 600") + EJECTION,
        "line.deadline_ms 600 is later than ejection.delay_ms 500",
    ),
    "pulse too long": (TRACKED + EJECTION + "min_gap_ms = 40\n", "a pulse of 50 ms would reach into the next part"),
    "no eye": (TRACKED + EJECTION + "eye_ms = 300\n", "eye_ms and eye_pulses need [gpio.inputs.eye]"),
    "eye behind": (TRACKED + EJECTION + "eye_ms = 501\n", "must lie between trigger and ejector"),
    "eye that takes one part for another": (
        TRACKED + EYE + EJECTION + "min_gap_ms = 60\neye_ms = 300\neye_tolerance_ms = 30\n",
        "the eye needs a tolerance above 0 and below half of min_gap",
    ),
    "eye that meets none": (TRACKED + EYE + EJECTION + "min_gap_ms = 60\neye_ms = 300\n", "a tolerance above 0"),
    "eye somewhere": (TRACKED + EYE + EJECTION, "gpio.inputs.eye needs ejection.eye_ms or eye_pulses"),
    "gap in the other unit": (TRACKED + EJECTION + "min_gap_pulses = 60\n", "min_gap_pulses has no meaning in mode 'd"),
    "way in the other unit": (TRACKED + EJECTION + "pulses = 60\n", "pulses has no meaning in mode 'delay'"),
    "gap in ms, way in pulses": (
        TRACKED + ENCODER + '[ejection]\nmode = "encoder"\npulses = 9\nmin_gap_ms = 5\n',
        "min_gap_ms has no meaning in mode 'encoder'",
    ),
    "slow encoder": (
        TRACKED + ENCODER.replace("debounce_us = 0", ""),
        "gpio.inputs.encoder_a: debounce_us 1000 swallows the pulses of a fast belt",
    ),
    "channel B alone": (TRACKED + ENCODER.replace("_a", "_b"), "gpio.inputs.encoder_b needs gpio.inputs.encoder_a"),
    "one line for two": (
        TRACKED + "[gpio.outputs.reject]\nline = 1\n",
        "gpio.outputs.reject and gpio.inputs.trigger both have line 1: give each one of its own",
    ),
    "permission of a dead box": (TRACKED + "safe_active = true\n", "gpio.outputs.ok: with safe_active = true"),
    "two kinds of trigger": (
        TRACKED.replace('"gpio"', '"free_run"'),
        "gpio.inputs.trigger would start parts beside line.trigger 'free_run'",
    ),
    "doubles without an answer": (
        MINIMAL + SERIAL + "[gpio.outputs.ok]\nline = 2\n" + EJECTION + 'on_doubled = "ignore"\n',
        "ejection.on_doubled 'ignore' would leave a trigger of line.trigger 'serial' without any answer",
    ),
    "no words for a trigger": (
        MINIMAL + SERIAL + 'protocol = "ascii"\n[serial.ascii]\nresult = "{part_id}{outcome}"\n',
        "line.trigger 'serial' needs a template serial.ascii.trigger",
    ),
    "two wires on one port": (
        MINIMAL + SERIAL + '[modbus]\nmode = "rtu"\nserial_port = "/dev/ttyS9"\n',
        "serial.port and modbus.serial_port are both '/dev/ttyS9'",
    ),
    "recording with a port": (
        MINIMAL + '[serial]\ndriver = "recording"\nport = "/dev/ttyS9"\n',
        "serial: driver 'recording' says nothing on a port",
    ),
    "port with a journal": (MINIMAL + SERIAL + 'journal = "j"\n', "serial: journal is for driver 'recording' alone"),
    "chip with a feed": (MINIMAL + '[gpio]\nfeed = "f"\n', "gpio: journal and feed are for driver 'recording' alone"),
    "nobody may trigger": (
        MINIMAL + '[line]\ntrigger = "modbus"\n[modbus]\nallow_write = []\n',
        "line.trigger 'modbus' needs a master that may write: modbus.allow_write is empty",
    ),
    "stop rate": (MINIMAL + "[stop]\nreject_rate = 2\n", "stop.reject_rate"),
    "too much shared memory": (
        MINIMAL.replace("[insp", "width_px = 8192\nheight_px = 8192\n[insp") + "[line]\nring_slots = 64\n",
        "line.ring_slots × camera size needs 21.5 GB of shared memory, more than 8.6 GB: take fewer slots",
    ),
    "mm² without a scale": (
        MINIMAL + RULE + "max_area_mm2 = 1\n",
        "recipe: open.max_area_mm2 needs mm_per_px, the scale of the picture",
    ),
    "polygon of two points": (
        MINIMAL + "[recipe]\ninclude = [[[0, 0], [5, 5]]]\n",
        "recipe.include[0]: must have at least 3 items",
    ),
    "point of three numbers": (MINIMAL + "[recipe]\nignore = [[[0, 0, 0], [1, 1], [2, 2]]]\n", "recipe.ignore[0][0]"),
    "point outside": (
        MINIMAL + "[recipe]\nignore = [[[0, 0], [-1, 1], [2, 2]]]\n",
        "recipe.ignore[0][1][0]: must be greater than or equal to 0, not -1",
    ),
    "misspelt rule": (MINIMAL + RULE + "max_cout = 1\n", "recipe.rules.open: unknown key 'max_cout'; did you mean 'm"),
    "score above 1": (
        MINIMAL + RULE + "min_score = 40\n",
        "recipe.rules.open.min_score: must be less than or equal to",
    ),
    "recipe name": (MINIMAL + '[recipe]\nname = "a/b"\n', "recipe.name: must match pattern"),
    "recipe is a number": ("recipe = 5\n" + MINIMAL, "recipe: "),
    "not TOML": (MINIMAL + "workers == 2\n", "not valid TOML: Invalid value (at line 5, column 10)"),
    "key twice": (MINIMAL + "workers = 2\nworkers = 2\n", "not valid TOML: Cannot overwrite a value"),
    "empty": ("", "camera: this key is missing; inspection: this key is missing"),
    "not UTF-8": (MINIMAL.encode() + b'backend = "\xff"\n', "cannot be read: 'utf-8' codec can't decode byte 0xff"),
}


@pytest.mark.parametrize(("text", "fragment"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_its_file_and_its_key(write, text, fragment):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert fragment in message
    assert "\n" not in message


def test_several_mistakes_are_told_at_once(write):
    with pytest.raises(ConfigError, match=r"workers: .*; line\.deadline_ms: .*; line\.ring_slots: "):
        load_settings(write(MINIMAL + "workers = 0\n[line]\ndeadline_ms = 0\nring_slots = 0\n"))


@pytest.mark.parametrize(("name", "problem"), [("absent.toml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told(tmp_path, name, problem):
    with pytest.raises(ConfigError, match=f"{tmp_path / name}: cannot be read: .*{problem}"):
        load_settings(tmp_path / name)


# -- good files -------------------------------------------------------------------------------------------------


def test_an_endless_device_is_no_settings_file():
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read: it is a device or socket; name a TOML file"):
        load_settings(Path("/dev/zero"))


def test_a_minimal_file_takes_the_defaults(write):
    settings = load_settings(write(MINIMAL))
    assert settings.line.trigger == "free_run"
    assert (settings.camera.width_px, settings.inspection.workers, settings.line.ring_slots) == (2048, 2, 6)
    assert (settings.serial, settings.gpio) == (None, None)
    assert settings.recipe.value() == Recipe("default", join_px=6)


def test_a_full_file_is_taken_as_it_stands(write, tmp_path):
    write(RECIPE, "recipes/board-7.toml")
    settings = load_settings(write(FULL))
    assert (settings.station.name, settings.camera.driver, settings.camera.loop) == ("Line 3, box 1", "folder", True)
    assert (settings.inspection.backend, settings.inspection.hang_timeout_ms) == ("scripted", 1500.5)
    assert (settings.line.trigger, settings.line.deadline_ms, settings.line.ring_slots) == ("gpio", 800, 8)
    assert (settings.serial.baud_rate, settings.serial.acknowledge) == (9600, True)
    assert settings.gpio.outputs.keys() == {Output.OK, Output.REJECT}
    reject = settings.gpio.outputs[Output.REJECT]
    assert (reject.line, reject.active_low, reject.safe_active, reject.pulse_ms) == ("PQ.06", False, None, 30)
    assert (settings.gpio.inputs[Input.TRIGGER].line, settings.gpio.inputs[Input.TRIGGER].edge) == (10, "falling")
    assert settings.archive.keep_ok_every == 0
    assert settings.recipe.value() == Recipe(
        name="board-7",
        mm_per_px=0.05,
        join_px=6,
        default_rule=ClassRule(min_score=0.5),
        rules={"open": ClassRule(max_count=2, max_area_mm2=1.5)},
        include=(((0.0, 0.0), (100.0, 0.0), (100.0, 50.5)),),
    )


def test_paths_count_from_the_folder_of_the_file(write, tmp_path, monkeypatch):
    write(RECIPE, "etc/recipes/board-7.toml")
    path = write(FULL, "etc/settings.toml")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(path.relative_to(tmp_path))
    etc = tmp_path / "etc"
    assert settings.station.data_dir == etc / "data"
    assert settings.camera.path == etc / "pictures"
    assert settings.inspection.bundle == etc / "models/pcb"
    assert settings.serial.journal == etc / "journals/serial.jsonl"
    assert settings.gpio.journal == etc / "journals/gpio.jsonl"


def test_an_absolute_path_stays_as_it_is(write):
    text = MINIMAL.replace("models/pcb", "/opt/models/pcb") + '[station]\ndata_dir = "/srv/data"\n'
    settings = load_settings(write(text))
    assert (settings.inspection.bundle, settings.station.data_dir) == (Path("/opt/models/pcb"), Path("/srv/data"))


def test_the_children_read_the_same_settings(write):
    write(RECIPE, "recipes/board-7.toml")
    settings = load_settings(write(FULL))
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


# -- the recipe in a file of its own ----------------------------------------------------------------------------


def test_a_recipe_is_a_section_or_a_file(write):
    write(RECIPE, "board-7.toml")
    from_file = load_settings(write('recipe = "board-7.toml"\n' + MINIMAL)).recipe
    section = RECIPE.replace("[default_rule]", "[recipe.default_rule]").replace("[rules", "[recipe.rules")
    assert load_settings(write(MINIMAL + "[recipe]\n" + section)).recipe == from_file
    assert load_recipe(write(RECIPE, "board-7.toml")) == from_file


def test_a_template_counts_from_the_folder_of_the_file_that_names_it(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('template = "good.png"\n', "recipes/board.toml")
    from_file = load_settings(write('recipe = "recipes/board.toml"\n' + MINIMAL).relative_to(tmp_path))
    assert from_file.recipe.template == tmp_path / "recipes" / "good.png"
    section = load_settings(write(MINIMAL + '[recipe]\ntemplate = "good.png"\n'))
    assert section.recipe.template == tmp_path / "good.png"
    assert load_recipe(Path("recipes/board.toml")).template == tmp_path / "recipes" / "good.png"
    assert load_settings(write(MINIMAL)).recipe.template is None
    assert section.ring_bytes * 5 == load_settings(write(MINIMAL)).ring_bytes * 6


@pytest.mark.parametrize(
    ("recipe", "fragment"),
    [
        (None, "cannot be read: "),
        ("name = 'x", "not valid TOML: "),
        ("mm_per_px = 0\n", "mm_per_px: must be greater than 0, not 0"),
        ("[rules.open]\nmin_area_mm2 = 2\n", "open.min_area_mm2 needs mm_per_px"),
    ],
)
def test_a_mistake_in_the_recipe_names_the_recipes_file(write, tmp_path, recipe, fragment):
    if recipe is not None:
        write(recipe, "board.toml")
    with pytest.raises(ConfigError) as caught:
        load_settings(write('recipe = "board.toml"\n' + MINIMAL))
    assert str(caught.value).startswith(f"{tmp_path / 'board.toml'}: ")
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[serial]\nport = "usb:0403"\n', "write usb:VENDOR:PRODUCT"),
        ('[serial]\nport = "id:"\n', "write id:PATTERN"),
        (
            '[serial]\nport = "/dev/x"\nprotocol = "ascii"\n',
            "section need each other",
        ),
        ('[serial]\nport = "/dev/x"\n[serial.ascii]\nresult = "{outcome}"\n', "need each other"),
        (
            '[serial]\nport = "/dev/x"\nprotocol = "ascii"\n[serial.ascii]\nresult = "{part}{outcome}"\n',
            r"serial.ascii: .*result: \{part\} is no field of this template; allowed: seq, part_id",
        ),
        ('[serial]\nport = "/dev/x"\n[serial.rs485]\nrts_level = true\n', "serial.rs485: unknown key 'rts_level'"),
        ('[gpio]\nverdicts = "handshake"\n[gpio.outputs.ok]\nline = 1\n', "needs the outputs ok and result_valid and"),
        ("[gpio]\n[gpio.inputs.ack]\nline = 1\n", "inputs.ack need verdicts"),
    ],
)
def test_wires_that_do_not_fit_are_refused(tmp_path, text, complaint):
    (tmp_path / "config.toml").write_text(MINIMAL + text)
    with pytest.raises(ConfigError, match=complaint):
        load_settings(tmp_path / "config.toml")


HANDSHAKE = '[gpio]\nverdicts = "handshake"\n[gpio.outputs.ok]\nline = 1\n[gpio.outputs.result_valid]\nline = 2\n'
HANDSHAKE += "[gpio.inputs.ack]\nline = 3\n"


def test_a_handshake_leaves_the_ejection_to_the_controller(tmp_path):
    (tmp_path / "config.toml").write_text(MINIMAL + HANDSHAKE)
    assert load_settings(tmp_path / "config.toml").gpio.handshake.off_ms == 50
    trigger = '[gpio.inputs.trigger]\nline = 4\n[line]\ntrigger = "gpio"\ndeadline_ms = 400\n'
    (tmp_path / "config.toml").write_text(MINIMAL + HANDSHAKE + trigger + EJECTION)
    with pytest.raises(ConfigError, match=r"remove \[ejection\]"):
        load_settings(tmp_path / "config.toml")


RECIPES = MINIMAL + '[recipes.2]\nrecipe = "b.toml"\nbundle = "models/b"\n[recipes.1.recipe]\nname = "a"\n'
CODE = '[recipe_code]\nkind = "qr"\nx_px = 0\ny_px = 0\nwidth_px = 9\nheight_px = 9\ncodes = { A = 1 }\n'


def test_recipes_are_numbered_and_each_has_the_bundle_it_names(write, tmp_path):
    (tmp_path / "b.toml").write_text('name = "b"\ntemplate = "good.png"\n')
    settings = load_settings(write(RECIPES))
    assert [(n, each.recipe.name, each.bundle) for n, each in settings.numbered_recipes.items()] == [
        (1, "a", tmp_path / "models" / "pcb"),
        (2, "b", tmp_path / "models" / "b"),
    ]
    assert settings.numbered_recipes[2].recipe.template == tmp_path / "good.png"
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_a_single_recipe_has_number_1(write):
    settings = load_settings(write(MINIMAL + '[recipe]\nname = "only"\n'))
    assert [(n, each.recipe.name) for n, each in settings.numbered_recipes.items()] == [(1, "only")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            MINIMAL + '[recipes.1]\nrecipe = "nowhere.toml"\n',
            r"nowhere\.toml: cannot be read: there is no such file; it is named by .*: recipes\.1\.recipe$",
        ),
        (MINIMAL + "[recipes.1]\nrecipe = {}\n[recipes.2]\nrecipe = {}\n", "two have the name 'default'"),
        (MINIMAL + "[recipe]\n[recipes.1]\nrecipe = {}\n", "has both recipe and recipes"),
        (MINIMAL + "[recipes.0]\nrecipe = {}\n", "recipes: key '0': must be greater than or equal to 1"),
        (MINIMAL + "[recipes.70000]\nrecipe = {}\n", "recipes: key '70000'"),
        (MINIMAL + "[recipes.one]\nrecipe = {}\n", "recipes: key 'one'"),
        (MINIMAL + "recipes = 3\n", "recipes"),
        (MINIMAL + "[recipes.1]\nbundel = 'x'\n", "did you mean 'bundle'"),
        (MINIMAL + CODE.replace("1 }", "2 }"), r"codes names recipe 2, which \[recipes\] does not have"),
        (MINIMAL + CODE + "[gpio.inputs.recipe_0]\nline = 1\n", "both select the recipe"),
        (MINIMAL + "[gpio.inputs.recipe_strobe]\nline = 1\n", "needs a code to latch"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(write, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_settings(write(text))
