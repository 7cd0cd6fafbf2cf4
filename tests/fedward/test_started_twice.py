"""A service that is started twice says so at once, and leaves the first one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.cli.aggregator import serve as serve_aggregator
from fedward.cli.silo_serve import serve as serve_silo
from protocol.errors import InputError
from protocol.service_lock import only_one
from tests.aggregator.consortium.brokers import hospital, make_office


def test_a_second_one_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with only_one(tmp_path / "lock", "fedward x serve"), pytest.raises(InputError, match="another `fedward x serve`"):
        only_one(tmp_path / "lock", "fedward x serve")
    only_one(tmp_path / "lock", "fedward x serve").close()


def test_two_aggregators_do_not_serve_one_consortium(tmp_path: Path) -> None:
    office = make_office(tmp_path)
    with only_one(office.folder / "serve.lock", "first"), pytest.raises(InputError, match="aggregator serve` is at work"):
        serve_aggregator(office.folder)


def test_two_nodes_do_not_serve_one_hospital_whatever_their_health_ports(tmp_path: Path) -> None:
    place = hospital(make_office(tmp_path / "office"), tmp_path, "north")
    config = tmp_path / "silo.yaml"
    config.write_text(f"kit: {place.folder}\nstore: store\nhealth: {{port: 0}}\n")
    with only_one(place.folder / "serve.lock", "first"), pytest.raises(InputError, match="silo serve` is at work"):
        serve_silo(config)
