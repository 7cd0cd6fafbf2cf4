"""The process that forks are made of. It loads torch, MONAI and the trusted tasks, shuts itself in, and runs no plan's module.

It is started by privacy/sandbox/start.py as a fresh interpreter, so nothing of the parent is in its memory, and it ends when
its parent does: it watches the parent itself, because PDEATHSIG would watch the thread that started it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping

import msgspec

from privacy.sandbox import confine, control, fork, library, module, wire

_PRELOAD = ("numpy", "torch", "monai.networks.nets", "monai.losses")
# What MONAI imports where it is installed, and no network or loss needs: every fork would have to copy and free its pages.
_LEFT_OUT = ("mlflow", "pandas", "pyarrow", "matplotlib", "sklearn", "nibabel", "ignite")


def main(descriptor: int) -> None:
    """Serve the parent on the socket `descriptor` until it ends."""
    link = socket.socket(fileno=descriptor)
    start, _ = control.receive(link, control.Start)
    parent = os.pidfd_open(start.parent)
    if os.getppid() != start.parent:
        return  # it ended before it could be watched
    try:
        confine.before_loading()
        tasks = _load(start)
        size = confine.nursery(start.readable, start.hidden)
    except BaseException as error:  # the parent says it, whatever it is
        text = str(error) if isinstance(error, confine.ConfinementError) else traceback.format_exc(limit=-3)
        control.send(link, control.Done(refused=text[-4000:]))
        return
    start = msgspec.structs.replace(start, roots=[], readable=[], hidden=[])  # names of folders are no business of forks
    gc.collect()
    gc.freeze()  # what is here now is shared with every fork; their collectors leave it alone
    control.send(link, control.Done())
    with contextlib.suppress(EOFError, ConnectionError):
        _serve(link, parent, lambda channel: _fork(channel, tasks, start, size))


def _load(start: control.Start) -> Mapping[str, wire.Task]:
    sys.path[:0] = [root for root in start.roots if root not in sys.path]  # before packages of the same name elsewhere
    sys.modules.update(dict.fromkeys(_LEFT_OUT))  # type: ignore[arg-type]  # None: importing it fails
    for name in _PRELOAD:
        importlib.import_module(name)
    for name in _LEFT_OUT:
        del sys.modules[name]
    import torch

    torch.set_num_threads(1)  # a thread that the nursery had would be missing in every fork, and OpenMP would wait for it
    torch.set_num_interop_threads(1)
    warm_up()
    tasks: Mapping[str, wire.Task] = importlib.import_module(start.tasks).TASKS
    library.close_shelves(_LEFT_OUT)
    return tasks


def warm_up() -> None:
    """One gradient of a small network: what torch loads and measures at first use is then in every fork."""
    import torch

    images = torch.zeros(1, 1, 8, 8)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    loss = torch.nn.functional.cross_entropy(network(images), torch.zeros(1, dtype=torch.int64))
    torch.autograd.grad(loss, list(network.parameters()), torch.ones(()))  # given a gradient, torch loads its symbolic shapes


def _serve(link: socket.socket, parent: int, make: Callable[[int], int]) -> None:
    """Make and end forks as ordered. One that ended by itself stays a zombie until then: its number is nobody else's."""
    forks: set[int] = set()
    waiting = select.poll()
    waiting.register(link, select.POLLIN)
    waiting.register(parent, select.POLLIN)
    try:
        while parent not in dict(waiting.poll()):
            order, channel = control.receive(link, control.Order)
            done = control.Done()
            if order.end is not None:
                _end(forks, order.end)
            elif channel is not None:
                try:
                    number = make(channel)
                    forks.add(number)
                    done = control.Done(fork=number)
                except OSError as error:
                    done = control.Done(refused=f"no process can be made: {error.strerror}")
            control.send(link, done)
    finally:
        for number in list(forks):
            _end(forks, number)


def _fork(channel: int, tasks: Mapping[str, wire.Task], start: control.Start, size: int) -> int:
    """The number of a new fork that serves on `channel`. Raises OSError; does not return in the fork."""
    nursery = os.getpid()
    try:
        number = os.fork()
        if number == 0:
            try:
                mine = confine.fork(channel, start.limits, nursery, size)
                random.seed(0)  # Python reseeds it in every fork; the others go on from where the nursery left them
                module.enter_fork()
                fork.serve(mine, tasks, start.tell)
            finally:
                os._exit(0)
        return number
    finally:
        os.close(channel)


def _end(forks: set[int], number: int) -> None:
    if number in forks:
        forks.discard(number)
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
