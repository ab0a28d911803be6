"""A whole job on this machine's cores: tables, report, resuming, and all that may go wrong on the way."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import psutil
import pytest

from edge_runtime.app import build_pool
from edge_runtime.commands.inspect import pool_settings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.errors import BundleError, ConfigError, StorageError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.pictures import read_picture
from edge_runtime.vision.boards import paint_board
from tools.errors import ToolError
from tools.reinspection.run import Watcher

REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import os, sys
from edge_runtime.errors import EdgeRuntimeError
import typer
from tools.reinspection.command import reinspect
app = typer.Typer()
app.command()(reinspect)
if __name__ == "__main__":
    try:
        app()
    except EdgeRuntimeError as exc:
        sys.exit(f"error: {exc}")
"""
KILLED_PROGRAM = """
import multiprocessing, os, signal, sys
from pathlib import Path
from tools.reinspection.executors import LocalExecutor
from tools.reinspection.run import Request, Watcher, reinspect

class Killer(Watcher):
    def kept(self, pictures):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    bundle, archive, out = map(Path, sys.argv[1:])
    request = Request(bundle, archive, out, chunk_pictures=4, overlays=3, backend="scripted")
    reinspect(request, lambda spec: LocalExecutor(spec, 2), Killer())
"""


class Interrupting(Watcher):
    """Does something when so many chunks are on disk."""

    def __init__(self, chunks, act):
        self._left = chunks
        self._act = act

    def kept(self, pictures):
        self._left -= 1
        if self._left == 0:
            self._act()


def boards(folder, count):
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:02d}.png"), paint_board(7, index, (150, 190)).image)
    return folder


def test_tiles_of_a_side_that_the_model_does_not_run_are_refused(run):
    with pytest.raises(BundleError, match=r"tiles of 640 px: its network for \w+ runs"):
        run(tile_px=640)


def test_every_picture_is_a_row_and_every_defect_too(run, tables, archive):
    finished = run()
    pictures, defects = tables(finished.folder)
    assert [row["path"] for row in pictures] == [
        "cut.png", *(f"left/{n:03d}.png" for n in range(0, 24, 2)), *(f"right/{n:03d}.png" for n in range(1, 24, 2))
    ]  # fmt: skip
    assert [row["defect_count"] for row in pictures[1:4]] == [0, 2, 1]
    assert [row["outcome"] for row in pictures[:4]] == ["NOT_INSPECTED", "PASS", "REJECT", "REJECT"]
    assert pictures[0]["reasons"] == ["unreadable"]
    assert "cut.png" in pictures[0]["error"]
    of_two = pictures[2]
    assert (of_two["height_px"], of_two["width_px"], of_two["tiles"], of_two["max_score"]) == (70, 100, 6, 1.0)
    assert (of_two["count_spur"], of_two["count_copper"], of_two["count_open"]) == (1, 1, 0)
    assert of_two["size_bytes"] == (archive / "left/002.png").stat().st_size
    found = [row for row in defects if row["path"] == "left/002.png"]
    assert [(row["n"], row["class"], row["x0"], row["y0"], row["x1"], row["y1"], row["area_px"]) for row in found] == [
        (0, "spur", 10, 20, 16, 26, 36),
        (1, "copper", 22, 20, 28, 26, 36),
    ]
    assert len(defects) == sum(row["defect_count"] for row in pictures)


def test_the_report_tells_counts_errors_and_shows_the_worst(run):
    finished = run()
    text = (finished.folder / "report.md").read_text()
    assert "| `left` | 4 | 8 | 0 | 12 |" in text
    assert "1 pictures were not inspected: 1 unreadable" in text
    assert sorted(path.name for path in (finished.folder / "overlays").iterdir()) == ["001.jpg", "002.jpg", "003.jpg"]
    assert read_picture(finished.folder / "overlays" / "001.jpg").shape == (70, 100, 3)
    assert 'src="overlays/001.jpg"' in (finished.folder / "report.html").read_text()


