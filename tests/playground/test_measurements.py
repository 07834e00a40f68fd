"""What a model can do, from the file that exists, and the problems to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from o1nano.envs.problems.problem import Level
from o1nano.playground.examples import learned
from o1nano.playground.measurements import measurements
from o1nano.policies.record import LevelRecord, TrainingRecord

RECORD = TrainingRecord({"addition/2": LevelRecord(True, problems=200, accuracy=0.9), "gcd/1": LevelRecord(True)}, ())


def cell(name: str, accuracy: float) -> dict[str, Any]:
    return {"name": name, "n": 50, "accuracy": accuracy, "low": accuracy / 2, "high": 1.0, "more": 3}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "o1_model.pth"


def test_a_run_has_figures_before_and_after(model: Path) -> None:
    before = [cell("addition/1", 0.5), cell("list_sum/1x3", 0.25)]
    after = [cell("addition/1", 0.75), cell("addition/2", 0.5), cell("list_sum/1x3", 1.0), cell("unknown/1", 1.0)]
    model.with_name("results.json").write_text(json.dumps({"before": before, "after": after}))
    for given in (model, model.parent):
        found = measurements(given, RECORD)
        assert found["source"] == "results.json"
        addition, lists = found["families"]
        assert [(row["size"], row["before"], row["after"]) for row in addition["rows"]] == [
            ("1", 0.5, 0.75),
            ("2", None, 0.5),
        ]
        assert lists["family"] == "list sum" and lists["rows"][0]["size"] == "1x3"


def test_a_report_beside_the_model_comes_next_then_its_own_record(model: Path) -> None:
    model.with_suffix(".json").write_text(json.dumps({"cells": [cell("division/1", 0.5)]}))
    found = measurements(model, RECORD)
    assert (found["source"], found["families"][0]["family"]) == ("o1_model.json", "division")

    model.with_suffix(".json").write_text("{")
    found = measurements(model, RECORD)
    (family,) = found["families"]
    (row,) = family["rows"]
    assert (family["family"], row["size"], row["n"], row["after"], row["before"]) == ("addition", "2", 200, 0.9, None)
    assert row["low"] == pytest.approx(0.851, abs=1e-3) and row["high"] == pytest.approx(0.934, abs=1e-3)


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"after": []}'])
def test_without_measurements_there_is_nothing(model: Path, content: str | None) -> None:
    if content is not None:
        model.with_name("results.json").write_text(content)
    assert measurements(model, None) == {"source": "", "families": []}


def test_examples_are_of_a_usual_size_that_was_learned() -> None:
    demonstrated = ("addition/1", "addition/3", "addition/9", "chain/7", "chain/5x2")
    levels = {name: LevelRecord(True) for name in demonstrated} | {"gcd/2": LevelRecord()}
    assert learned(TrainingRecord(levels, ())) == {"addition": Level("addition", 3), "chain": Level("chain", 5, 2)}
