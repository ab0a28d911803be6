"""Children by the fork server: the line's own, with what they need and nothing else, and what happens without it."""

import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from edge_runtime.processes import Undertaker, bury_strangers
from edge_runtime.runtime.children import ChildSpec, Role
from edge_runtime.runtime.fork_server import FORKED_WITHIN_MS

SPEC = ChildSpec(Role.INSPECTION, 3, 1000, 200)

SERVER = """
import json, os, sys
from edge_runtime.runtime.fork_server import serve

def preload():
    import decimal

def body(words):
    fds = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    channel_fd, ring_fd = int(words[1]), int(words[2])
    facts = {
        "words": words[:1], "parent": os.getppid(), "preloaded": "decimal" in sys.modules,
        "stdin": os.readlink("/proc/self/fd/0"),
        "open": [fd for fd in fds if fd > 2 and fd not in (channel_fd, ring_fd)],
        "threads": len(os.listdir("/proc/self/task")), "ring": os.pread(ring_fd, 4, 0).decode(),
    }
    os.write(channel_fd, json.dumps(facts).encode())
    os.read(channel_fd, 1)
    return 7

serve(int(sys.argv[1]), preload, body)
"""

# The line as a program of its own: what it starts must not run on in the test's process.
LINE = f"""
import json, logging, os, select, sys, time
from edge_runtime.runtime.children import ChildSpec, Role
from edge_runtime.runtime.fork_server import FORKED_WITHIN_MS, NEXT_AFTER_AT_MOST_NS, NEXT_AFTER_NS, ForkServer

secret = os.open("/dev/null", os.O_RDONLY)
os.set_inheritable(secret, True)
server = ForkServer([sys.executable, "-c", {SERVER!r}])
"""


@pytest.fixture
def run_line():
    """Run `LINE` and what follows it; its process, whose output is text."""
    started = []

    def run(then: str) -> subprocess.Popen:
        command = [sys.executable, "-c", LINE + then]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


SPAWN = """
import socket
spec = ChildSpec(Role.INSPECTION, 3, 1000, 200)
ring_fd = os.memfd_create("ring")
os.write(ring_fd, b"ring")

def ask():
    ours, theirs = socket.socketpair()
    forking = server.spawn(spec, theirs.fileno(), ring_fd)
    theirs.close()
    return ours, forking

def news(forking, within_ms):
    poller = select.poll()
    poller.register(forking.fileno(), select.POLLIN)
    return bool(poller.poll(within_ms))

def spawn():
    ours, forking = ask()
    assert news(forking, 20_000)
    return ours, forking.process(0)

def end_while_asked(ours, forking):
    try:
        assert news(forking, 20_000)
        forking.process(0)
    except OSError as exc:
        print(exc, server.is_ready)
"""


def test_a_forked_child_is_the_lines_own_and_has_what_it_needs_and_nothing_else(run_line):
    line = run_line(
        SPAWN
        + """
ours, child = spawn()
facts = json.loads(ours.recv(9999))
ours.close()
print(json.dumps({"line": os.getpid(), "code": child.wait(), "again": child.wait(), **facts}))
"""
    )
    facts = json.loads(line.communicate(timeout=20)[0])
    assert facts["parent"] == facts["line"]
    assert facts["words"] == ["inspection"]
    assert facts["preloaded"]
    assert facts["ring"] == "ring"
    assert facts["stdin"] == os.devnull
    assert facts["threads"] == 1
    # What is listed is read through one descriptor more, which is closed by then.
    assert len(facts["open"]) <= 1
    assert (facts["code"], facts["again"]) == (7, 7)


def test_people_see_which_child_it_is(run_line):
    line = run_line(SPAWN + "ours, child = spawn(); ours.recv(9999); print(child.pid, flush=True); time.sleep(60)")
    pid = int(line.stdout.readline())
    assert "".join(psutil.Process(pid).cmdline()) == "edge-runtime inspection 3"


def test_a_killed_child_says_which_signal(run_line):
    line = run_line(SPAWN + "ours, child = spawn(); ours.recv(9999); child.kill(); print(child.wait())")
    assert int(line.communicate(timeout=20)[0]) == -signal.SIGKILL