def test_what_is_found_is_what_the_device_finds(run, two_processes, tables, shipped_bundle, tmp_path):
    folder = boards(tmp_path / "boards", 6)
    run(bundle_folder=shipped_bundle, archive_folder=folder, backend="paddle_lite", open_executor=two_processes)
    pictures, defects = tables(tmp_path / "out")
    loaded = load_bundle(shipped_bundle)
    with build_pool(pool_settings(shipped_bundle, RecipeSettings(), 1), loaded.mask_stride_px) as pool:
        verdicts = [pool.inspect(read_picture(path)).verdict for path in sorted(folder.iterdir())]
    assert any(verdict.defects for verdict in verdicts)
    assert [(row["outcome"], tuple(row["reasons"])) for row in pictures] == [(v.outcome, v.reasons) for v in verdicts]
    assert [(row["class_id"], row["area_px"], row["score"]) for row in defects] == [
        (defect.class_id, defect.area_px, defect.score)
        for verdict in verdicts
        for defect in sorted(verdict.defects, key=lambda each: (each.xyxy_px[1], each.xyxy_px[0]))
    ]


def test_a_recipe_decides(run, tables, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[rules.spur]\nmin_area_px = 37\n")
    pictures, _ = tables(run(recipe_file=recipe).folder)
    assert any(row["count_spur"] for row in pictures)
    assert all(
        (row["outcome"] == "PASS") == (row["defect_count"] == row["count_spur"]) for row in pictures if not row["error"]
    )


def test_a_recipe_for_unknown_classes_is_refused(run, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[rules.dent]\nmax_count = 1\n")
    with pytest.raises(ConfigError, match="dent"):
        run(recipe_file=recipe)


@pytest.mark.parametrize("grey", [241, 242], ids=["SIGSEGV", "SIGABRT"])
def test_pictures_that_kill_the_predictor_are_rows_and_cost_no_other(
    run, two_processes, tables, archive, painted, tmp_path, grey
):
    run(out=tmp_path / "before")
    for name in ("left/004.png", "left/005.png", "right/023.png"):
        painted(archive / name, grey)
    finished = run(open_executor=two_processes)
    assert finished.summary.error_kinds == {"crashed": 3, "unreadable": 1}
    before = {row["path"]: row for row in tables(tmp_path / "before")[0]}
    pictures, _ = tables(finished.folder)
    assert [row["path"] for row in pictures if row["reasons"] == ["crashed"]] == [
        "left/004.png", "left/005.png", "right/023.png"
    ]  # fmt: skip
    others = [row for row in pictures if row["reasons"] != ["crashed"]]
    assert others == [before[row["path"]] for row in others]


def test_a_picture_that_never_ends_costs_its_worker_and_no_more(run, two_processes, tables, archive, painted):
    painted(archive / "left" / "004.png", 243)
    pictures, _ = tables(run(picture_limit_s=3, open_executor=two_processes).folder)
    assert [row["path"] for row in pictures if row["reasons"] == ["crashed"]] == ["left/004.png"]


def test_an_answer_of_a_wrong_shape_is_a_row(run, tables, archive, painted):
    painted(archive / "left" / "004.png", 244)
    pictures, _ = tables(run().folder)
    assert [row["path"] for row in pictures if row["reasons"] == ["failed"]] == ["left/004.png"]


def test_a_killed_worker_costs_nothing(run, two_processes, tables, tmp_path):
    def kill_a_worker():
        multiprocessing.active_children()[0].kill()

    run(out=tmp_path / "undisturbed")
    finished = run(watcher=Interrupting(2, kill_a_worker), open_executor=two_processes)
    assert tables(finished.folder) == tables(tmp_path / "undisturbed")


def test_killed_and_run_again_gives_the_same_tables_and_leaves_no_process(run, tables, bundle, archive, tmp_path):
    run(out=tmp_path / "undisturbed")
    script = tmp_path / "killed.py"
    script.write_text(KILLED_PROGRAM)
    arguments = [sys.executable, str(script), str(bundle), str(archive), str(tmp_path / "out")]
    died = subprocess.run(arguments, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").glob("0*.parquet")}
    assert 1 <= len(parts) < 7
    (tmp_path / "out" / "parts" / ".00000006.parquet.0123abcd.tmp").write_bytes(b"half")
    assert_all_end([int(pid) for pid in died.stdout.split()])
    finished = run()
    assert finished.pictures_resumed == 4 * len(parts)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert tables(finished.folder) == tables(tmp_path / "undisturbed")
    assert list((tmp_path / "out").rglob(".*.tmp")) == []


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def assert_all_end(pids):
    assert pids
    until_s = time.monotonic() + 60
    while alive := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < until_s, alive
        time.sleep(0.02)


def lives(pid):
    """It may end while it is looked at."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_interrupted_from_the_keyboard_it_says_how_to_go_on(shipped_bundle, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    folder, out = boards(tmp_path / "boards", 90), tmp_path / "out"
    options = ["--out", str(out), "--chunk", "1", "--workers", "1", "--overlays", "0", "--json"]
    command = [sys.executable, str(script), str(shipped_bundle), str(folder), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment(), start_new_session=True, **pipes) as tool:
        while not list(out.glob("parts/0*.parquet")) and tool.poll() is None:
            time.sleep(0.01)
        os.killpg(tool.pid, signal.SIGINT)
        _, told = tool.communicate(timeout=60)
    assert tool.returncode == 130, told
    assert "run the same command again" in told
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert (summary["pictures"], summary["errors"]) == (90, 0)
    assert 1 <= summary["pictures_resumed"] < 90


def test_a_full_disk_is_an_error_and_the_part_is_absent(run, tables, tmp_path, monkeypatch):
    run(out=tmp_path / "undisturbed")
    real = os.fsync

    def fail(descriptor):
        if "/parts/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"No space left.*run the same command"):
        run()
    monkeypatch.undo()
    assert list((tmp_path / "out" / "parts").iterdir()) == []
    assert not (tmp_path / "out" / "pictures.parquet").exists()
    assert tables(run().folder) == tables(tmp_path / "undisturbed")


def test_a_finished_job_run_again_inspects_nothing(run, tables):
    first = tables(run().folder)
    again = run()
    assert again.pictures_resumed == len(first[0])
    assert tables(again.folder) == first


@pytest.mark.parametrize("change", ["chunk_pictures", "recipe", "listing_sha256"])
def test_another_job_in_the_same_folder_is_refused(run, archive, tmp_path, change):
    run()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("join_px = 8\n")
    if change == "listing_sha256":
        os.utime(archive / "left" / "000.png", (1, 1))
    other = {"chunk_pictures": {"chunk_pictures": 5}, "recipe": {"recipe_file": recipe}, "listing_sha256": {}}
    with pytest.raises(ToolError, match=f"holds another job: {change} differ"):
        run(**other[change])


def test_two_at_once_in_one_folder_are_refused(run):
    with pytest.raises(ToolError, match="another reinspect works in it"):
        run(watcher=Interrupting(1, run))


def test_a_part_of_another_job_is_refused_by_name(run, tmp_path):
    run()
    run(out=tmp_path / "other", chunk_pictures=5)
    (tmp_path / "other/parts/00000001.parquet").replace(tmp_path / "out/parts/00000001.parquet")
    with pytest.raises(StorageError, match=r"00000001\.parquet: belongs to another job"):
        run()


def test_a_damaged_part_is_refused_by_name(run, tmp_path):
    run()
    part = tmp_path / "out/parts/00000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"00000001\.parquet: cannot be read.*delete it"):
        run()


def test_an_out_folder_inside_the_archive_is_refused(run, archive):
    with pytest.raises(ToolError, match="inside the archive"):
        run(out=archive / "results")


def test_an_out_folder_with_other_things_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("two years of work")
    with pytest.raises(ToolError, match=r"holds thesis\.txt and no job\.json"):
        run()


def test_a_bundle_that_does_not_compute_what_it_should_is_refused_before_the_work(
    run, two_processes, shipped_bundle, tmp_path
):
    with pytest.raises(BundleError, match="golden tiles came out differently"):
        run(bundle_folder=shipped_bundle, open_executor=two_processes)
    assert list((tmp_path / "out" / "parts").iterdir()) == []


def test_a_bundle_that_kills_the_predictor_is_refused_before_the_work(run, two_processes, deadly_bundle):
    with pytest.raises(ToolError, match="dies of the bundle's own golden tiles"):
        run(bundle_folder=deadly_bundle, open_executor=two_processes)
