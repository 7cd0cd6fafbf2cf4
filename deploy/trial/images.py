"""The images of a trial."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trial.engine import AGGREGATOR, BROKER, ROOT, SILO, Trial, podman


def build(trial: Trial, base: str, pip_options: str, more: Sequence[str]) -> None:
    """The silo's and the aggregator's image, as docs/deploy.md builds them. Raises CalledProcessError."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE).stdout
    arguments = {"BASE": base, "PIP_OPTIONS": pip_options, "REVISION": revision.strip()}
    options = ["--format=docker", *(f"--build-arg={name}={value}" for name, value in arguments.items()), *more]
    for audience, image in (("silo", SILO), ("aggregator", AGGREGATOR)):
        with trial.timed(f"build {audience}"):
            file = f"--file=deploy/{audience}/Containerfile"
            subprocess.run(["podman", "build", *options, file, f"--tag={image}", "."], cwd=ROOT, check=True)
    for image in (SILO, AGGREGATOR):
        print(f"{image}: {int(podman('image', 'inspect', image, '--format={{.Size}}')) / 1e6:.0f} MB")


def build_broker(trial: Trial) -> None:
    """An image of the nats-server among the development tools, so that the trial needs no other registry."""
    folder = trial.out / "broker-image"
    folder.mkdir(parents=True)
    shutil.copy(Path(sys.executable).with_name("nats-server"), folder)
    (folder / "Containerfile").write_text('FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT ["/nats-server"]\n')
    subprocess.run(["podman", "build", "--quiet", f"--tag={BROKER}", str(folder)], check=True)
