"""TensorBoard files that agree with a run, however often it is cut and resumed."""

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
        "KL": ["Multiline", ["train/approx_kl", "train/reference_kl"]],
        "critic, explained variance": ["Multiline", ["critic/.*"]],
        "rewards": ["Multiline", ["reward/.*"]],
        "seconds": ["Multiline", ["time/.*_seconds"]],
    },
}


class _Events(TensorBoardOutputFormat):
    """Stable-Baselines3's format with a writer that tells a running TensorBoard to drop later steps."""

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._is_closed = False


class RunLogger(Logger):
    """Stable-Baselines3's logger with one axis of tokens: those of the warm start, then those of PPO.

    Args:
        folder: The run's folder.
        state: What ``state_dict`` returned when the run was cut; None for a new run. What was written after that is
            removed.

    Attributes:
        start: Tokens of the phases before, added to every step.
        scale: Number of processes, by which every step is multiplied.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        state = state or {"start": 0, "step": 0, "scale": 1, "events": {}, "pending": []}
        self.start = state["start"]
        self.step = state["step"]
        self.scale = state["scale"]

        # The files as they were when the run was cut. Files that have begun since then are not known.
        for path in folder.glob(_EVENTS):
            size = state["events"].get(path.name)
            if size is None:
                path.unlink()
            else:
                os.truncate(path, size)

        # A running TensorBoard has read the removed part already; the new file tells it to drop that.
        purge_step = self.step + 1 if state["events"] else None
        self.events = _Events(folder, purge_step)
        super().__init__(str(folder), [self.events])
        for key, value, count, excluded in state["pending"]:
            self.name_to_value[key] = value
            self.name_to_count[key] = count
            self.name_to_excluded[key] = excluded

    def dump(self, step: int = 0) -> None:
        """Writes what has been recorded.

        Args:
            step: Tokens of one process since the beginning of the phase.
        """
        self.step = self.start + step * self.scale
        super().dump(self.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns the lengths of the files, and the numbers that the next ``dump`` will write."""
        self.events.writer.flush()
        pending = []
        for key, value in self.name_to_value.items():
            pending.append([key, float(value), self.name_to_count[key], self.name_to_excluded[key]])

        sizes = {path.name: path.stat().st_size for path in self.folder.glob(_EVENTS)}
        return {"start": self.start, "step": self.step, "scale": self.scale, "events": sizes, "pending": pending}

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration as a table, and the layout of the page "Custom Scalars".

        Args:
            config: The run's, with nested mappings.
        """
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
        """Records the learning curve, the seconds of each phase, and the hyperparameters with the final figures.

        Args:
            config: The run's, with nested mappings.
            averages: ``"average_before"`` and ``"average_after"``: held-out accuracy of the demonstrated sizes.
            seconds: Of each phase.
            history: Tokens of PPO so far and success, of each rollout.
        """
        figure = learning_curve(history, averages["average_before"], averages["average_after"])
        self.record("evaluation/learning_curve", as_image(figure), exclude=NOT_TEXT)
        for name, value in seconds.items():
            self.record(f"time/seconds_of_{name}", value)

        # The page "HParams" shows the metrics that have scalars of the same names.
        finals = {f"final/{name}": value for name, value in averages.items()}
        for name, value in finals.items():
            self.record(name, value)

        # It knows numbers and text only: None is left out.
        hyperparameters = {}
        for name, value in flat(config).items():
            if isinstance(value, tuple):
                hyperparameters[name] = " ".join(map(str, value))
            elif value is not None:
                hyperparameters[name] = value
        self.record("hparams", HParam(hyperparameters, finals), exclude=NOT_TEXT)


class SilentLogger(Logger):
    """The logger of every process but the first: it writes nothing."""

    start = 0
    scale = 1

    def __init__(self) -> None:
        super().__init__(None, [])

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing, since there is no file."""
        return {}

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def finish(self, *args: Any) -> None:
        """Writes nothing."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested configuration as one level with names such as ``ppo.n_envs``.

    Args:
        config: With nested mappings.
        prefix: Put before every name.
    """
    out: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value
    return out
