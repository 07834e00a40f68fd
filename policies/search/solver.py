"""The short way to use a trained model: ``Solver.load("o1_model.pth").solve("12*(34+5)", paths=8)``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Binary, Expr, Function, Task
from o1nano.envs.language.vocab import EXAMPLES, TOKENS
from o1nano.envs.problems import FAMILIES, family_of
from o1nano.envs.problems.expert import expert_requirements
from o1nano.envs.problems.problem import Level, Problem, draw, fits_frame, read
from o1nano.envs.seeding import stream
from o1nano.policies.device import find_device
from o1nano.policies.model_file import load_all
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.record import TrainingRecord, unknown_words
from o1nano.policies.search.answers import Answer, Progress, explore, no_progress
from o1nano.policies.search.events import Observe
from o1nano.policies.search.options import SearchOptions, Select
from o1nano.policies.search.search import search

MOST_KINDS = 5
"""Most kinds of problems that ``Solver.unlearned`` names."""
_SAMPLES = 32  # problems of a level that show its traits


class Solver:
    """A model that answers.

    Args:
        network: The model.
        config: Limits and grammar of the environment that it was trained in.
        batch: Number of call stacks that are decoded together.
        seed: Seed of all sampling.
        record: What the model was trained on; None if it is unknown.
        tokens: The tokens that it knows; by default all.

    Raises:
        ConfigurationError: If ``batch`` is below 1.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        config: EnvConfig,
        batch: int = 256,
        seed: int = 0,
        record: TrainingRecord | None = None,
        tokens: Collection[str] = TOKENS,
    ) -> None:
        if batch < 1:
            raise ConfigurationError(f"batch={batch}; expected at least 1")
        self.network = network
        self.config = config
        self.batch = batch
        self.seed = seed
        self.record = record
        self.tokens = frozenset(tokens)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", batch: int = 256, seed: int = 0) -> Solver:
        """Loads a model.

        Args:
            path: An ``o1_model.pth``, or the folder of a run.
            device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
            batch: Number of call stacks that are decoded together.
            seed: Seed of all sampling.

        Raises:
            CheckpointError: If the file is not a model file.
            ConfigurationError: If there is no such device.
        """
        found = load_all(path, find_device(device))
        return cls(found.network, found.env, batch, seed, found.record, found.tokens)

    def make_room(self, levels: Iterable[Level]) -> None:
        """Raises the limits to twice the tokens and depth of the expert's solutions, if they are lower.

        The length of a frame stays as in training.

        Args:
            levels: What will be asked.
        """
        for level in levels:
            # The model may think longer than the expert; twice as long leaves room for mistakes that it revises.
            needed = expert_requirements(level, self.config.frame_length, self.config.call_stack, mistake_rate=0)
            self.config = replace(
                self.config,
                max_tokens=max(self.config.max_tokens, 2 * needed.tokens),
                depth=max(self.config.depth, 2 * needed.depth),
            )

    def unlearned(self, problems: Iterable[Problem]) -> list[str]:
        """Returns the kinds of problems that were not in the model's training. It answers these too, but unreliably.

        The model file has a record of what was in the training. In a file without one, it follows from the levels of
        the environment, which say nothing about sizes.

        Args:
            problems: What the model is asked.

        Returns:
            Each kind once: ``gcd``, ``expression with negative numbers`` if it knows that family without them, or
            ``addition/25 (it learned sizes up to 20)``; at most ``MOST_KINDS``.
        """
        # A dictionary as an ordered set: each kind once, in the order of the problems.
        kinds: dict[str, None] = {}
        if self.record is None:
            for problem in problems:
                kinds.update(dict.fromkeys(self._outside_levels(problem)))
            return list(kinds)

        for problem in problems:
            beyond = self.record.beyond(problem)
            if beyond:
                kinds[beyond] = None
        return list(kinds)[:MOST_KINDS]

    def _outside_levels(self, problem: Problem) -> list[str]:
        """Returns what sets a problem apart from all levels of the environment; empty if nothing does."""
        # Derived families count too: chains are expressions.
        family = family_of(problem.expr)
        shown = [level for level in self.config.levels if isinstance(FAMILIES[level.family].origin, type(family))]
        if not shown:
            return [family.name]

        # Most problems have no traits. For these no samples need to be drawn.
        traits = traits_of(problem.expr)
        if not traits:
            return []
        return [f"{family.name} with {trait}" for trait in sorted(traits - drawn_traits(tuple(shown)))]

    def read(self, text: str) -> Problem:
        """Reads a problem in symbols or words.

        Args:
            text: Such as ``"12*(34+5)"`` or ``"What is 98 plus 45?"``.

        Raises:
            O1NanoError: If it is not a problem, does not fit in a frame of the model, or has a word that the model does
                not know.
        """
        problem = fits_frame(read(text), self.config.frame_length)
        words = unknown_words(problem.prompt, self.tokens)
        if words:
            # A long problem would hide the message.
            shown = repr(text.strip()[:80])
            raise ProblemError(
                f"the model was not trained with {words[0]!r} in {shown}; expected, for example, {EXAMPLES}"
            )
        return problem

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
            select: How one of their answers is chosen: ``"majority"``, ``"likelihood"``, ``"check"`` or ``"oracle"``.
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
        observe: Observe | None = None,
    ) -> list[Answer]:
        """Answers problems together.

        Args:
            problems: Problems, or texts of problems.
            options: How they are answered. By default with one greedy path.
            keep_frames: Whether answers carry their hidden reasoning.
            progress: Called with the number of attempts that have ended.
            observe: Called with every event (``search.events``) of the decoding; what it raises ends the search.

        Raises:
            O1NanoError: If a problem cannot be read, or an option makes no sense.
        """
        # Texts are read before anything is solved, so that a mistake in the last one costs nothing.
        posed = []
        for problem in problems:
            posed.append(problem if isinstance(problem, Problem) else self.read(problem))
        options = options or SearchOptions()
        return search(self.network, posed, self.config, options, self.batch, self.seed, keep_frames, progress, observe)

    def explore_all(
        self,
        problems: Sequence[Problem | str],
        options: SearchOptions,
        progress: Progress = no_progress,
    ) -> list[list[Answer]]:
        """Returns every attempt at each problem, without choosing an answer.

        Args:
            problems: Problems, or texts of problems.
            options: How many attempts, and at which temperature.
            progress: Called with the number of attempts that have ended.

        Raises:
            O1NanoError: If a problem cannot be read, or an option makes no sense.
        """
        read = [problem if isinstance(problem, Problem) else self.read(problem) for problem in problems]
        options.validate()
        return explore(self.network, read, self.config, options, self.batch, self.seed, progress=progress)


def traits_of(task: Task) -> set[str]:
    """Returns what is special about the operands of a problem: negative numbers, calculations as arguments."""
    # A function has any number of operands, an operation two.
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
    """Returns the traits of the problems of some levels, found in a sample of each."""
    # A level does not list its traits, but a sample shows them, always the same one.
    traits: set[str] = set()
    for level in levels:
        rng = stream("traits", level)
        for _ in range(_SAMPLES):
            traits |= traits_of(draw(level, rng, "all").expr)
    return frozenset(traits)
