from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from protocol.errors import PlanError
from protocol.plan import load_plan, parse_plan, plan_template


def broken(old: str, new: str) -> str:
    template = plan_template()
    assert old in template
    return template.replace(old, new, 1)


def line_with(text: str, wanted: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if wanted in line)


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("mu: 0.01", "mu: -1", "training.mu", "greater than or equal to 0"),
        ("mu: 0.01", "mu: .nan", "training.mu", "number"),
        ("rounds: 20", "rounds: 2.5", "federation.rounds", "integer"),
        ("rounds: 20", "rounds: true", "federation.rounds", "integer"),
        ("quorum: 3", "quorom: 3", "federation.quorom", "not a key"),
        ("lr: 0.5", 'lr: "fast"', "training.optimizer.lr", "number"),
        ('"Resize"', '"LoadImage"', "data.preprocessing[0]", "not an allowed preprocessing"),
        ('"RandFlip"', '"Lambda"', "data.augmentation[0]", "not an allowed augmentation"),
        ("name: Classifier", "name: MILModel", "network.name", "not an allowed network"),
        ('"num_res_units": 0', '"pretrained": true', "network", "downloads nothing"),
        ("local_steps: 10", "local_steps: 10\n  local_epochs: 3", "training", "exactly one"),
        ('classes: ["0", "1"]', 'classes: ["1", "1"]', "task", "once"),
        ('name: "FedProx"', 'name: "FedMagic"', "federation.strategy", "FedYogi"),
        ('"prob": 0.5', '"prob": 5', "data.augmentation[0]", "not a probability"),
        ("warmup_rounds: 0", "warmup_rounds: 500", "training.schedule.warmup_rounds", "no round after the warm-up"),
        ("average_last: 1", "average_last: 99", "federation", "more than rounds"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_is_allowed(old: str, new: str, key: str, says: str) -> None:
    text = broken(old, new)
    with pytest.raises(PlanError) as caught:
        parse_plan(text, name="p.yaml")
    message = str(caught.value)
    assert f": {key}:" in message
    assert says in message
    line = int(message.split(":")[1])
    section = key.split(".")[0].split("[")[0]
    assert key == "plan" or line >= line_with(text, f"{section}:")
    if key.count(".") and "[" not in key and key not in ("federation.strategy",):
        assert line == line_with(text, new.splitlines()[0].strip())


@pytest.mark.parametrize(
    ("key", "word", "written"),
    [
        ("federation.aggregation", "median", "{name: median}"),
        ("federation.compression", "quantised", "{name: quantised}"),
        ("privacy", "none", "{mechanism: none}"),
    ],
)
def test_a_name_where_a_mapping_is_expected_is_shown_as_one(key: str, word: str, written: str) -> None:
    value = yaml.safe_load(plan_template())
    *parents, last = key.split(".")
    part = value
    for parent in parents:
        part = part[parent]
    part[last] = word
    with pytest.raises(PlanError, match=f"{key}: write {re.escape(written)}"):
        parse_plan(json.dumps(value))


def test_every_error_is_explained_at_once() -> None:
    text = broken("mu: 0.01", "mu: -1").replace("rounds: 20", "rounds: 0")
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping"),
        ("- 1", "mapping"),
        ("a: [", "line 1"),
        ("a: 1\na: 2", "twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("1: 2", "must be text"),
        ("!!python/object/apply:os.system [true]", "constructor"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_not_a_plan_at_all_is_refused(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        parse_plan(text)


def test_a_missing_or_binary_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="plan new"):
        load_plan(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="UTF-8"):
        load_plan(tmp_path / "b.yaml")


def test_fedprox_must_not_be_called_fedavg() -> None:
    with pytest.raises(PlanError, match="name it FedProx"):
        parse_plan(broken('name: "FedProx"', 'name: "FedAvg"'))
    parse_plan(broken('name: "FedProx"', 'name: "FedAvg"').replace("mu: 0.01", "mu: 0"))


def test_mixing_needs_the_hospital_s_own_model() -> None:
    with pytest.raises(PlanError, match="set alone to true"):
        parse_plan(broken('personalise: "none"', 'personalise: "mix"').replace("alone: true", "alone: false"))
