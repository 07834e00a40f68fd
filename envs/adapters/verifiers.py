"""verifiers (v1): the problems as a taskset with an exact reward."""

from __future__ import annotations

from collections.abc import Iterator

import verifiers.v1 as vf
from verifiers.v1.types import content_text

from o1nano.envs.problems.problem import Phrasing, Split
from o1nano.envs.text import ANSWER_FORMAT, dataset, score


class O1NanoData(vf.TaskData):  # type: ignore[misc]
    """One row.

    Attributes:
        question: What is asked.
        answer: An answer that is right.
        level: The level that it was drawn from.
    """

    question: str
    answer: str
    level: str


class O1NanoTask(vf.Task[O1NanoData]):  # type: ignore[misc]
    """One problem: the last message of the model is paid 1.0 if its answer is exactly right."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def exact(self, trace: vf.Trace) -> float:
        """Pays the answer in the last message."""
        last = trace.nodes[-1].message if trace.nodes else None
        text = content_text(last.content) if last is not None and last.role == "assistant" else None
        return score(text, {"question": self.data.question})

    async def validate(self, runtime: vf.Runtime | None) -> bool:
        """Returns whether the row's own answer is paid."""
        return score(self.data.answer, {"question": self.data.question}) == 1.0


class O1NanoConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which rows: see ``o1nano.envs.text.dataset``.

    Attributes:
        level: Their level.
        n: How many.
        split: The side of the split.
        phrasing: Symbols, words, or both.
        seed: Of the data set.
    """

    level: str = "addition/3"
    n: int = 500
    split: Split = "train"
    phrasing: Phrasing = "mixed"
    seed: int = 0


class O1NanoTaskset(vf.Taskset[O1NanoTask, O1NanoConfig]):  # type: ignore[misc]
    """The problems of a level: ``O1NanoTaskset(O1NanoConfig(level="multiplication/3", n=1000))``."""

    def load(self) -> Iterator[O1NanoTask]:
        """Yields the tasks."""
        config = self.config
        for row in dataset(config.level, config.n, config.split, config.seed, phrasing=config.phrasing):
            data = O1NanoData(
                prompt=row["question"],
                system_prompt=ANSWER_FORMAT,
                question=row["question"],
                answer=row["answer"],
                level=row["metadata"]["level"],
            )
            yield O1NanoTask(data, config.task)