def test_children_outlive_the_fork_server_and_the_next_one_is_an_error(run_line):
    line = run_line(
        SPAWN
        + """
ours, child = spawn()
ours.recv(9999)
os.kill(server.pid, 9)
refused = 0
while server.is_ready:
    try:
        spawn()
    except OSError:
        refused += 1
ours.send(b".")
print(refused > 0, child.wait())
"""
    )
    assert line.communicate(timeout=20)[0].split() == ["True", "7"]


def test_nobody_waits_for_a_fork_server_that_is_stopped_and_what_was_asked_for_comes_when_it_goes_on(run_line):
    line = run_line(
        SPAWN
        + """
spawn()[0].recv(9999)
os.kill(server.pid, 19)
asked = [ask() for _ in range(64)]
for _, forking in asked:
    forking.tend(0)
    forking.tend(FORKED_WITHIN_MS * 1_000_000)
print(news(asked[0][1], 50))
os.kill(server.pid, 18)
for ours, forking in asked:
    assert news(forking, 20_000)
    child = forking.process(0)
    assert json.loads(ours.recv(9999))["parent"] == os.getpid()
    ours.close()
    assert child.wait() == 7
print(server.is_ready)
"""
    )
    assert line.communicate(timeout=20)[0].split() == ["False", "True"]


def test_a_fork_server_that_takes_too_long_is_ended_and_so_is_what_it_was_asked_for(run_line):
    line = run_line(
        SPAWN
        + """
spawn()[0].recv(9999)
os.kill(server.pid, 19)
asked = [ask(), ask()]
for _, forking in asked:
    forking.tend(0)
asked[0][1].tend(FORKED_WITHIN_MS * 1_000_000 + 1)
for each in asked:
    end_while_asked(*each)
print(asked[0][0].recv(9))
"""
    )
    out, err = line.communicate(timeout=20)
    assert out.splitlines() == ["the fork server is gone, or has no memory for a process False"] * 2 + ["b''"]
    assert f"the fork server is gone (no answer within {FORKED_WITHIN_MS} ms)" in err


def test_what_was_asked_for_during_a_long_preload_has_its_time_from_the_last_answer_on(run_line):
    line = run_line(
        SPAWN
        + """
asked = [ask()[1] for _ in range(3)]
for forking in asked:
    forking.tend(0)
first, *others = asked
heard_ns = 2 * FORKED_WITHIN_MS * 1_000_000
for forking in others:
    forking.tend(heard_ns)
assert news(first, 20_000)
first.process(heard_ns)
for after_ns in (0, FORKED_WITHIN_MS * 1_000_000):
    for forking in others:
        forking.tend(heard_ns + after_ns)
    print(server.is_ready)
for forking in others:
    assert news(forking, 20_000)
print(all(forking.process(heard_ns).pid for forking in others))
"""
    )
    assert line.communicate(timeout=20)[0].split() == ["True"] * 3


def test_a_line_without_descriptors_says_so_and_keeps_its_fork_server(run_line):
    line = run_line(
        SPAWN
        + """
import resource
ours, theirs = socket.socketpair()
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (theirs.fileno() + 1, before[1]))
try:
    server.spawn(spec, theirs.fileno(), ring_fd)
except OSError as exc:
    print(exc.strerror)
resource.setrlimit(resource.RLIMIT_NOFILE, before)
spawn()
print(server.is_ready)
"""
    )
    out, err = line.communicate(timeout=20)
    assert out.splitlines() == [os.strerror(errno.EMFILE), "True"]
    assert "the fork server cannot be asked for inspection-3" in err


# The line's time is told by the test, which waits for processes alone.
LATER = """
def until(reached, now_ns=0):
    while not reached():
        server.tend(now_ns)
        time.sleep(0.002)

def killed_at(now_ns):
    pid = server.pid
    os.kill(pid, 9)
    until(lambda: server.pid != pid, now_ns)
"""


