"""Decoder processes that may die: results come back in file order, and every death is blamed on the right file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

import msgspec

from protocol.errors import SiloError
from silo_node.intake.messages import ALIVE, READY, Answer, Match, Outcome, Task
from silo_node.intake.reasons import Reason

WORKER = "silo_node.intake.worker"
BATCH = 16
"""Tasks sent at once; a worker gets more when fewer than half of them are left. Small enough to fit a pipe's buffer."""
AHEAD = 256 << 20
"""Bytes of finished results that may wait for an earlier, slower file."""
GRACE = 30.0
"""Seconds beyond a worker's own alarm after which it is killed from here."""
STARTS = 3


class Worker:
    """One decoder process and the tasks it has not answered yet."""

    def __init__(self, module: str, context: bytes) -> None:
        self.connection, theirs = Pipe()
        self.pending: deque[Task] = deque()
        self.ready = False
        self.row: int | None = None
        """The label row of the first pending task, if the process got as far as finding it."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path or str(os.curdir) for path in sys.path),
            "OPENBLAS_NUM_THREADS": "1",
        }
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the import, which then closes the pipes
            )
        with suppress(OSError):  # it died at once; receiving will say so
            self.connection.send_bytes(context)

    def receive(self) -> Answer | None:
        """The next answer; None for a sign of life. EOFError or OSError if the process has died."""
        message = self.connection.recv_bytes()
        if not self.ready:
            self.ready = message == READY
            return None
        if message == ALIVE:
            return None
        news = msgspec.msgpack.decode(message, type=Match | Outcome)
        if isinstance(news, Match):
            self.row = news
            return None
        outcome, self.row = news, None
        pixels = self.connection.recv_bytes() if outcome.size else b""
        self.pending.popleft()
        return outcome, pixels

    def hang_up(self) -> None:
        """Close the pipe, upon which the process ends as soon as it notices."""
        self.connection.close()

    def stop(self) -> int:
        """End the process; returns its exit status (negative: the signal that killed it)."""
        self.hang_up()
        try:
            return self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Pool:
    """Workers for one run over `tasks`; a context manager that ends them."""

    def __init__(self, context: bytes, workers: int, seconds: float, module: str = WORKER) -> None:
        self._context, self._module, self._patience = context, module, seconds + GRACE
        self._count = workers
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._suspects: set[int] = set()

    def __enter__(self) -> Pool:
        self._workers = [Worker(self._module, self._context) for _ in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for worker in self._workers:
                stack.callback(worker.stop)
            for worker in self._workers:  # all of them first, so that they end together and not one after the other
                worker.hang_up()

    def run(self, tasks: Sequence[Task]) -> Iterator[Answer]:
        """The outcome of every task, in the order of `tasks`. SiloError if decoders cannot even start."""
        queue = deque(tasks)
        finished: dict[int, Answer] = {}
        waiting = 0
        for task in tasks:
            while task.number not in finished:
                self._feed(queue, task.number, full=waiting > AHEAD)
                for outcome, pixels in self._collect(queue):
                    finished[outcome.number] = outcome, pixels
                    waiting += len(pixels)
            outcome, pixels = finished.pop(task.number)
            waiting -= len(pixels)
            yield outcome, pixels

    def _feed(self, queue: deque[Task], next_number: int, *, full: bool) -> None:
        for worker in self._workers:
            if not queue or (full and queue[0].number != next_number):
                return
            if worker.ready and len(worker.pending) < BATCH // 2:
                tasks = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
                worker.pending.extend(tasks)
                with suppress(OSError):  # it has died; collecting will find out and take its tasks back
                    worker.connection.send_bytes(msgspec.msgpack.encode(tasks))

    def _collect(self, queue: deque[Task]) -> Iterator[Answer]:
        by_connection = {worker.connection: worker for worker in self._workers}
        talking = wait(list(by_connection), timeout=self._patience)
        if not talking:  # its own alarm should have ended it: the process is stopped or stuck in the kernel
            for worker in self._workers:
                if worker.pending or not worker.ready:
                    worker.process.send_signal(signal.SIGKILL)
        for connection in talking:
            if not isinstance(connection, Connection):
                continue
            worker = by_connection[connection]
            try:
                answer = worker.receive()
            except (EOFError, OSError, msgspec.DecodeError):
                yield from self._bury(worker, queue)
            else:
                if answer is not None:
                    yield answer

    def _bury(self, worker: Worker, queue: deque[Task]) -> Iterator[Answer]:
        """Replace a dead worker. Its first unanswered task gets one more try, unless it was the clock that struck."""
        status = worker.stop()
        self._workers.remove(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise SiloError(
                    "The decoder processes cannot start. Check that fedward is installed completely "
                    f"(`python -m {self._module} 0` shows why) and that memory is not exhausted."
                )
        if worker.pending:
            suspect = worker.pending[0]
            if status == -signal.SIGALRM or suspect.number in self._suspects:
                worker.pending.popleft()
                reason = Reason.TIMED_OUT if status == -signal.SIGALRM else Reason.DECODER_CRASHED
                yield Outcome(number=suspect.number, row=worker.row, reason=reason.value), b""
            self._suspects.add(suspect.number)
            left = sorted([*worker.pending, *queue], key=lambda task: task.number)
            queue.clear()
            queue.extend(left)
        if queue:
            self._workers.append(Worker(self._module, self._context))


def usable_cores() -> int:
    """Cores this process may use: a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
