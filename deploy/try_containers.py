"""Build the images and run a federation of three hospitals in containers: `make containers`.

Everything as docs/deploy.md tells the people to do it, with their compose files: the coordinator founds a consortium, three
hospitals join it and import their images (computed phantoms), each node passes its preflight, a private plan with secure
aggregation runs, and the report is there. The only thing left out is the telephone. Three things differ from real life: all
containers are on this machine in one network of their own; the limits are smaller; the plan has few rounds.

Containers and networks that this started are removed at the end; images and the folder --out stay.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import yaml
from trial.engine import SILO, Trial, TrialError, compose_program, podman
from trial.images import build, build_broker
from trial.parties import coordinator, hospital, join, own
from trial.watching import await_healthy, await_job, locked_down, runs_in_mlflow

HOSPITALS = ("northgate", "harbour", "st-brigid")
PHANTOMS = "from pathlib import Path; from fedward.demo.phantoms import write_hospitals; write_hospitals(Path('/out/all'))"
MISSING = """podman {what} is not here, and this trial needs it.
  Debian or Ubuntu   apt-get install --no-install-recommends podman buildah netavark aardvark-dns
  compose            pip install podman-compose
docs/deploy.md has settings for machines without systemd or without a way to an image registry."""


def main() -> int:
    """0 if the federation ended with a report, 1 if something did not hold, 2 if something is missing."""
    options = _parse()
    for what, there in (("itself", shutil.which("podman")), ("compose", compose_program())):
        if not there:
            print(MISSING.format(what=what), file=sys.stderr)
            return 2
    if options.out.exists() and any(options.out.iterdir()):
        print(f"{options.out} is not empty; delete it, or choose another folder with --out.", file=sys.stderr)
        return 2
    trial = Trial(options.out.absolute(), options.mlflow_port)
    try:
        if not options.no_build:
            build(trial, options.base, options.pip_options, options.build_option)
        run(trial)
    except (subprocess.CalledProcessError, TrialError) as error:
        print(f"\n{error}\nSee {trial.out}; --keep lets the containers run.", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            trial.end()
    print("\nseconds:", ", ".join(f"{name} {seconds:.0f}" for name, seconds in trial.seconds.items()))
    return 0


def run(trial: Trial) -> None:
    """From images to a report. Raises CalledProcessError if a step fails, TrialError if something does not hold."""
    trial.out.mkdir(parents=True, exist_ok=True)
    build_broker(trial)
    podman("network", "create", "--internal", trial.name)
    with trial.timed("write phantom studies"):
        phantoms = own(trial.out / "phantoms")
        limits = ["--name", f"{trial.name}-phantoms", "--network=none", "--read-only", "--cap-drop=all"]
        podman("run", "--rm", *limits, f"--volume={phantoms}:/out", "--entrypoint=python3", SILO, "-c", PHANTOMS)
    with trial.timed("consortium and import"):
        office = coordinator(trial)
        silos = {name: hospital(trial, name, phantoms / "all" / name) for name in HOSPITALS}
        join(office, silos)
    with trial.timed("start"):
        office.compose("up", "-d", "mlflow", "aggregator")
        for silo in silos.values():
            silo.compose("up", "-d", "silo")
        for project, service in [(office, "mlflow"), (office, "aggregator"), *((silo, "silo") for silo in silos.values())]:
            await_healthy(project.container(service))
    with trial.timed("preflight"):
        for silo in silos.values():
            silo.tell("silo", "silo", "preflight", "/etc/fedward/silo.yaml")
            locked_down(silo.container("silo"))
    with trial.timed("job"):
        plan = yaml.safe_load((files("fedward.demo") / "plan.yaml").read_text(encoding="utf-8"))
        plan["federation"]["rounds"], plan["evaluation"]["every"], plan["name"] = 3, 3, "containers"
        (office.folder / "desk" / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
        job = office.ask("office", "aggregator", "submit", "/desk/plan.yaml", "--folder", "/consortium")["job"]
        folder = await_job(office, job)
    for name in ("report.json", "report.html"):
        shutil.copy(folder / name, trial.out)
    print(f"MLflow shows {', '.join(runs_in_mlflow(trial.mlflow_port, plan['name']))}")
    print(podman("stats", "--no-stream", "--format=table {{.Name}} {{.MemUsage}}", *trial.containers()))
    print(f"{job} is done: {trial.out / 'report.html'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the images and run a federation of three hospitals in containers.")
    parser.add_argument("--out", type=Path, default=Path("containers-out"), help="folder for everything; must be empty")
    parser.add_argument("--base", default="python:3.12-slim", help="image with Python 3.11 or newer to build on")
    parser.add_argument("--pip-options", default="", help="for pip in the build, as the build argument PIP_OPTIONS")
    parser.add_argument("--build-option", action="append", default=[], help="one more option of `podman build`; repeat")
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    parser.add_argument("--keep", action="store_true", help="let the containers run, to look at them")
    parser.add_argument("--mlflow-port", type=int, default=5000, help="of MLflow's pages on this machine's loopback")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
