#!/usr/bin/env python3
"""Stands in for the interpreter that runs a recipe's steps: writes outputs that depend on the inputs, and a diary.

STUB_DIARY: file that gets one JSON list of words a command. STUB_DIE: command that is cut off after its checkpoint.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

OUTPUTS = {
    "synthesize": ("annotations.json",),
    "train": ("network.npz", "checkpoint.npz"),
    "distill": ("network.npz", "checkpoint.npz"),
    "prune": ("network.npz",),
    "export": ("model.pdmodel", "model.pdiparams"),
    "tiles": ("tiles.npz",),
    "quantize": ("model.pdmodel", "model.pdiparams"),
    "pack": ("manifest.json",),
    "compare-stages": ("stages.md", "stages.json"),
}


def content(words):
    """The command and every file that one of its words names, told apart by content."""
    digest = hashlib.sha256()
    for word in words:
        path = Path(word.rpartition("=")[2])
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        digest.update(word.encode())
        for file in filter(Path.is_file, files):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def data_folders(words):
    """The data sets that the settings file of a training names."""
    if "--settings" not in words:
        return []
    settings = json.loads(Path(words[words.index("--settings") + 1]).read_text(encoding="utf-8"))
    return [source["folder"] for source in settings["data"]]


def main():
    assert sys.argv[1:3] == ["-m", "tools"], sys.argv
    words = sys.argv[3:]
    with open(os.environ["STUB_DIARY"], "a", encoding="utf-8") as diary:
        diary.write(json.dumps(words) + "\n")
    out = Path(words[words.index("--out") + 1])
    resumed = "--resume" in words
    if out.exists() and not resumed:
        sys.exit(f"{out} exists")
    out.mkdir(parents=True, exist_ok=True)
    if os.environ.get("STUB_DIE") == words[0] and not resumed:
        (out / "checkpoint.npz").write_text("half")
        sys.exit(137)
    text = content([*(word for word in words if word not in (str(out), "--resume")), *data_folders(words)])
    for name in OUTPUTS[words[0]]:
        (out / name).write_text(text)


if __name__ == "__main__":
    main()
