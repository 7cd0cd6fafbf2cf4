"""A decoder process: `python -m silo_node.intake.worker FD`. It may crash or hang; the pool knows which file did it."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection

import msgspec

from silo_node.intake.examination import examine
from silo_node.intake.messages import ALIVE, READY, Context, Match, Task

SPARE = 2 << 30
"""Bytes of address space beyond what the decoded image may need, for the libraries and their threads."""


def main(descriptor: int) -> None:
    """Serve tasks from the pipe until it closes."""
    logging.disable(logging.CRITICAL)  # readers log names and values of what they read
    connection = Connection(descriptor)
    context = msgspec.msgpack.decode(connection.recv_bytes(), type=Context)
    confine(context)
    connection.send_bytes(READY)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            serve(connection, context, msgspec.msgpack.decode(connection.recv_bytes(), type=list[Task]))


def serve(connection: Connection, context: Context, tasks: list[Task]) -> None:
    """Answer each task before the next one, so that an unanswered task is the one that killed us."""

    told = time.monotonic()

    def frame_begins() -> None:
        nonlocal told
        signal.setitimer(signal.ITIMER_REAL, context.seconds)
        if time.monotonic() - told > 1.0:
            told = time.monotonic()
            connection.send_bytes(ALIVE)

    def matched(row: Match) -> None:
        connection.send_bytes(msgspec.msgpack.encode(row))

    for task in tasks:
        told = time.monotonic()
        outcome, pixels = examine(context, task, frame_begins, matched)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(msgspec.msgpack.encode(outcome))
        if outcome.size:
            connection.send_bytes(pixels)


def confine(context: Context) -> None:
    """No core dumps (they would hold patients' pixels), a bound on memory, and death by alarm even inside C code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for what, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, 4 * context.decoded_bytes + SPARE)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
            resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    main(int(sys.argv[1]))
