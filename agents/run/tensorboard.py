"""TensorBoard files that agree with a run however often it is cut and resumed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import HParam, Logger, TensorBoardOutputFormat
from torch.utils.tensorboard.writer import SummaryWriter

from o1nano.agents.evaluation.figures import as_image, learning_curve
from o1nano.envs.problems import FOUR_OPERATIONS

NOT_TEXT = ("stdout", "log", "json", "csv")
_EVENTS = "events.out.tfevents.*"
LAYOUT = {
    "learning": {
        "solved": ["Multiline", ["warm_start/accuracy", "rollout/success_rate", "evaluation/average"]],
        **{family: ["Multiline", [f"accuracy/{family}/.*"]] for family in FOUR_OPERATIONS},
        "largest open sizes": ["Multiline", ["curriculum/.*"]],
    },
    "answers": {
        "tokens by channel": ["Multiline", [f"usage/{name}_tokens" for name in ("reasoning", "completion", "subtask")]],
        "calls, depth, revisions": ["Multiline", ["usage/subtasks", "usage/depth", "usage/revisions"]],
    },
    "health": {
        "KL": ["Multiline", ["train/approx_kl", "train/kl_to_warm_start"]],
        "critic, explained variance": ["Multiline", ["critic/.*"]],
        "rewards": ["Multiline", ["reward/.*"]],
        "seconds": ["Multiline", ["time/.*_seconds"]],
    },
}


class _Events(TensorBoardOutputFormat):
    """The format of Stable-Baselines3 on a writer that tells a running TensorBoard to forget later steps."""

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._is_closed = False


class RunLogger(Logger):
    """Stable-Baselines3's logger on one axis of tokens: those of the warm start, then those of PPO.

    Args:
        folder: The run's folder.
        state: What ``state_dict`` returned when the run was cut. Whatever was written after that is removed.

    Attributes:
        start: Tokens of the phases before; added to every step.
        scale: Processes that take each step.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        state = state or {"start": 0, "step": 0, "scale": 1, "events": {}, "pending": []}
        for path in folder.glob(_EVENTS):
            size = state["events"].get(path.name)
            if size is None:
                path.unlink()
            else:
                os.truncate(path, size)
        self.start, self.step, self.scale = state["start"], state["step"], state["scale"]
        self.events = _Events(folder, self.step + 1 if state["events"] else None)
        super().__init__(str(folder), [self.events])
        for key, value, count, excluded in state["pending"]:
            self.name_to_value[key], self.name_to_count[key], self.name_to_excluded[key] = value, count, excluded

    def dump(self, step: int = 0) -> None:
        """Writes what has been recorded, at a step counted from the beginning of the phase."""
        self.step = self.start + step * self.scale
        super().dump(self.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns how far the files have been written, and the numbers that wait for the next ``dump``."""
        self.events.writer.flush()
        pending = [
            [key, float(value), self.name_to_count[key], self.name_to_excluded[key]]
            for key, value in self.name_to_value.items()
        ]
        sizes = {path.name: path.stat().st_size for path in self.folder.glob(_EVENTS)}
        return {"start": self.start, "step": self.step, "scale": self.scale, "events": sizes, "pending": pending}

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration as a table, and the layout of the page of custom scalars."""
        rows = [f"| {name} | {value} |" for name, value in flat(config).items()]
        table = "\n".join(["| field | value |", "| --- | --- |", *rows])
        self.record("config", table, exclude=NOT_TEXT)
        self.events.writer.add_custom_scalars(LAYOUT)
        self.dump(0)

    def finish(
        self,
        config: Mapping[str, Any],
        averages: Mapping[str, float],
        seconds: Mapping[str, float],
        history: Sequence[Sequence[float]],
    ) -> None:
        """Records the learning curve, the seconds of each phase, and the hyperparameters with the final figures."""
        figure = learning_curve(history, averages["average_before"], averages["average_after"])
        self.record("evaluation/learning_curve", as_image(figure), exclude=NOT_TEXT)
        for name, value in seconds.items():
            self.record(f"time/seconds_of_{name}", value)
        finals = {f"final/{name}": value for name, value in averages.items()}
        for name, value in finals.items():
            self.record(name, value)
        plain = {
            name: " ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in flat(config).items()
            if isinstance(value, (int, float, str, tuple))
        }
        self.record("hparams", HParam(plain, finals), exclude=NOT_TEXT)


class SilentLogger(Logger):
    """The logger of a process that is not the first: it writes nothing."""

    start, scale = 0, 1

    def __init__(self) -> None:
        super().__init__(None, [])

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: there is no file."""
        return {}

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes nothing."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested configuration with names such as ``ppo.n_envs``."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return out
