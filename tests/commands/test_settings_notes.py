"""What check-config remarks on settings that the daemon would run with."""

import pytest

from edge_runtime.commands.settings_notes import notes_on
from edge_runtime.config import Settings

BASE = {"camera": {"driver": "synthetic"}, "inspection": {"bundle": "bundle"}}
STOP = {"stop": {"consecutive_rejects": 5}}
RECIPES = {"recipes": {"1": {"recipe": {"name": "a"}}, "2": {"recipe": {"name": "b"}}}}
ASCII = {"serial": {"port": "/dev/x", "protocol": "ascii", "ascii": {"result": "!{outcome:P/R/N}\\r"}}}
PORT = {"serial": {"port": "/dev/x"}}


def affinity(sets, threads):
    return {"inspection": {"bundle": "bundle", "workers": 2, "threads": threads, "cpu_affinity": sets}}


@pytest.mark.parametrize(
    ("sections", "starts"),
    [
        ({}, []),
        ({"camera": {"driver": "folder", "path": "/nowhere"}}, ["camera.path: /nowhere does not exist"]),
        (affinity(["0", "1"], 1), []),
        (affinity(["0", "1"], 2), ["inspection.cpu_affinity: worker 0 has more threads"]),
        (affinity(["0-1", "1"], 2), ["inspection.cpu_affinity: worker 1 has more threads"]),
        (STOP, ["stop: only a restart"]),
        (STOP | ASCII, ["stop: only a restart"]),
        (STOP | PORT, []),
        (STOP | {"modbus": {}}, []),
        (STOP | {"gpio": {"inputs": {"reset": {"line": 1}}}}, []),
        (RECIPES, ["recipes: nothing selects one"]),
        (RECIPES | ASCII, ["recipes: nothing selects one"]),
        (RECIPES | PORT, []),
        (RECIPES | {"gpio": {"inputs": {"recipe_0": {"line": 1}}}}, []),
        ({"modbus": {"host": "0.0.0.0"}}, ["modbus: this machine alone"]),
        ({"modbus": {"host": "0.0.0.0", "allow_read": ["10.0.0.0/8"]}}, []),
    ],
)
def test_what_is_hardly_meant_is_remarked(sections, starts):
    notes = list(notes_on(Settings.model_validate(BASE | sections)))
    assert len(notes) == len(starts)
    assert all(note.startswith(start) for note, start in zip(notes, starts, strict=True))
