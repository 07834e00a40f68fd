"""The curves of each size are a run of their own, because TensorBoard gives colours to runs, and are not noise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stable_baselines3.common.logger import Logger

from o1nano.agents.run.callbacks import EpisodeStatisticsCallback
from o1nano.agents.run.tensorboard import WINDOW, RunLogger
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.core.usage import EPISODE_USAGE
from tests.helpers.events import scalars


def write(logger: RunLogger, step: int, **values: float) -> None:
    for name, value in values.items():
        logger.record(name.replace("__", "/"), value)
    logger.dump(step)


def test_every_size_has_a_folder_of_its_own(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    write(logger, 10, accuracy__addition__1=0.5, accuracy__division__1=0.25, reward__true=0.75)
    write(logger, 20, accuracy__addition__2=1.0, accuracy__expression__1x3=0.125)
    logger.close()
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("events.*")}
    assert folders == {".", "size_1", "size_2", "size_1x3"}
    assert scalars(tmp_path) == {
        "accuracy/addition/1": [(10, "0.5")],
        "accuracy/division/1": [(10, "0.25")],
        "accuracy/addition/2": [(20, "1.0")],
        "accuracy/expression/1x3": [(20, "0.125")],
        "reward/true": [(10, "0.75")],
    }
    assert set(scalars(tmp_path / "size_1")) == {"accuracy/addition", "accuracy/division"}


def test_a_resumed_run_drops_what_came_after_the_cut(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    write(logger, 10, accuracy__addition__1=0.5)
    cut = logger.state_dict()
    write(logger, 20, accuracy__addition__1=0.0, accuracy__addition__2=0.0)
    logger.close()

    resumed = RunLogger(tmp_path, cut)
    write(resumed, 20, accuracy__addition__1=0.75)
    write(resumed, 30, accuracy__addition__2=0.25)
    resumed.close()
    assert scalars(tmp_path) == {
        "accuracy/addition/1": [(10, "0.5"), (20, "0.75")],
        "accuracy/addition/2": [(30, "0.25")],
    }


def rollout(statistics: EpisodeStatisticsCallback, results: list[bool]) -> Any:
    """The success of addition/1 that a rollout with these results logs; None if it logs none."""
    usage = dict.fromkeys(EPISODE_USAGE, 0)
    infos = [{**usage, "level": "addition/1", "outcome": "answered", "is_success": solved} for solved in results]
    statistics.model = SimpleNamespace(logger=Logger(None, []), num_timesteps=0)  # type: ignore[assignment]
    statistics.locals = {"infos": infos, "dones": [True] * len(infos)}
    statistics.on_step()
    statistics.on_rollout_end()
    return statistics.logger.name_to_value.get("accuracy/addition/1")


def test_a_point_is_the_mean_of_a_full_window() -> None:
    assert WINDOW == 64
    curriculum = AdaptiveCurriculum({"addition": 1}, {"addition": 1})
    statistics = EpisodeStatisticsCallback(curriculum)
    assert rollout(statistics, [True] * 40) is None

    # A run that is cut here continues with what it has.
    resumed = EpisodeStatisticsCallback(curriculum)
    resumed.load_state_dict(statistics.state_dict())
    assert rollout(resumed, [True] * 8 + [False] * 16) == pytest.approx(48 / 64)
    assert rollout(resumed, [False] * 63) is None
    assert rollout(resumed, [True, True]) == pytest.approx(2 / 65)
