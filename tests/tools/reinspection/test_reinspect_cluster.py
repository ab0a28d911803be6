"""On a Dask cluster of real processes: a scheduler and two workers, some of which are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edge_runtime.vision.boards import paint_board
from tools.errors import ToolError
from tools.reinspection.run import Watcher

distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")

from tools.reinspection.dask_executor import DaskExecutor, version_conflicts  # noqa: E402

REPOSITORY = Path(__file__).parents[3]
START_S = 60


def start(module, *arguments, **where):
    """A process of Dask's command line, which ends with its process group; `where`: another folder or environment."""
    settings = {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    command = [sys.executable, "-m", f"distributed.cli.dask_{module}", "--no-dashboard", *map(str, arguments)]
    place = {"env": {**os.environ, **settings}, **where}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, start_new_session=True, **place, **quiet)


def stop(processes):
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def start_scheduler(tmp_path_factory):
    """`start_scheduler()`: a scheduler on a free port of this machine, and its address."""
    started = []

    def go():
        file = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
        address = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", file)
        started.append(start("scheduler", *address, "--dashboard-address", "127.0.0.1:0"))
        until_s = time.monotonic() + START_S
        while not file.exists() or not file.read_text().endswith("}"):
            assert time.monotonic() < until_s, "the scheduler does not start"
            time.sleep(0.05)
        return started[-1], json.loads(file.read_text())["address"]

    yield go
    stop(started)


@pytest.fixture(scope="module")
def start_workers(tmp_path_factory):
    """`start_workers(address)`: two workers of one thread, each with a nanny that restarts it."""
    started = []

    def go(address):
        folder = tmp_path_factory.mktemp("workers")
        for _ in range(2):
            options = ("--nthreads", "1", "--host", "127.0.0.1", "--local-directory", folder)
            started.append(start("worker", address, *options))
        with distributed.Client(address, timeout=START_S) as client:
            client.wait_for_workers(2, timeout=START_S)

    yield go
    stop(started)


@pytest.fixture(scope="module")
def cluster(start_scheduler, start_workers):
    """Address of a scheduler with two workers."""
    _, address = start_scheduler()
    start_workers(address)
    return address


@pytest.fixture
def on(run):
    """`on(address, **fields of Request)`: a whole job on a cluster."""

    def go(address, **fields):
        return run(open_executor=lambda spec: DaskExecutor(spec, address), **fields)

    return go


class Once(Watcher):
    """Does something when the first chunk is on disk."""

    def __init__(self, act):
        self._act = act
        self._is_done = False

    def kept(self, pictures):
        if not self._is_done:
            self._is_done = True
            self._act()


def worker_pids(address):
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=START_S)
        return sorted(client.run(os.getpid).values())


def test_a_worker_killed_in_the_middle_changes_nothing(
    run, two_processes, on, tables, cluster, shipped_bundle, tmp_path
):
    boards = tmp_path / "boards"
    boards.mkdir()
    for index in range(40):
        cv2.imwrite(str(boards / f"{index:02d}.png"), paint_board(7, index, (150, 190)).image)
    job = {"bundle_folder": shipped_bundle, "backend": "paddle_lite", "archive_folder": boards, "chunk_pictures": 1}
    run(out=tmp_path / "local", open_executor=two_processes, **job)
    pids = worker_pids(cluster)
    finished = on(cluster, watcher=Once(lambda: os.kill(pids[0], signal.SIGKILL)), **job)
    assert pids[0] not in worker_pids(cluster)
    assert tables(finished.folder) == tables(tmp_path / "local")


def test_pictures_that_kill_their_workers_are_rows_and_cost_no_other(
    run, two_processes, on, tables, cluster, archive, painted, tmp_path
):
    for name in ("left/004.png", "right/023.png"):
        painted(archive / name, 241)
    finished = on(cluster)
    assert finished.summary.error_kinds == {"crashed": 2, "unreadable": 1}
    run(out=tmp_path / "local", open_executor=two_processes)
    assert tables(finished.folder) == tables(tmp_path / "local")


def test_a_job_begun_on_a_cluster_that_goes_away_is_ended_here(
    run, on, tables, start_scheduler, start_workers, tmp_path
):
    scheduler, address = start_scheduler()
    start_workers(address)
    with pytest.raises(ToolError, match=r"the scheduler is lost.*run the same command again"):
        on(address, chunk_pictures=1, watcher=Once(lambda: stop([scheduler])))
    finished = run(chunk_pictures=1)
    assert 1 <= finished.pictures_resumed < 25
    run(out=tmp_path / "local")
    assert tables(finished.folder) == tables(tmp_path / "local")


def test_a_scheduler_without_workers_is_an_error_at_once(on, start_scheduler):
    with pytest.raises(ToolError, match=r"has no workers.*dask worker"):
        on(start_scheduler()[1])


def test_workers_without_this_code_are_an_error_at_once_and_live_on(on, start_scheduler, tmp_path):
    _, address = start_scheduler()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    worker = start("worker", address, "--nthreads", "1", cwd=tmp_path, env=environment)
    try:
        with distributed.Client(address, timeout=START_S) as client:
            client.wait_for_workers(1, timeout=START_S)
        with pytest.raises(ToolError, match=r"a worker cannot import tools\.reinspection.*PYTHONPATH=\."):
            on(address)
        assert worker.poll() is None
    finally:
        stop([worker])


def test_no_scheduler_is_an_error_within_seconds(on):
    with pytest.raises(ToolError, match="no Dask scheduler answers within 5 s"):
        on("tcp://127.0.0.1:9")


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:8786", "tcp://127.0.0.1"])
def test_an_address_that_is_none_is_an_error_at_once(on, address):
    with pytest.raises(ToolError, match="tcp://HOST:8786"):
        on(address)


def packages(**changes):
    return {"packages": {"python": "3.10.13.final.0", "distributed": "2026.8.0", "numpy": "2.2.6", **changes}}


def test_equal_versions_and_patch_releases_agree():
    workers = {"tcp://1": packages(python="3.10.2.final.0", numpy="2.2.1")}
    assert version_conflicts({"client": packages(), "scheduler": packages(), "workers": workers}) == []


def test_other_versions_are_named_with_their_place():
    workers = {"tcp://1": packages(), "tcp://2": packages(python="3.12.1.final.0")}
    scheduler = packages(distributed="2024.1.0")
    assert version_conflicts({"client": packages(), "scheduler": scheduler, "workers": workers}) == [
        "distributed is 2024.1.0 on the scheduler and 2026.8.0 here",
        "python is 3.12 on tcp://2 and 3.10 here",
    ]
