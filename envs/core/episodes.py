"""Episodes on call stacks: posing, stepping, verifying, reporting. Both environments are thin views of this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import ANSWERED, CallStacks, Outcome
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.core.levels import LevelSource, UniformLevels, read_level, sizes
from o1nano.envs.core.rewards import RewardSum, Transition
from o1nano.envs.core.stacks import Ints, Limits
from o1nano.envs.errors import ActionError, ConfigurationError, ProblemError
from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import VOCAB_SIZE, answer_text
from o1nano.envs.problems import FAMILIES, FOUR_OPERATIONS
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.problem import Level, Phrasing, Problem, Split, check_choice, check_family, draw, posed, read

_ENDS = [outcome.name.lower() for outcome in Outcome]
MOST_DIGITS = 1000  # keeps numbers below Python's limit for converting text


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) >= least


@dataclass(frozen=True)
class EnvConfig:
    """Keyword arguments of the environments.

    Attributes:
        operations: Families of problems, drawn uniformly.
        digits: One size, or the smallest and the largest; a size is the number of digits of the longer operand.
        other_digits: Digits of the second operand (for expressions and lists: how many there are); None draws them.
            Long problems: the length of the frame that they fill; None: ``frame_length``.
        phrasing: ``"symbolic"`` (``98+45``), ``"words"`` (``What is 98 plus 45?``) or ``"mixed"``.
        thinking: Whether hidden reasoning is legal.
        call_stack: Whether calls and tail calls open frames; without it one frame holds everything: see ``Grammar``.
        frame_length: See ``Limits``.
        depth: See ``Limits``.
        max_tokens: ``Limits.tokens``.
        split: ``"train"``, ``"test"`` or ``"all"``, by a hash of the problem's content.
    """

    operations: Sequence[str] = FOUR_OPERATIONS
    digits: int | tuple[int, int] = (1, 3)
    other_digits: int | None = None
    phrasing: Phrasing = "mixed"
    thinking: bool = True
    call_stack: bool = True
    frame_length: int = 128
    depth: int = 32
    max_tokens: int = 4096
    split: Split = "train"

    def __post_init__(self) -> None:
        if isinstance(self.operations, str) or not self.operations:
            raise ConfigurationError(f"operations={self.operations!r}; accepted: a non-empty list of families")
        for name in self.operations:
            check_family(name)
        pair = self.digits if isinstance(self.digits, Sequence) else (self.digits, self.digits)
        if len(pair) != 2 or not (_is_whole(pair[0], 1) and _is_whole(pair[1], pair[0]) and pair[1] <= MOST_DIGITS):
            raise ConfigurationError(
                f"digits={self.digits!r}; accepted: an integer, or (low, high) with 1 <= low <= high <= {MOST_DIGITS}"
            )
        if self.other_digits is not None and not _is_whole(self.other_digits, 1):
            raise ConfigurationError(f"other_digits={self.other_digits!r}; accepted: None or an integer of at least 1")
        for name, least in (("frame_length", 8), ("depth", 1), ("max_tokens", 1)):
            if not _is_whole(getattr(self, name), least):
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; accepted: an integer of at least {least}")
        check_choice("phrasing", self.phrasing, Phrasing)
        check_choice("split", self.split, Split)
        if self.call_stack and not self.thinking:
            raise ConfigurationError(
                "call_stack=True with thinking=False; accepted: calls only where there is thinking"
            )

    @property
    def digit_range(self) -> tuple[int, int]:
        """Smallest and largest size."""
        low, high = self.digits if isinstance(self.digits, Sequence) else (self.digits, self.digits)
        return int(low), int(high)

    @property
    def levels(self) -> list[Level]:
        """The kinds of problems that are drawn."""
        levels: list[Level] = []
        for name in self.operations:
            filled = self.frame_length if FAMILIES[name].long else None
            other = filled if self.other_digits is None else self.other_digits
            levels += sizes((name,), self.digit_range, other)
        return levels

    @property
    def grammar(self) -> Grammar:
        """The grammar of these environments."""
        functions = any(isinstance(FAMILIES[name], FunctionFamily) for name in self.operations)
        return Grammar(self.thinking, self.call_stack, functions)

    @property
    def limits(self) -> Limits:
        """The limits of these environments."""
        return Limits(self.frame_length, self.depth, self.max_tokens)


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
    """

    def __init__(self, num_episodes: int, config: EnvConfig, group_size: int = 1) -> None:
        self.config, self.group_size = config, group_size
        self._shared: Problem | None = None  # the problem of a group that is not complete
        self._missing = 0  # episodes that it is still to be posed to
        self.stacks = CallStacks(num_episodes, config.limits, config.grammar)
        self.problems: list[Problem | None] = [None] * num_episodes
        self.levels: LevelSource = UniformLevels(config.levels)
        self.rewards = RewardSum(num_episodes)
        self.success = np.zeros(num_episodes, dtype=bool)
        self._given: dict[int, bytes] = {}  # the visible answers of the roots that the last step returned
        self._reported = np.ones(num_episodes, dtype=bool)

    def start(
        self,
        indices: Sequence[int] | Ints,
        rngs: Sequence[np.random.Generator],
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, list[Any]]:
        """Begins episodes, one after the other, and returns their infos as columns.

        One that is left unfinished, by a time limit or by a reset, is a failure to the source of levels.

        Args:
            indices: Which episodes.
            rngs: The generator of each.
            options: ``{"problem": text}`` poses a given problem, ``{"level": Level}`` draws one of a level, which may
                also be written as ``"addition/3"``.

        Raises:
            ConfigurationError: If an option is none of these, or a level is none.
            ProblemError: If the problem is none, or asks for a function that no family of ``operations`` has.
        """
        options = options or {}
        unknown = set(options) - {"problem", "level"}
        if unknown:
            raise ConfigurationError(f"reset option {sorted(unknown)[0]!r}; accepted: 'problem', 'level'")
        text, level = options.get("problem"), options.get("level")
        if text is not None and not isinstance(text, str):
            raise ConfigurationError(f"reset option problem={text!r}; accepted: a text such as '98+45'")
        given = None if text is None else read(text)
        level = None if level is None else read_level(str(level))
        problems = []
        for index, rng in zip(np.asarray(indices).tolist(), rngs, strict=True):
            if not self._reported[index] and self.stacks.emitted[index]:
                self._report(index, False)
            problems.append(given or (self._next(rng) if level is None else self._draw(level, rng)))
        self.pose(indices, problems)
        return {"problem": [problem.text for problem in problems]}

    def part(self) -> None:
        """Has the next episode begin a new group."""
        self._shared, self._missing = None, 0

    def _next(self, rng: np.random.Generator) -> Problem:
        """Returns the problem of the group that is not complete, or draws that of a new one."""
        if self._shared is None:
            self._shared, self._missing = self._draw(self.levels.draw(rng), rng), self.group_size
        problem = self._shared
        self._missing -= 1
        if not self._missing:
            self.part()
        return problem

    def _draw(self, level: Level, rng: np.random.Generator) -> Problem:
        return draw(level, rng, self.config.split, self.config.phrasing)

    def pose(self, indices: Sequence[int] | Ints, problems: Sequence[Problem]) -> None:
        """Begins episodes on problems."""
        self.stacks.pose(indices, [problem.prompt for problem in problems])
        for index, problem in zip(np.asarray(indices).tolist(), problems, strict=True):
            if isinstance(problem.expr, Function) and not self.config.grammar.functions:
                raise ProblemError(
                    f"{problem.text!r} asks for a function, whose tokens are not legal here; "
                    "accepted: arithmetic, or operations with a family of functions, such as 'gcd'"
                )
            self.problems[index] = problem
            self.rewards.reset(index)
        self._reported[indices] = False

    def state_dict(self) -> dict[str, Any]:
        """Returns the running episodes as plain containers and arrays; the source of levels has a state of its own."""
        return {
            "stacks": self.stacks.state_dict(),
            "problems": [_saved(problem) for problem in self.problems],
            "group": [_saved(self._shared), self._missing],
            "rewards": self.rewards.state_dict(),
            "success": self.success.copy(),
            "reported": self._reported.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of as many episodes with the same config and reward terms returned."""
        self.stacks.load_state_dict(state["stacks"])
        self.problems = [_restored(saved) for saved in state["problems"]]
        shared, self._missing = state["group"]
        self._shared = _restored(shared)
        self.rewards.load_state_dict(state["rewards"])
        self.success[...], self._reported[...] = state["success"], state["reported"]

    def step(self, actions: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Advances every episode by one token.

        Returns:
            ``[N]`` rewards, 1 where the visible answer of a returned root is exactly right, with what the terms pay
            beside, and ``[N]`` outcomes.
        """
        whole = actions.dtype.kind in "iub" and actions.shape == (len(self.problems),)
        if not whole or actions.min() < 0 or actions.max() >= VOCAB_SIZE:
            raise ActionError(f"actions {actions}; accepted: {len(self.problems)} integers from 0 to {VOCAB_SIZE - 1}")
        outcome = self.stacks.step(actions)
        self.success[:] = False
        self._given.clear()
        for index in np.flatnonzero(outcome == ANSWERED).tolist():
            problem = self.problems[index]
            assert problem is not None
            self._given[index] = self.stacks.answer(index)
            self.success[index] = problem.accepts(self._given[index])
        return self.rewards.pay(Transition(self.stacks, self.problems, outcome, self.success)), outcome

    def finish(self, indices: Sequence[int] | Ints, outcomes: npt.NDArray[np.uint8]) -> dict[str, list[Any]]:
        """Reports episodes that the last step finished to the source of levels; returns terminal infos as columns.

        Args:
            indices: Which episodes.
            outcomes: How each of them ended.
        """
        stacks, rows = self.stacks, np.asarray(indices).tolist()
        successes, ends = self.success[indices].tolist(), outcomes.tolist()
        problems = [self._report(index, success) for index, success in zip(rows, successes, strict=True)]
        reasoning, completion, subtask, calls, revisions = stacks.usage[indices].T.tolist()
        return {
            "is_success": successes,
            "outcome": [_ENDS[end] for end in ends],
            "level": [str(problem.level or "posed") for problem in problems],
            "problem": [problem.text for problem in problems],
            "expected": [problem.answer_text for problem in problems],
            "answer": [answer_text(self._given.get(row, b"")) for row in rows],
            "reasoning_tokens": reasoning,
            "completion_tokens": completion,
            "subtask_tokens": subtask,
            "subtasks": calls,
            "depth": stacks.deepest[indices].tolist(),
            "longest_context": stacks.longest[indices].tolist(),
            "revisions": revisions,
            **self.rewards.infos(indices, successes),
        }

    def _report(self, index: int, success: bool) -> Problem:
        """Tells the source of levels how an episode went; a user's own problem has no level."""
        problem = self.problems[index]
        if problem is None:
            raise ActionError("a step before the first reset; accepted: reset first")
        self._reported[index] = True
        if problem.level is not None:
            self.levels.record(problem.level, success)
        return problem


def _saved(problem: Problem | None) -> list[Any] | None:
    return [list(problem.prompt), problem.level and astuple(problem.level)] if problem else None


def _restored(saved: Sequence[Any] | None) -> Problem | None:
    return posed(saved[0], saved[1] and Level(*saved[1])) if saved else None
