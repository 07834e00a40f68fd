"""The short way to use a trained model: ``Solver.load("o1_model.pth").solve("12*(34+5)", paths=8)``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Binary, Expr, Function, Task
from o1nano.envs.problems import FAMILIES, family_of
from o1nano.envs.problems.expert import expert_requirements
from o1nano.envs.problems.problem import Level, Problem, draw, fits_frame, read
from o1nano.envs.seeding import stream
from o1nano.policies.device import find_device
from o1nano.policies.model_file import load
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search.answers import Answer, Progress, no_progress
from o1nano.policies.search.options import SearchOptions, Select
from o1nano.policies.search.search import search

_SEEN = 32  # problems of a level that show what is drawn at it


class Solver:
    """A model that answers.

    Args:
        network: The model.
        config: Limits and grammar of the environment that it was trained in.
        batch: Call stacks that are decoded together.
        seed: Of all sampling.

    Raises:
        ConfigurationError: If nothing would be decoded together.
    """

    def __init__(self, network: ReasoningNetwork, config: EnvConfig, batch: int = 256, seed: int = 0) -> None:
        if batch < 1:
            raise ConfigurationError(f"batch={batch}; expected at least 1")
        self.network, self.config, self.batch, self.seed = network, config, batch, seed

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", batch: int = 256, seed: int = 0) -> Solver:
        """Reads an ``o1_model.pth``, or the one in the folder of a run.

        Raises:
            CheckpointError: If it is none.
            ConfigurationError: If there is no such device.
        """
        return cls(*load(path, find_device(device)), batch, seed)

    def make_room(self, levels: Iterable[Level]) -> None:
        """Lets solutions have twice the tokens and depth of the expert's on some levels, if the limits are lower.

        A frame stays as long as those that the model was trained with.
        """
        for level in levels:
            needed = expert_requirements(level, self.config.frame_length, self.config.call_stack, mistake_rate=0)
            tokens, depth = max(self.config.max_tokens, 2 * needed.tokens), max(self.config.depth, 2 * needed.depth)
            self.config = replace(self.config, max_tokens=tokens, depth=depth)

    def unlearned(self, problems: Iterable[Problem]) -> list[str]:
        """Returns the kinds of problems that the model was never shown any of. It answers these too, somehow.

        What it was shown follows from the levels of its environment: what they draw, it knows.

        Args:
            problems: What the model is asked.

        Returns:
            Each kind once: ``gcd``, or ``expression with negative numbers`` if it knows that family without them.
        """
        kinds: dict[str, None] = {}
        for problem in problems:
            family = family_of(problem.expr)
            # A family knows what those derived from it draw: chains are expressions.
            shown = [level for level in self.config.levels if isinstance(FAMILIES[level.family], type(family))]
            if not shown:
                kinds[family.name] = None
                continue
            traits = traits_of(problem.expr)
            for trait in sorted(traits - drawn_traits(tuple(shown)) if traits else ()):
                kinds[f"{family.name} with {trait}"] = None
        return list(kinds)

    def read(self, text: str) -> Problem:
        """Reads a problem in symbols or words.

        Raises:
            O1NanoError: If it is none, or leaves no room in a frame of the model.
        """
        return fits_frame(read(text), self.config.frame_length)

    def solve(
        self,
        problem: str,
        paths: int = 1,
        select: Select = "majority",
        temperature: float | None = None,
        keep_frames: bool = False,
    ) -> Answer:
        """Answers one problem. ``solve_all`` has every option of the search.

        Args:
            problem: Such as ``"12*(34+5)"`` or ``"What is 98 plus 45?"``.
            paths: Number of attempts.
            select: How one of their answers is chosen, see ``SearchOptions``.
            temperature: By default 0 (greedy) for one path and 1 for several.
            keep_frames: Whether the answer carries its hidden reasoning.

        Raises:
            O1NanoError: If the problem cannot be read, or an argument makes no sense.
        """
        options = SearchOptions(paths, temperature, select)
        return self.solve_all([problem], options, keep_frames)[0]

    def solve_all(
        self,
        problems: Sequence[Problem | str],
        options: SearchOptions | None = None,
        keep_frames: bool = False,
        progress: Progress = no_progress,
    ) -> list[Answer]:
        """Answers problems together, in one batch.

        Args:
            problems: Problems, or texts of problems.
            options: How they are answered; by default by one greedy path.
            keep_frames: Whether answers carry their hidden reasoning.
            progress: Called with the number of attempts that have ended.

        Raises:
            O1NanoError: If a problem cannot be read, or an option makes no sense.
        """
        read = [problem if isinstance(problem, Problem) else self.read(problem) for problem in problems]
        options = options or SearchOptions()
        return search(self.network, read, self.config, options, self.batch, self.seed, keep_frames, progress)


def traits_of(task: Task) -> set[str]:
    """Returns what is particular about the operands of a problem."""
    operands = task.args if isinstance(task, Function) else (task.left, task.right)
    traits = set()
    if any(map(_has_negative, operands)):
        traits.add("negative numbers")
    if isinstance(task, Function) and any(isinstance(operand, Binary) for operand in operands):
        traits.add("calculations as arguments")
    return traits


def _has_negative(expr: Expr) -> bool:
    if isinstance(expr, int):
        return expr < 0
    return _has_negative(expr.left) or _has_negative(expr.right)


@lru_cache
def drawn_traits(levels: tuple[Level, ...]) -> frozenset[str]:
    """Returns the traits of the problems of some levels, seen on a few of each."""
    traits: set[str] = set()
    for level in levels:
        rng = stream("traits", level)
        for _ in range(_SEEN):
            traits |= traits_of(draw(level, rng, "all").expr)
    return frozenset(traits)