def test_a_killed_fork_server_is_replaced_after_a_while_and_takes_requests_when_its_imports_are_done(run_line):
    line = run_line(
        SPAWN
        + LATER
        + """
started_ns = time.monotonic_ns()
first, (ours, child) = server.pid, spawn()
killed_at(started_ns)
print(server.pid, server.is_ready)
server.tend(started_ns + NEXT_AFTER_NS - 1)
print(server.pid)
server.tend(started_ns + NEXT_AFTER_NS)
print(server.is_ready)
until(lambda: server.is_ready)
print(first != server.pid, json.loads(spawn()[0].recv(9999))["parent"] == os.getpid())
ours.send(b".")
print(child.wait())
"""
    )
    out, err = line.communicate(timeout=20)
    assert out.split() == ["0", "False", "0", "False", "True", "True", "7"]
    assert err.count("the fork server is gone") == 1


def test_nothing_is_left_of_a_hundred_killed_fork_servers_and_each_waits_longer_up_to_a_minute(run_line):
    line = run_line(
        LATER
        + """
logging.disable()
server._command = ["sleep", "60"]

def facts():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

now_ns, waits_s = time.monotonic_ns(), []
for turn in range(101):
    killed_at(now_ns)
    died_ns = now_ns
    while not server.pid:
        now_ns += NEXT_AFTER_NS
        server.tend(now_ns)
    waits_s.append((now_ns - died_ns) // NEXT_AFTER_NS)
    before = facts() if turn == 0 else before
after = facts()
with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
    print(len(file.read().split()), after == before, *waits_s[:8], set(waits_s[8:]))
killed_at(now_ns + NEXT_AFTER_AT_MOST_NS + 1)
now_ns += NEXT_AFTER_AT_MOST_NS + 1 + NEXT_AFTER_NS
server.tend(now_ns)
print(server.pid > 0)
os.kill(server.pid, 9)
"""
    )
    out, err = line.communicate(timeout=20)
    assert out.splitlines() == ["1 True 1 2 4 8 16 32 60 60 {60}", "True"], err


def test_one_that_is_stopped_in_its_imports_is_not_asked_and_one_that_cannot_be_started_is_tried_again(run_line):
    line = run_line(
        SPAWN
        + LATER
        + """
good, now_ns = server._command, time.monotonic_ns()
server._command = ["/does/not/exist"]
killed_at(now_ns)
server.tend(now_ns + NEXT_AFTER_NS)
print(server.pid)
server._command = good
server.tend(now_ns + 3 * NEXT_AFTER_NS)
os.kill(server.pid, 19)
time.sleep(0.05)
server.tend(now_ns + 4 * NEXT_AFTER_NS)
print(server.pid > 0, server.is_ready)
os.kill(server.pid, 18)
until(lambda: server.is_ready)
print(len(json.loads(spawn()[0].recv(9999))["words"]))
"""
    )
    out, err = line.communicate(timeout=20)
    assert out.split() == ["0", "True", "False", "1"]
    assert "the fork server cannot be started" in err


def test_the_fork_server_dies_with_the_line(run_line):
    line = run_line(SPAWN + "spawn()[0].recv(9999); print(server.pid, flush=True); time.sleep(60)")
    server = psutil.Process(int(line.stdout.readline()))
    line.kill()
    assert not psutil.wait_procs([server], timeout=30)[1]


def test_what_the_daemon_preloads_starts_no_thread_and_loads_no_engine():
    code = """
import os, sys
from edge_runtime.fork_program import preload
preload()
print(len(os.listdir("/proc/self/task")), *(sys.modules.keys() & {"paddlelite", "onnxruntime", "openvino", "torch"}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["1"]


def test_an_adopted_process_that_has_ended_is_buried_and_an_own_child_is_not():
    own, stranger = (subprocess.Popen(["true"]) for _ in range(2))
    for each in (own, stranger):
        os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOWAIT)
    bury_strangers([own.pid])
    bury_strangers([own.pid])
    assert own.wait() == 0
    while Path(f"/proc/{stranger.pid}").exists():
        bury_strangers([own.pid])
    stranger.returncode = 0


def test_nobody_waits_for_a_burial_and_nobody_is_buried_twice():
    may_end, buried = threading.Event(), queue.SimpleQueue()

    def wait():
        may_end.wait()
        buried.put(threading.current_thread().name)

    undertaker = Undertaker()
    for pid in (1, 1, 2):
        undertaker.bury(pid, wait)
    may_end.set()
    assert [buried.get(timeout=20) for _ in range(2)] == ["undertaker"] * 2
    assert buried.empty()
