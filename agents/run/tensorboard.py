"""TensorBoard files that agree with a run, however often it is cut and resumed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import HParam, Logger, TensorBoardOutputFormat
from torch.utils.tensorboard.writer import SummaryWriter

from o1nano.agents.evaluation.figures import as_image, learning_curve
from o1nano.envs.problems import FOUR_OPERATIONS

NOT_TEXT = ("stdout", "log", "json", "csv")
WINDOW = 64
"""Episodes of which a point of a size's curve is the mean, at least."""
_EVENTS = "events.out.tfevents.*"
# TensorBoard gives a colour to a run, not to a tag. So the curves of each size are a run of their own below the run's.
_OF_SIZE = re.compile(r"(?P<curve>accuracy/\w+)/(?P<size>\w+)", re.ASCII)
LAYOUT = {
    "learning": {
        "solved": ["Multiline", ["warm_start/accuracy", "rollout/success_rate", "evaluation/average"]],
        **{family: ["Multiline", [f"accuracy/{family}"]] for family in FOUR_OPERATIONS},
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
    """Stable-Baselines3's format, with a writer of its own for each size.

    Args:
        folder: The run's.
        purge_step: Tells a running TensorBoard to drop this step and later ones.
    """

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        self.folder = folder
        self.purge_step = purge_step
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        self.sizes: dict[str, SummaryWriter] = {}
        self._is_closed = False

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Writes ``accuracy/addition/3`` as ``accuracy/addition`` of the run ``size_3``, and the rest as it is."""
        # Stable-Baselines3's own writer gets what belongs to no size.
        rest = {}
        for key, value in key_values.items():
            found = _OF_SIZE.fullmatch(key)
            if found is None:
                rest[key] = value
            else:
                self._of_size(found["size"]).add_scalar(found["curve"], value, step)
        super().write(rest, {key: key_excluded[key] for key in rest}, step)

        # Whoever watches the run sees the point now and not minutes later.
        self.flush()

    def _of_size(self, size: str) -> SummaryWriter:
        # Sizes open one after the other, so their writers are made when they are first used.
        if size not in self.sizes:
            self.sizes[size] = SummaryWriter(str(self.folder / f"size_{size}"), purge_step=self.purge_step)
        return self.sizes[size]

    def flush(self) -> None:
        """Writes to the files what is buffered."""
        for writer in (self.writer, *self.sizes.values()):
            writer.flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self.sizes.values():
            writer.close()
        super().close()


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
        for path in folder.rglob(_EVENTS):
            size = state["events"].get(path.relative_to(folder).as_posix())
            if size is None:
                path.unlink()
            else:
                os.truncate(path, size)

        # A running TensorBoard has read the removed part already; the new file tells it to drop that.
        purge_step = self.step + 1 if state["events"] else None
        self.events = _Events(folder, purge_step)
        super().__init__(str(folder), [self.events])

        # What was recorded but not written yet; means continue with the count of values that they already hold.
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
        # Lengths mean nothing while some of the content is still in a buffer.
        self.events.flush()
        pending = []
        for key, value in self.name_to_value.items():
            pending.append([key, float(value), self.name_to_count[key], self.name_to_excluded[key]])

        sizes = {}
        for path in self.folder.rglob(_EVENTS):
            sizes[path.relative_to(self.folder).as_posix()] = path.stat().st_size
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
