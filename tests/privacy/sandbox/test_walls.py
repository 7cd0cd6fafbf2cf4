"""What a plan's module tries to reach: nothing inside, and - so that the tests can fail - something without walls."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privacy.sandbox import Sandbox

HEAD = """
import ctypes, os, socket, sys, signal, mmap
libc = ctypes.CDLL(None, use_errno=True)
got = []
def attempt(name, action):
    try:
        result = action()
    except (OSError, ImportError, RuntimeError, PermissionError) as error:
        return
    if result is not False:
        got.append(name)
def raw(number, *args):
    # whether the call was let through: denied ones answer EPERM, EAGAIN or ENOSYS before the kernel looks at the arguments
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *words)
    return result != -1 or ctypes.get_errno() not in (1, 11, 38)
def attack(state, given, arrays):
    try_all(given)
    return {"got": got}, {}
"""

WALLS: dict[str, str] = {
    "sockets": """
def try_all(given):
    attempt("tcp", lambda: socket.create_connection(("127.0.0.1", given["port"]), 1))
    attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
    attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    attempt("ipv6", lambda: socket.socket(socket.AF_INET6))
    attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect(given["unix"]))
    attempt("abstract", lambda: socket.socket(socket.AF_UNIX).bind("\\0fedward-test"))
    attempt("pair", socket.socketpair)
    attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    attempt("packet", lambda: socket.socket(socket.AF_ALG))
    attempt("vsock", lambda: socket.socket(socket.AF_VSOCK))
""",
    "reading": """
def try_all(given):
    def read(path):
        with open(path, "rb") as file:
            return file.read(1) is not None
    for path in [given["secret"], "/etc/passwd", "/etc/hostname", "/proc/self/environ", f"/proc/{given['nursery']}/environ",
                 f"/proc/{given['parent']}/environ", "/proc/self/maps", "/proc/self/mem", "/proc/self/cmdline", "/proc/cpuinfo",
                 given["link"], "/dev/../" + given["secret"][1:], "/proc/self/root" + given["secret"]]:
        attempt("read " + path, lambda: read(path))
    for path in ["/", "/etc", "/proc", "/proc/self/fd", "/tmp", "/home", "/root", "/dev", "/dev/shm", given["folder"]]:
        attempt("list " + path, lambda: os.listdir(path))
    attempt("o_path", lambda: os.open("environ", os.O_RDONLY, dir_fd=os.open("/proc/self", os.O_PATH)))
    attempt("memory", lambda: mmap.mmap(os.open(given["secret"], os.O_RDONLY), 1, prot=mmap.PROT_READ))
""",
    "writing": """
def try_all(given):
    import site, tempfile, torch
    places = [given["folder"]]
    if not given["open"]:
        places += ["/tmp", "/dev/shm", "/var/tmp", "/run", os.path.dirname(torch.__file__), os.path.dirname(os.__file__)]
    for place in places:
        path = f"{place}/fedward-left-{os.getpid()}"
        attempt("write " + path, lambda: os.open(path, os.O_CREAT | os.O_WRONLY))
        attempt("mkdir " + path, lambda: os.mkdir(path + "d"))
        attempt("link " + path, lambda: os.symlink("/etc", path + "s"))
        attempt("fifo " + path, lambda: os.mkfifo(path + "f"))
        attempt("tmpfile " + path, lambda: os.open(place, os.O_TMPFILE | os.O_RDWR))
    attempt("append", lambda: open(given["secret"], "ab"))
    attempt("truncate", lambda: os.truncate(given["secret"], 0))
    attempt("rename", lambda: os.rename(given["victim"], given["victim"] + "2"))
    attempt("unlink", lambda: os.unlink(given["victim"]))
    attempt("chmod", lambda: os.chmod(given["secret"], 0o777))
    attempt("chown", lambda: os.chown(given["secret"], -1, -1))
    attempt("utime", lambda: os.utime(given["secret"]))
    attempt("xattr", lambda: raw(188, given["secret"].encode(), b"user.a", b"b", 1, 0))
    attempt("temporary file", tempfile.TemporaryFile)
    attempt("null", lambda: open("/dev/null", "wb"))
    attempt("its own code", lambda: open(torch.__file__, "ab"))
    attempt("chdir", lambda: os.chdir("/tmp"))
    attempt("chroot", lambda: os.chroot("/tmp"))
""",
    "processes": """
