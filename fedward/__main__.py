"""`fedward`: the front door. Errors are one clear message and an exit code; `--debug` shows the traceback."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

# OpenMP threads that spin while they wait cost more than they gain as soon as cores are shared. Read at torch's import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_STOPPED = "What was finished is kept; the same command goes on from there (`fedward run` with --resume)."


def main() -> None:
    """Entry point of the `fedward` command."""
    from fedward.cli import app
    from protocol.errors import FedwardError

    os.umask(0o077)  # cohorts, models and reports are for the one who runs this, until shared on purpose
    signal.signal(signal.SIGTERM, _interrupt)  # a container that is stopped ends like one that is interrupted
    debug = "--debug" in sys.argv
    # What a silo refuses is told by the command itself; its own log is for a silo that runs alone.
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL, format="%(name)s: %(message)s")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="fedward")
    except FedwardError as error:
        if debug:
            raise
        _say(f"[bold red]{type(error).__name__}[/]  ", str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, KeyboardInterrupt) or stop.code == 130:  # the command line's own word for Ctrl-C
            _say("[bold]Stopped.[/]  ", _STOPPED)
            sys.stdout.flush()
            os._exit(130)  # a silo may be in the middle of a pass; its thread would abort the ordinary way out
        raise
    except Exception as error:
        if debug:
            raise
        _say("[bold red]Unexpected error[/]  ", f"{type(error).__name__}: {error}\nRun again with --debug to see where.")
        sys.exit(1)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(head: str, text: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(head + escape(text))


if __name__ == "__main__":
    main()
