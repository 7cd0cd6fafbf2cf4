"""`fedward`: the front door. Errors are one clear message and an exit code; `--debug` shows the traceback."""

from __future__ import annotations

import os
import sys

# OpenMP threads that spin while they wait cost more than they gain as soon as cores are shared. Read at torch's import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    """Entry point of the `fedward` command."""
    from fedward.cli import app
    from protocol.errors import FedwardError

    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="fedward")
    except FedwardError as error:
        if debug:
            raise
        _say(f"[bold red]{type(error).__name__}[/]  ", str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("[bold]Stopped.[/] ", "Everything committed is kept; run the same command with --resume to go on.")
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        _say("[bold red]Unexpected error[/]  ", f"{type(error).__name__}: {error}\nRun again with --debug to see where.")
        sys.exit(1)


def _say(head: str, text: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False, soft_wrap=True).print(head + escape(text))


if __name__ == "__main__":
    main()
