"""The mean of two networks, and the record of what was measured again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th

from benchmarks.recipes.average import Options, average, check, measured_again
from o1nano.agents.evaluation.held_out import Cell
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ConfigurationError
from o1nano.policies.record import LevelRecord, TrainingRecord


def test_the_mean_is_taken_tensor_by_tensor() -> None:
    before = {"a": th.tensor([0.0, 4.0]), "b": th.tensor([[8.0]])}
    after = {"a": th.tensor([2.0, 0.0]), "b": th.tensor([[0.0]])}
    found = average(before, after, 0.25)
    assert found["a"].tolist() == [0.5, 3.0]
    assert found["b"].tolist() == [[6.0]]


def test_accuracies_are_replaced_and_the_training_stays() -> None:
    record = TrainingRecord({"addition/1": LevelRecord(True, 9, 0.5, 20, 0.4)}, ("+",), ("n + n",))
    found = measured_again(record, [Cell("addition/1", 10, 9, 10, Usage()), Cell("gcd/2", 4, 1, 4, Usage())])
    assert found.levels["addition/1"] == LevelRecord(True, 9, 0.5, 10, 0.9)
    assert found.levels["gcd/2"] == LevelRecord(False, 0, 0.0, 4, 0.25)
    assert (found.tokens, found.forms) == (record.tokens, record.forms)


def test_a_file_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    check(Options(tmp_path, out=tmp_path / "new" / "o1_model.pth"))
    with pytest.raises(ConfigurationError, match=r"--out .*; expected a file"):
        check(Options(tmp_path, out=tmp_path / "new"))
