"""A run is followed through its own files, while it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from o1nano.agents.run.tensorboard import NOT_TEXT, RunLogger
from o1nano.playground.runs import RunError, Runs


def begin(folder: Path) -> RunLogger:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"config": {"seed": 3, "iterations": 5, "secret": "x"}}))
    return RunLogger(folder)


def test_the_curves_grow_with_the_files(tmp_path: Path) -> None:
    logger = begin(tmp_path / "first")
    runs = Runs(tmp_path)
    assert runs.names() == [{"name": "first", "finished": False}]
    assert runs.read("first")["success"] == {}

    logger.record("accuracy/list_sum/2", 0.5)
    logger.record("curriculum/list_sum", 2)
    logger.record("rollout/success_rate", 0.25)
    logger.record("transcript/frontier", "```\n1+1\n<problem> 1 + 1 =\n```", exclude=NOT_TEXT)
    logger.dump(100)
    found = runs.read("first")
    assert found["success"] == {"list sum": {"2": [[100, 0.5]]}}
    assert found["frontier"] == {"list sum": [[100, 2.0]]}
    assert found["solved"] == {"rollout/success_rate": [[100, 0.25]]}
    assert found["transcripts"] == {"frontier": "1+1\n<problem> 1 + 1 ="}
    assert found["config"] == {"seed": 3, "iterations": 5}

    logger.record("accuracy/list_sum/2", 0.75)
    logger.dump(200)
    logger.close()
    (tmp_path / "first" / "results.json").write_text("{}")
    found = runs.read("first")
    assert found["success"]["list sum"]["2"] == [[100, 0.5], [200, 0.75]] and found["finished"]


@pytest.mark.parametrize("name", ["other", "..", ".", "", "../runs/first", "first/checkpoints", "/etc"])
def test_only_listed_runs_are_read(tmp_path: Path, name: str) -> None:
    begin(tmp_path / "runs" / "first").close()
    with pytest.raises(RunError, match="expected one of those under"):
        Runs(tmp_path / "runs").read(name)
