"""Episodes on call stacks: posing, stepping, verifying, reporting. Both environments are thin views of this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import ANSWERED, RUNNING, CallStacks, Ints, Outcome
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import LevelSampler, UniformLevels
from o1nano.envs.core.rewards import RewardSum, Transition
from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import answer_text
from o1nano.envs.problems.problem import (
    Level,
    Problem,
    draw,
    problem_from_prompt,
    read,
    read_level,
)

# Until the environment ends an episode, only a time limit can, which may be a wrapper that the environment never hears
# of: an episode that is cut then already says so.
UNFINISHED = "truncated"
_ENDS = [UNFINISHED if outcome == Outcome.RUNNING else outcome.name.lower() for outcome in Outcome]


class Episodes:
    """N episodes that advance together.

    Args:
        num_episodes: N.
        config: What they have in common.
        group_size: How many episodes, one after the other as they begin, are posed the same problem: attempts that can
            be compared.

    Attributes:
        stacks: The call stacks.
        problems: The problem of each episode.
        levels: Chooses the level of every new problem; a curriculum takes this place.
        rewards: What is paid: the true reward, and the terms that wrappers add to it.
        success: ``[N]``: whether the last step returned a root with the exact visible answer.
        over: ``[N]``: whether the episode has ended; also before the first one begins.
    """

    def __init__(self, num_episodes: int, config: EnvConfig, group_size: int = 1) -> None:
        self.config = config
        self.group_size = group_size
        self._group = _Group(None, 0)
        self.stacks = CallStacks(num_episodes, config.limits, config.grammar)
        self.problems: list[Problem | None] = [None] * num_episodes
        self.levels: LevelSampler = UniformLevels(config.levels)
        self.rewards = RewardSum(num_episodes)
        self.success = np.zeros(num_episodes, dtype=bool)
        self.over = np.ones(num_episodes, dtype=bool)
        # What infos say in words, ``[N]`` texts each. A change makes a new array, so that they are returned uncopied.
        self._posed = {"level": _texts(num_episodes), "problem": _texts(num_episodes)}
        self._running = {
            "outcome": _texts(num_episodes, UNFINISHED),
            "expected": _texts(num_episodes),
            "answer": _texts(num_episodes),
        }
        self._ends = self._running  # how the episodes of the last step ended

    def choose(
        self,
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
        new_group: bool = False,
    ) -> list[Problem]:
        """Returns the problems of the next episodes, one for each generator; all have been checked.

        If it raises, nothing but the generators has changed.

        Args:
            rngs: The generators to draw with.
            options: ``{"problem": text}`` poses a given problem, ``{"level": Level}`` draws one of a level, which may
                also be written as ``"addition/3"``.
            new_group: Whether the first of them begins a new group, even where the last one is not complete.

        Raises:
            ConfigurationError: If an option is none of these, a level does not exist, or a problem is too long.
            ProblemError: If a text is not a problem, or a problem asks for a function that no family of ``operations``
                has.
        """
        given, level = _read_options(options or {})
        group = _Group(None, 0) if new_group else self._group
        problems: list[Problem] = []
        for rng in rngs:
            if given is not None:
                problem = given
            elif level is not None:
                problem = self._draw(level, rng)
            elif group.problem is not None and group.missing:
                problem = group.problem
                group = _Group(problem, group.missing - 1)
            else:
                problem = self._draw(self.levels.draw(rng), rng)
                group = _Group(problem, self.group_size - 1)
            self._check(problem)
            problems.append(problem)

        self._group = group
        return problems

    def begin(self, indices: Sequence[int] | Ints, problems: Sequence[Problem]) -> None:
        """Begins episodes on problems that ``choose`` has returned.

        One that is left unfinished after a step was taken is a failure to the source of levels.

        Args:
            indices: Which episodes.
            problems: The problem of each.
        """
        rows = np.asarray(indices).tolist()
        for row in rows:
            if not self.over[row] and self.stacks.emitted[row]:
                self._report(row, False)

        self.stacks.pose(indices, [problem.prompt for problem in problems])
        for row, problem in zip(rows, problems, strict=True):
            self.problems[row] = problem
            self.rewards.reset(row)
        self._note(rows)
        self._ends = self._running
        self.success[indices] = False
        self.over[indices] = False

    def _note(self, rows: Iterable[int]) -> None:
        """Writes down in words which problems some episodes are posed."""
        levels = self._posed["level"].copy()
        texts = self._posed["problem"].copy()
        for row in rows:
            problem = self.problems[row]
            if problem is not None:
                levels[row] = str(problem.level or "posed")
                texts[row] = problem.text
        self._posed = {"level": levels, "problem": texts}

    def start(
        self,
        indices: Sequence[int] | Ints,
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Chooses problems and begins episodes on them; see ``choose`` and ``begin``.

        Args:
            indices: Which episodes.
            rngs: The generator of each.
            options: See ``choose``.
        """
        self.begin(indices, self.choose(rngs, options))

    def pose(self, indices: Sequence[int] | Ints, problems: Sequence[Problem]) -> None:
        """Begins episodes on problems.

        Args:
            indices: Which episodes.
            problems: The problem of each.

        Raises:
            ConfigurationError: If a problem is too long.
            ProblemError: If a problem asks for a function that no family of ``operations`` has.
        """
        for problem in problems:
            self._check(problem)
        self.begin(indices, problems)

    def _draw(self, level: Level, rng: np.random.Generator) -> Problem:
        return draw(level, rng, self.config.split, self.config.phrasing)

    def _check(self, problem: Problem) -> None:
        """Raises an error unless a problem can be posed here."""
        self.stacks.check(problem.prompt)
        if isinstance(problem.expr, Function) and not self.stacks.grammar.functions:
            raise ProblemError(
                f"{problem.text!r} asks for a function, whose tokens are not legal here; "
                "expected arithmetic, or operations with a family of functions, such as 'gcd'"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the running episodes as plain containers and arrays; the source of levels has a state of its own."""
        return {
            "stacks": self.stacks.state_dict(),
            "problems": [_saved(problem) for problem in self.problems],
            "group": [_saved(self._group.problem), self._group.missing],
            "rewards": self.rewards.state_dict(),
            "success": self.success.copy(),
            "over": self.over.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of as many episodes with the same config and reward terms returned."""
        self.stacks.load_state_dict(state["stacks"])
        self.problems = [_restored(saved) for saved in state["problems"]]
        shared, missing = state["group"]
        self._group = _Group(_restored(shared), missing)
        self.rewards.load_state_dict(state["rewards"])
        self.success[...] = state["success"]
        self.over[...] = state["over"]
        self._note(range(len(self.problems)))
        self._ends = self._running

    def masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, V]``: the legal next tokens; all of them where the next step emits none."""
        masks = self.stacks.masks()
        masks[self.over] = True
        return masks

    def step(self, actions: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Advances every episode by one token. Rows of episodes that are over mean nothing.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N]`` rewards, 1 where the visible answer of a returned root is exactly right, with what the terms pay
            beside, and ``[N]`` outcomes.
        """
        outcome = self.stacks.step(actions)
        self._ends = self._running
        self.success[:] = False
        for index in np.flatnonzero(outcome == ANSWERED).tolist():
            problem = self.problems[index]
            assert problem is not None
            self.success[index] = problem.accepts(self.stacks.answer(index))
        return self.rewards.pay(Transition(self.stacks, self.problems, outcome, self.success)), outcome

    def finish(self, indices: Sequence[int] | Ints, outcomes: npt.NDArray[np.uint8]) -> None:
        """Ends episodes after a step, and reports them to the source of levels.

        Args:
            indices: Which episodes.
            outcomes: How each of them ended; ``RUNNING`` if it was cut by a time limit.
        """
        ends = {name: column.copy() for name, column in self._running.items()}
        for row, outcome in zip(np.asarray(indices).tolist(), outcomes.tolist(), strict=True):
            problem = self._report(row, bool(self.success[row]))
            if outcome == RUNNING:
                continue
            ends["outcome"][row] = _ENDS[outcome]
            ends["expected"][row] = problem.answer_text
            ends["answer"][row] = answer_text(self.stacks.answer(row)) if outcome == ANSWERED else ""
        self._ends = ends

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Returns what the infos of all episodes say after a step or a reset, ``[N]`` each.

        The keys are always the same. Numbers are counted up to now; the texts are shared and must not be changed.
        """
        usage = self.stacks.usage.T.copy()
        return {
            "is_success": self.success.copy(),
            **self._posed,
            **self._ends,
            "reasoning_tokens": usage[0],
            "completion_tokens": usage[1],
            "subtask_tokens": usage[2],
            "subtasks": usage[3],
            "revisions": usage[4],
            "depth": self.stacks.deepest.copy(),
            "longest_context": self.stacks.longest.copy(),
            **self.rewards.columns(self.success),
        }

    def _report(self, index: int, success: bool) -> Problem:
        """Tells the source of levels how an episode went; a user's own problem has no level."""
        problem = self.problems[index]
        assert problem is not None
        self.over[index] = True
        if problem.level is not None:
            self.levels.record(problem.level, success)
        return problem


class _Group(NamedTuple):
    """The problem of a group of attempts, and how many episodes it is still to be posed to."""

    problem: Problem | None
    missing: int


def _texts(count: int, value: str = "") -> npt.NDArray[np.object_]:
    """Returns ``[N]`` times the same text."""
    return np.full(count, value, dtype=object)


def _read_options(options: Mapping[str, Any]) -> tuple[Problem | None, Level | None]:
    """Returns the problem and the level that options of a reset ask for."""
    unknown = set(options) - {"problem", "level"}
    if unknown:
        raise ConfigurationError(f"reset option {min(unknown, key=str)!r}; expected 'problem' or 'level'")
    text, level = options.get("problem"), options.get("level")
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(f"reset option problem={text!r}; expected a text such as '98+45'")
    return (None if text is None else read(text)), (None if level is None else read_level(str(level)))


def _saved(problem: Problem | None) -> list[Any] | None:
    return [list(problem.prompt), problem.level and astuple(problem.level)] if problem else None


def _restored(saved: Sequence[Any] | None) -> Problem | None:
    return problem_from_prompt(saved[0], saved[1] and Level(*saved[1])) if saved else None
