"""A run that begins with a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch as th

from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import CheckpointError, ConfigurationError
from o1nano.policies import model_file as checkpoint
from o1nano.policies.network.transformer import TransformerConfig
from tests.helpers.runs import SMALL_RUN, small_run
from tests.helpers.tiny import tiny_network
from train_rl import train

NO_STEPS = replace(SMALL_RUN.warm_start, steps=0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with an architecture and a frame length of its own."""
    path = tmp_path / "first.pth"
    checkpoint.save(path, tiny_network(), EnvConfig(frame_length=48), {})
    return path


@pytest.mark.integration
def test_it_begins_with_these_weights_and_continues_after_the_file_is_gone(tmp_path: Path, model: Path) -> None:
    changes = {"warm_start": NO_STEPS, "transformer": TransformerConfig(dropout=0.0), "init_from": str(model)}
    run = small_run(tmp_path / "run", **changes)
    first = checkpoint.load(model)[0]
    model.unlink()
    run.stopping = True
    with pytest.raises(KeyboardInterrupt):  # at the first place where it can be cut
        train(run)
    resumed = Run.resume(tmp_path / "run", Display(quiet=True))
    assert resumed.network.config == first.config
    for name, weights in first.state_dict().items():
        assert th.equal(resumed.network.state_dict()[name], weights), name
    train(resumed)
    trained = checkpoint.load(tmp_path / "run" / "o1_model.pth")[0]
    assert any(not th.equal(trained.state_dict()[name], weights) for name, weights in first.state_dict().items())
    assert resumed.results["warm_start"] == {"steps": 0, "tokens": 0}


def test_mistakes(model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model at 'nothing\.pth'; expected"):
        prepare(replace(SMALL_RUN, init_from="nothing.pth"))
    with pytest.raises(ConfigurationError, match=r"another architecture .*; expected .*embedding=32"):
        prepare(replace(SMALL_RUN, init_from=str(model)))


def test_runs_that_begin_in_the_same_second_have_names_of_their_own() -> None:
    unnamed = replace(SMALL_RUN, name="")
    assert len({prepare(unnamed).name for _ in range(5)}) == 5
