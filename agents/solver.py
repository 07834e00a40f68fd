"""The short way to use a trained model: ``Solver.load("o1_model.pth").solve("12*(34+5)", paths=8)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from o1nano.agents.checkpoint import load
from o1nano.agents.demonstrations import demands
from o1nano.agents.machine import find_device
from o1nano.agents.reports import fitting
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.pose import Level, Problem, read
from o1nano.envs.problems import FAMILIES, family_of
from o1nano.policies.answers import Answer
from o1nano.policies.choice import Select
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search import Search, search
from o1nano.policies.threads import Thinking


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
            raise ConfigurationError(f"batch={batch}; accepted: at least 1")
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
            needed = demands(level, self.config.frame_length, self.config.call_stack, slip_rate=0)
            tokens, depth = max(self.config.max_tokens, 2 * needed.tokens), max(self.config.depth, 2 * needed.depth)
            self.config = replace(self.config, max_tokens=tokens, depth=depth)

    def unlearned(self, problems: Iterable[Problem]) -> list[str]:
        """Returns the families of problems that the model was never shown any of: it answers these too, somehow."""
        families = {family.name: family for family in (family_of(problem.expr) for problem in problems)}
        shown = [FAMILIES[name] for name in self.config.operations]
        return [name for name, family in families.items() if not any(isinstance(each, type(family)) for each in shown)]

    def read(self, text: str) -> Problem:
        """Reads a problem in symbols or words.

        Raises:
            O1NanoError: If it is none, or leaves no room in a frame of the model.
        """
        return fitting(read(text), self.config.frame_length)

    def solve(
        self,
        problem: str,
        paths: int = 1,
        select: Select = "majority",
        temperature: float | None = None,
        thinking: Thinking | None = None,
        keep_frames: bool = False,
    ) -> Answer:
        """Answers one problem.

        Args:
            problem: Such as ``"12*(34+5)"`` or ``"What is 98 plus 45?"``.
            paths: Attempts.
            select: Which of them is believed.
            temperature: By default 0 (greedy) for one path and 1 for several.
            thinking: How each of them thinks.
            keep_frames: Whether the answer carries its hidden reasoning.
        """
        how = Search(paths, temperature, select, thinking or Thinking())
        return self.solve_all([self.read(problem)], how, keep_frames)[0]

    def solve_all(
        self,
        problems: Sequence[Problem | str],
        how: Search | None = None,
        keep_frames: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Answer]:
        """Answers problems, or texts that say one, together. See ``search``."""
        read = [problem if isinstance(problem, Problem) else self.read(problem) for problem in problems]
        return search(self.network, read, self.config, how or Search(), self.batch, self.seed, keep_frames, progress)
