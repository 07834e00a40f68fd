"""reasoning-gym: the problems as a registered data set, ``reasoning_gym.create_dataset("o1nano", ...)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS, register_dataset

from o1nano.envs.core.config import require_whole
from o1nano.envs.problems.problem import Phrasing, Split
from o1nano.envs.text import Row, dataset, score

NAME = "o1nano"


@dataclass
class O1NanoConfig:
    """The arguments of ``create_dataset("o1nano", ...)``.

    Attributes:
        level: A level, such as ``"multiplication/3"``.
        split: ``"train"``, ``"test"`` or ``"all"``.
        phrasing: ``"symbolic"``, ``"words"`` or ``"mixed"``.
        seed: Of the data set.
        size: How many rows.
    """

    level: str = "addition/3"
    split: Split = "train"
    phrasing: Phrasing = "mixed"
    seed: int = 0
    size: int = 500

    def validate(self) -> None:
        """Raises ``ConfigurationError`` if a value makes no sense."""
        require_whole("size", self.size, 1)
        dataset(self.level, 1, self.split, self.seed, phrasing=self.phrasing)


class O1NanoDataset(ProceduralDataset):  # type: ignore[misc]
    """Rows of ``o1nano.envs.text.dataset``, scored exactly.

    Args:
        config: Which rows.
    """

    def __init__(self, config: O1NanoConfig) -> None:
        super().__init__(config=config, seed=config.seed, size=config.size)
        rows = dataset(config.level, config.size, config.split, config.seed, phrasing=config.phrasing)
        self._rows = [_with_source(row) for row in rows]

    def __getitem__(self, idx: int) -> Row:
        """Returns a row."""
        return self._rows[idx]

    def score_answer(self, answer: str | None, entry: Mapping[str, Any]) -> float:
        """Returns 1.0 for an exactly right answer, otherwise 0.0: there is no partial credit."""
        return score(answer, entry)


def register() -> None:
    """Registers the data set; a second call changes nothing."""
    if NAME not in DATASETS:
        register_dataset(NAME, O1NanoDataset, O1NanoConfig)


def _with_source(row: Row) -> Row:
    """Adds what reasoning-gym's own rows say of themselves."""
    metadata = {"source_dataset": NAME, "source_index": row["metadata"]["index"], **row["metadata"]}
    return {**row, "metadata": metadata}


register()
