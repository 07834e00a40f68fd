"""Episodes on call stacks: choose a problem, step, verify, report. Both environments are thin views of this."""

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

# Only a time limit can cut an episode that the environment has not ended. The limit may be a wrapper that the
# environment does not know of, so every running episode already says this.
UNFINISHED = "truncated"
_OUTCOME_TEXTS = [UNFINISHED if outcome == Outcome.RUNNING else outcome.name.lower() for outcome in Outcome]


class Episodes:
    """N episodes that advance together.

    Args:
        num_episodes: N.
        config: Arguments that all episodes share: problems, limits, grammar.
        group_size: Number of consecutive episodes that get the same problem (the GRPO group size).

    Attributes:
        stacks: The call stacks.
        problems: The problem of each episode.
        level_sampler: Chooses the level of every new problem; a curriculum takes this place.
        rewards: The true reward, and the terms that wrappers add to it.
        success: ``[N]``: whether the last step returned a root with the exact visible answer.
        over: ``[N]``: whether the episode has ended; also True before the first one begins.
    """

    def __init__(self, num_episodes: int, config: EnvConfig, group_size: int = 1) -> None:
        self.config = config
        self.group_size = group_size
        self._group = _NO_GROUP
        self.stacks = CallStacks(num_episodes, config.limits, config.grammar)
        self.problems: list[Problem | None] = [None] * num_episodes
        self.level_sampler: LevelSampler = UniformLevels(config.levels)
        self.rewards = RewardSum(num_episodes)
        self.success = np.zeros(num_episodes, dtype=bool)
        self.over = np.ones(num_episodes, dtype=bool)

        # The texts of the infos, ``[N]`` each. A change makes a new array, so that infos can share them uncopied.
        self._problem_texts = {"level": _texts(num_episodes), "problem": _texts(num_episodes)}
        self._running_texts = {
            "outcome": _texts(num_episodes, UNFINISHED),
            "expected": _texts(num_episodes),
            "answer": _texts(num_episodes),
        }
        self._end_texts = self._running_texts  # how the episodes of the last step ended

    def choose(
        self,
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
        new_group: bool = False,
    ) -> list[Problem]:
        """Returns problems for the next episodes, one for each generator. All of them can be posed here.

        If it raises, only the generators have changed.

        Args:
            rngs: The generators to draw with.
            options: ``{"problem": text}`` asks for a given problem, ``{"level": level}`` for one of a ``Level``, which
                may be written as text: ``"addition/3"``.
            new_group: Whether the first problem begins a new group, even if the current group is not complete.

        Raises:
            ConfigurationError: If an option is none of these, a level does not exist, or a problem is too long.
            ProblemError: If a text is not a problem, or a problem asks for a function that no family of ``operations``
                has.
        """
        # The group is stored at the end only, so that a refused problem leaves it as it was.
        given, level = _read_options(options or {})
        group = _NO_GROUP if new_group else self._group
        problems: list[Problem] = []
        for rng in rngs:
            if given is not None:
                problem = given
            elif level is not None:
                problem = self.draw_problem(level, rng)
            elif group.problem is not None and group.remaining:
                problem = group.problem
                group = _Group(problem, group.remaining - 1)
            else:
                problem = self.draw_problem(self.level_sampler.draw(rng), rng)
                group = _Group(problem, self.group_size - 1)
            # A drawn problem can be too long as well: words take more tokens than symbols.
            self._check(problem)
            problems.append(problem)

        self._group = group
        return problems

    def draw_problem(self, level: Level, rng: np.random.Generator) -> Problem:
        """Returns a problem of a level, from this split and in this phrasing.

        Args:
            level: The kind of problem.
            rng: The generator to draw with.
        """
        return draw(level, rng, self.config.split, self.config.phrasing)

    def begin(self, indices: Sequence[int] | Ints, problems: Sequence[Problem]) -> None:
        """Begins episodes on problems that ``choose`` has returned.

        An unfinished episode is reported to the level sampler as a failure if it took at least one step.

        Args:
            indices: Indices of the episodes.
            problems: The problem of each.
        """
        # An episode without an emitted token says nothing about its level.
        rows = np.asarray(indices).tolist()
        for row in rows:
            if not self.over[row] and self.stacks.emitted[row]:
                self._report(row, False)

        self.stacks.pose(indices, [problem.prompt for problem in problems])
        for row, problem in zip(rows, problems, strict=True):
            self.problems[row] = problem
            self.rewards.reset(row)

        self._update_problem_texts(rows)
        self._end_texts = self._running_texts
        self.success[indices] = False
        self.over[indices] = False

    def _update_problem_texts(self, rows: Iterable[int]) -> None:
        """Writes the level and the problem of some episodes for their infos."""
        # Infos of earlier steps share the old arrays.
        levels = self._problem_texts["level"].copy()
        texts = self._problem_texts["problem"].copy()
        for row in rows:
            problem = self.problems[row]
            if problem is not None:
                levels[row] = str(problem.level or "posed")
                texts[row] = problem.text
        self._problem_texts = {"level": levels, "problem": texts}

    def start(
        self,
        indices: Sequence[int] | Ints,
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Chooses problems and begins episodes on them.

        Args:
            indices: Indices of the episodes.
            rngs: The generator of each.
            options: ``{"problem": text}`` or ``{"level": level}``, as for ``choose``.
        """
        self.begin(indices, self.choose(rngs, options))

    def pose(self, indices: Sequence[int] | Ints, problems: Sequence[Problem]) -> None:
        """Begins episodes on given problems.

        Args:
            indices: Indices of the episodes.
            problems: The problem of each.

        Raises:
            ConfigurationError: If a problem is too long.
            ProblemError: If a problem asks for a function that no family of ``operations`` has.
        """
        for problem in problems:
            self._check(problem)
        self.begin(indices, problems)

    def _check(self, problem: Problem) -> None:
        """Raises an error unless a problem can be posed here."""
        self.stacks.check(problem.prompt)
        if isinstance(problem.expr, Function) and not self.stacks.grammar.functions:
            raise ProblemError(
                f"{problem.text!r} asks for a function, whose tokens are not legal here; "
                "expected arithmetic, or operations with a family of functions, such as 'gcd'"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the running episodes as plain containers and arrays; the level sampler has a state of its own."""
        return {
            "stacks": self.stacks.state_dict(),
            "problems": [_saved(problem) for problem in self.problems],
            "group": [_saved(self._group.problem), self._group.remaining],
            "rewards": self.rewards.state_dict(),
            "success": self.success.copy(),
            "over": self.over.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` returned for N episodes with the same config and reward terms.
        """
        self.stacks.load_state_dict(state["stacks"])
        self.problems = [_restored(saved) for saved in state["problems"]]
        saved_problem, remaining = state["group"]
        self._group = _Group(_restored(saved_problem), remaining)
        self.rewards.load_state_dict(state["rewards"])
        self.success[...] = state["success"]
        self.over[...] = state["over"]

        # The texts of the infos follow from the problems.
        self._update_problem_texts(range(len(self.problems)))
        self._end_texts = self._running_texts

    def masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, V]``: the legal next tokens. All are legal where the next step emits none."""
        masks = self.stacks.masks()
        masks[self.over] = True
        return masks

    def step(self, actions: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Advances every episode by one token. The results have no meaning for episodes that are over.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N]`` rewards: 1 where the visible answer of a returned root is exactly right, plus what the terms pay;
            and ``[N]`` outcomes.
        """
        # Only a root that has returned can be right, so a step verifies few answers.
        outcome = self.stacks.step(actions)
        self._end_texts = self._running_texts
        self.success[:] = False
        for index in np.flatnonzero(outcome == ANSWERED).tolist():
            problem = self.problems[index]
            assert problem is not None
            self.success[index] = problem.accepts(self.stacks.answer(index))
        return self.rewards.pay(Transition(self.stacks, self.problems, outcome, self.success)), outcome

    def finish(self, indices: Sequence[int] | Ints, outcomes: npt.NDArray[np.uint8]) -> None:
        """Ends episodes after a step, and reports them to the level sampler.

        Args:
            indices: Indices of the episodes.
            outcomes: How each of them ended; ``RUNNING`` if a time limit has cut it.
        """
        # Copies, because infos of earlier steps share the texts of running episodes.
        ends = {name: column.copy() for name, column in self._running_texts.items()}
        for row, outcome in zip(np.asarray(indices).tolist(), outcomes.tolist(), strict=True):
            problem = self._report(row, bool(self.success[row]))

            # Cut by a time limit: the right answer stays unsaid, because the environment has not ended the episode.
            if outcome == RUNNING:
                continue
            ends["outcome"][row] = _OUTCOME_TEXTS[outcome]
            expected = problem.answer_text
            ends["expected"][row] = expected
            if outcome == ANSWERED:
                # Most answers are the expected one, whose text is known.
                answer = self.stacks.answer(row)
                ends["answer"][row] = expected if answer == problem.answer else answer_text(answer)
            else:
                ends["answer"][row] = ""
        self._end_texts = ends

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the infos of all episodes after a step or a reset, ``[N]`` for each key.

        The keys are always the same. The usage is the usage so far. Texts are shared and must not be changed.
        """
        return {
            "is_success": self.success.copy(),
            **self._problem_texts,
            **self._end_texts,
            **self.stacks.usage(),
            **self.rewards.columns(self.success),
        }

    def _report(self, index: int, success: bool) -> Problem:
        """Marks an episode as over and tells the level sampler its result. A problem given by the user has no level."""
        problem = self.problems[index]
        assert problem is not None
        self.over[index] = True
        if problem.level is not None:
            self.level_sampler.record(problem.level, success)
        return problem


class _Group(NamedTuple):
    """The problem of a group of attempts, and the number of further episodes that get it."""

    problem: Problem | None
    remaining: int


_NO_GROUP = _Group(None, 0)


def _texts(count: int, value: str = "") -> npt.NDArray[np.object_]:
    """Returns ``[count]`` copies of a text."""
    return np.full(count, value, dtype=object)


def _read_options(options: Mapping[str, Any]) -> tuple[Problem | None, Level | None]:
    """Returns the problem and the level that the options of a reset ask for, if any."""
    unknown = set(options) - {"problem", "level"}
    if unknown:
        raise ConfigurationError(f"reset option {min(unknown, key=str)!r}; expected 'problem' or 'level'")

    text = options.get("problem")
    level = options.get("level")
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(f"reset option problem={text!r}; expected a text such as '98+45'")
    return (None if text is None else read(text)), (None if level is None else read_level(str(level)))


def _saved(problem: Problem | None) -> list[Any] | None:
    """Returns a problem as its prompt and its level."""
    # Everything else, the answer included, follows from the prompt.
    return [list(problem.prompt), problem.level and astuple(problem.level)] if problem else None


def _restored(saved: Sequence[Any] | None) -> Problem | None:
    """Returns the problem that ``_saved`` has saved."""
    return problem_from_prompt(saved[0], saved[1] and Level(*saved[1])) if saved else None