def try_all(given):
    def child(make):
        number = make()
        if number == 0:
            os._exit(0)
        return number > 0
    def thread():
        import threading
        threading.Thread(target=lambda: None, daemon=True).start()
    def spawn():
        import subprocess
        return subprocess.run(["/bin/true"])
    def multi():
        import multiprocessing
        multiprocessing.get_context("fork").Process(target=print).start()
    attempt("fork", lambda: child(os.fork))
    attempt("forkpty", lambda: child(lambda: os.forkpty()[0]))
    attempt("libc's fork", lambda: child(libc.fork))
    attempt("spawn", spawn)
    attempt("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
    attempt("system", lambda: os.system("true") == 0)
    attempt("multiprocessing", multi)
    attempt("thread", thread)
""",
    "others": """
def try_all(given):
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_long * 2)(ctypes.addressof(buffer), 8)
    # where there are no walls a bystander alone is attacked, else the nursery and the node as well
    for number in [given["bystander"], *([] if given["open"] else [given["nursery"], given["parent"]])]:
        attempt("kill", lambda: os.kill(number, 0))
        attempt("tgkill", lambda: raw(234, number, number, 0))
        attempt("sigqueue", lambda: raw(129, number, 0, 0))
        attempt("ptrace", lambda: raw(101, 16, number, 0, 0))
        attempt("process_vm_readv", lambda: raw(310, number, vector, 1, vector, 1, 0))
        attempt("pidfd", lambda: os.pidfd_open(number))
        attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, number, 19))
        attempt("limits", lambda: __import__("resource").prlimit(number, 4))
    attempt("kill everybody", lambda: os.kill(-1, 0))
    attempt("kill the group", lambda: os.killpg(0, 0))
    attempt("scheduler", lambda: os.sched_setaffinity(0, [0]))
""",
    "memory of others": """
def try_all(given):
    import multiprocessing.shared_memory as shared
    attempt("shm", lambda: shared.SharedMemory(create=True, size=16))
    attempt("memfd", lambda: os.memfd_create("left"))
    attempt("shmget", lambda: raw(29, 4711, 16, 0o1666))
    attempt("msgget", lambda: raw(68, 4711, 0o1666))
    attempt("semget", lambda: raw(64, 4711, 1, 0o1666))
    attempt("mq_open", lambda: raw(240, b"left", 0o102, 0o666, 0))
    attempt("keyring", lambda: raw(248, b"user", b"left", b"x", 1, -3))
    attempt("pipe", os.pipe)
    attempt("eventfd", lambda: os.eventfd(0))
    attempt("flock", lambda: __import__("fcntl").flock(os.open(os.__file__, os.O_RDONLY), 1))
    attempt("lockf", lambda: __import__("fcntl").lockf(os.open(os.__file__, os.O_RDONLY), 1))
    attempt("inotify", lambda: raw(254))
    with open(os.__file__, "rb") as file:
        page = mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        address = ctypes.cast(libc.mmap, ctypes.c_void_p)
        word = ctypes.c_uint32(0)
        attempt("shared futex", lambda: raw(202, ctypes.byref(word), 1, 1, 0, 0, 0))
        attempt("mincore", lambda: raw(27, ctypes.byref(word), 0, ctypes.byref(word)))
""",
    "descriptors": """
def try_all(given):
    for number in range(4, 4096):
        attempt(f"descriptor {number}", lambda: os.fstat(number))
    attempt("a descriptor sent", lambda: raw(47, 3, 0, 64))
    attempt("one sent out", lambda: raw(46, 3, 0, 64))
    attempt("its channel's other side", lambda: raw(48, 3, 2))
    for name, value in os.environ.items():
        if "FEDWARD" in name or given["word"] in value:
            got.append(name)
""",
}


@pytest.fixture
def prize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What there is to get: a secret file, a listening socket, a word in the environment of the parent."""
    secret = tmp_path / "ledger.jsonl"
    secret.write_text("patients\n")
    (tmp_path / "victim").write_text("x")
    (tmp_path / "link").symlink_to(secret)
    monkeypatch.setenv("FEDWARD_SECRET", "the-word")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        subprocess.Popen(["sleep", "60"], start_new_session=True) as bystander,
    ):
        local.bind(str(tmp_path / "socket"))
        local.listen()
        yield {
            "port": server.getsockname()[1],
            "unix": str(tmp_path / "socket"),
            "secret": str(secret),
            "victim": str(tmp_path / "victim"),
            "link": str(tmp_path / "link"),
            "folder": str(tmp_path),
            "parent": os.getpid(),
            "nursery": os.getppid(),  # where there are no walls any number will do
            "bystander": bystander.pid,
            "open": False,
            "word": "the-word",
        }
        bystander.kill()
    assert secret.read_text() == "patients\n"


def run_openly(source: str, given: Any) -> list[str]:
    """What the same attack gets in a process without walls."""
    script = f"{source}\nimport json\nprint(json.dumps(attack({{}}, json.loads(sys.argv[1]), {{}})[0]))"
    command = [sys.executable, "-c", script, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, cwd=given["folder"])
    return json.loads(done.stdout.strip().splitlines()[-1])["got"]


@pytest.mark.parametrize("wall", WALLS)
def test_nothing_is_reached(box: Sandbox, attack: Callable[..., dict[str, Any]], prize: Any, wall: str) -> None:
    attack("def attack(state, given, arrays):\n    return {}, {}\n")
    assert box._nursery is not None
    assert attack(HEAD + WALLS[wall], prize | {"nursery": box._nursery.pid})["got"] == []


@pytest.mark.parametrize("wall", WALLS)
def test_the_attacks_get_something_where_there_are_no_walls(prize: Any, wall: str, tmp_path: Path) -> None:
    given = prize | {"secret": str(tmp_path / "copy"), "link": str(tmp_path / "copy"), "open": True}
    (tmp_path / "copy").write_text("patients\n")
    assert len(run_openly(HEAD + WALLS[wall], given)) >= 4
