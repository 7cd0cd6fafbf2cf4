"""A decoder process that dies, hangs or stops as the file's name says; run as `python -m deadly_decoder FD`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from silo_node.intake import worker
from silo_node.intake.examination import examine
from silo_node.intake.messages import Context, Task


def treacherous(context: Context, task: Task, on_step, on_match):
    name = Path(os.fsdecode(task.name)).stem

    def after_match(row: int) -> None:
        """The header is read and the label found: from here on it is the pixels' fault."""
        on_match(row)
        if name.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("hang"):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            on_step()
            while True:
                sum(range(10**6))

    if name.startswith("once") and not (marker := Path(os.fsdecode(context.source)).parent / "died").exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return examine(context, task, on_step, after_match)


worker.examine = treacherous

if __name__ == "__main__":
    worker.main(int(sys.argv[1]))
