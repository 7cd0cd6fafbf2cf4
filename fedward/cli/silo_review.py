"""`fedward silo publish` and `fedward silo review`: what researchers are shown, and the officer's page in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedward.cli.silo_governance import CONFIG, ConfigOption, JsonOption, KeyOption, OfficerOption, officer_key, open_office


def publish(
    name: Annotated[str, typer.Argument(help="What researchers see it as: letters, digits and dash.")],
    summary: Annotated[str, typer.Option(help="One line about the cohort.", show_default=False)],
    patients: Annotated[int, typer.Option(min=10, max=1000, help="Invented patients in the mock.")] = 120,
    config: ConfigOption = CONFIG,
    json_: JsonOption = False,
) -> None:
    """Show the cohort to the researchers of the policy: a public mock with phantom images. No patient is in it."""
    import tempfile

    from silo_node.cohort import CohortStore
    from silo_node.governance.mock import make_mock, write_manifest
    from silo_node.service.config import load_config, places

    opened = open_office(config)
    store = CohortStore.open(places(load_config(config), config.absolute().parent).store, verify=False)
    with tempfile.TemporaryDirectory() as folder:
        mock, manifest = Path(folder) / "mock.zip", Path(folder) / "manifest.json"
        facts = make_mock(store, mock, patients=patients)
        write_manifest(store, manifest)
        opened.office.publish(opened.identity, name, mock, manifest, summary)
    typer.echo(f"Published {name}. Of the real cohort its mock shows this and nothing else:")
    for what, value in facts.items():
        typer.echo(f"  {what:<14} {value}")
    if json_:
        typer.echo(json.dumps({"cohort": name, "shows": facts}))


def review(
    as_: OfficerOption,
    key: KeyOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 0,
    config: ConfigOption = CONFIG,
) -> None:
    """Read and decide in the browser: a page on this machine only, until Ctrl-C."""
    from contextlib import suppress

    from protocol.consortium.folder import PartyFolder, ready
    from protocol.errors import InputError
    from silo_node.governance.page.server import ReviewPage
    from silo_node.governance.spent import spent_words
    from silo_node.policy import load_policy
    from silo_node.service.config import load_config, places

    opened, identity = open_office(config), officer_key(as_, key)
    where = places(load_config(config), config.absolute().parent)
    hospital, _ = ready(PartyFolder(where.kit))

    def spent() -> str:
        return spent_words(where.ledger, load_policy(where.policy))

    try:
        page = ReviewPage(opened.office, hospital, as_, identity, opened.identity, spent, port)
    except OSError as error:
        raise InputError(f"--port {port} cannot be used ({error.strerror}); 0 chooses a free one.") from error
    typer.echo(f"Open this address in a browser on this machine; whoever has it decides as {as_}:\n\n  {page.address}\n")
    typer.echo("Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        page.serve()
