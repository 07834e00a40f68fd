"""The terms of the reward: shaping from sub-answers, a price per token, partial credit, format."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np

from o1nano.envs.caching import bounded_cache
from o1nano.envs.core.call_stack import RUNNING, CallStacks
from o1nano.envs.core.frame_changes import RETURNED
from o1nano.envs.core.rewards import AnswerTerm, Floats, RewardTerm, Transition
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EQUALS, REMAINDER, SUBTASK, answer_text
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Problem
from o1nano.envs.problems.verifier import frame_accepts

# A zero that no one would write: a leading one ("05"), a negative one ("-0"), a remainder of zero ("3 R 0").
_NEEDLESS_ZERO = re.compile(r"\b0\d|^-0\b|R 0$")


class SubAnswers(RewardTerm):
    """Potential-based shaping from verified sub-answers (Ng, Harada and Russell 1999): ``gamma * P(s') - P(s)``.

    The potential P is the weight times the share of the expert's subtasks that have been called and answered exactly
    right in this episode. A subtask counts once, and only if the expert calls it somewhere below this problem. So
    trivial calls and repeated calls change nothing. P is 0 at the start and after an episode has terminated, so the
    discounted sum over an episode is always 0: the optimal policies stay the same, and there is nothing to farm. A
    ``TimeLimit`` does not terminate an episode, so the learner must bootstrap there.

    Args:
        weight: The potential when every subtask is answered; above 0, at most 1.
        gamma: The learner's own discount per token, above 0, at most 1. With any other discount the invariance is lost.
    """

    name = "sub_answers"

    def __init__(self, weight: float = 0.5, gamma: float = 1.0) -> None:
        self.weight = _check("weight", weight, above=0.0, to=1.0)
        self.gamma = _check("gamma", gamma, above=0.0, to=1.0)

    def bind(self, num_episodes: int) -> None:
        """Allocates the state of N episodes."""
        self._verified: list[set[bytes]] = [set() for _ in range(num_episodes)]
        self._potential = np.zeros(num_episodes)

    def reset(self, index: int) -> None:
        """Clears the state of an episode."""
        self._verified[index].clear()
        self._potential[index] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the running episodes."""
        # Plain lists of numbers, which every file can hold; sorted, so that equal states look equal.
        verified = [sorted(map(list, questions)) for questions in self._verified]
        return {"verified": verified, "potential": self._potential.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self._verified = [set(map(bytes, questions)) for questions in state["verified"]]
        self._potential[...] = state["potential"]

    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid."""
        # A call that has returned in this step has its answer at the end of the frame on top.
        before = self._potential.copy()
        running = step.outcome == RUNNING
        for index in np.flatnonzero((step.stacks.changes == RETURNED) & running).tolist():
            self._verify(step, index)

        # The potential of a terminal state is 0, so whatever was paid before is given back.
        self._potential[~running] = 0.0
        shaped: Floats = self.gamma * self._potential - before
        return shaped

    def _verify(self, step: Transition, index: int) -> None:
        """Raises the potential of an episode if the call that has just returned is one of the expert's and right."""
        problem = step.problems[index]
        assert problem is not None

        # Verified subtasks are a set: to call one of them twice adds nothing.
        asked = expert_subtasks(problem)
        question, given = _last_call(step.stacks, index)
        if question in asked and frame_accepts(bytes([SUBTASK]) + question + bytes([EQUALS]), given):
            self._verified[index].add(question)
            self._potential[index] = self.weight * len(self._verified[index]) / len(asked)


class TokenPrice(AnswerTerm):
    """A price for every hidden token of a right answer. Wrong answers cost nothing: else giving up early would pay.

    All tokens but the visible answer are hidden, including those of calls and of child frames' answers. So there is no
    cheaper place to think in.

    Args:
        price: The price of one token; above 0, at most 1.
        most: The largest price of an answer; above 0, at most 0.9, so that a right answer stays worth more than a wrong
            one.
    """

    name = "token_price"

    def __init__(self, price: float = 1e-4, most: float = 0.5) -> None:
        self.price = _check("price", price, above=0.0, to=1.0)
        self.most = _check("most", most, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid.

        Args:
            stacks: The call stacks after the answer.
            index: The episode.
            problem: Its problem.
            success: Whether the answer is exactly right.
        """
        visible = len(stacks.answer(index)) + 1  # with <eos>
        hidden = int(stacks.emitted[index]) - visible
        # Without the cap, a right answer with much reasoning could be paid less than a wrong one.
        return -min(self.price * hidden, self.most) if success else 0.0


class DigitCredit(AnswerTerm):
    """Partial credit for the visible answer: the weight times the share of its signs and digits that agree.

    Only an exact answer gets the whole weight. If several answers are right, a wrong one is compared with the expert's.

    Args:
        weight: What an exact answer is paid in addition to 1; above 0, at most 0.9.
    """

    name = "digits"

    def __init__(self, weight: float = 0.2) -> None:
        self.weight = _check("weight", weight, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid.

        Args:
            stacks: The call stacks after the answer.
            index: The episode.
            problem: Its problem.
            success: Whether the answer is exactly right.
        """
        return self.weight * (1.0 if success else agreement(stacks.answer(index), problem.answer))


class FormatReward(AnswerTerm):
    """Pays a visible answer, right or wrong, that follows reasoning and has no needless zero.

    Environments without thinking never pay it.

    Args:
        weight: What the format is paid; above 0, at most 0.9.
    """

    name = "format"

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = _check("weight", weight, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid.

        Args:
            stacks: The call stacks after the answer.
            index: The episode.
            problem: Its problem.
            success: Whether the answer is exactly right.
        """
        # When the root answers, it is the only open frame.
        thought = bool((stacks.open_frames(index)[0] == END_THINK).any())
        return self.weight if thought and is_canonical(stacks.answer(index)) else 0.0


TERMS: dict[str, type[RewardTerm]] = {term.name: term for term in (SubAnswers, TokenPrice, DigitCredit, FormatReward)}


def make_term(term: RewardTerm | str, **arguments: Any) -> RewardTerm:
    """Returns a term of the reward.

    Args:
        term: A key of ``TERMS``, or a term, which is returned as it is.
        **arguments: The arguments of a term that is given by its name.

    Raises:
        ConfigurationError: If there is no such term, or an argument makes no sense.
    """
    if isinstance(term, RewardTerm) and not arguments:
        return term
    if not isinstance(term, str) or term not in TERMS:
        raise ConfigurationError(
            f"reward term {term!r} with {arguments}; expected {', '.join(TERMS)} with arguments, or a RewardTerm alone"
        )

    # The signature says what Python's TypeError does not: all arguments and their defaults.
    try:
        return TERMS[term](**arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"reward term {term!r} with {arguments}; expected {term}{inspect.signature(TERMS[term])}"
        ) from error


@bounded_cache(entries=1 << 10, size=lambda problem: len(problem.prompt))
def expert_subtasks(problem: Problem) -> frozenset[bytes]:
    """Returns every subtask that the expert calls below a problem, numbers least significant digit first."""
    # The expert's own frames hold every call, those of its subtasks too.
    questions: set[bytes] = set()
    for frame in demonstrate(problem):
        questions.update(_calls(bytes(frame.tokens)))
    return frozenset(questions)


def _calls(frame: bytes) -> Iterator[bytes]:
    """Yields the question of each ``<call> question </call>`` in a frame."""
    end = 0
    while (start := frame.find(CALL, end)) >= 0:
        end = frame.index(END_CALL, start)
        yield frame[start + 1 : end]


def _last_call(stacks: CallStacks, index: int) -> tuple[bytes, bytes]:
    """Returns the question of the call that has just returned to a top frame, and the answer that was injected."""
    # The frame ends with: <call> question </call> answer
    frame = stacks.frame(index).tobytes()
    end = frame.rindex(END_CALL)
    start = frame.rindex(CALL, 0, end) + 1
    return frame[start:end], frame[end + 1 :]


def agreement(given: bytes, expected: bytes) -> float:
    """Returns the share of an answer's signs and digits that agree, from 0 to 1.

    Quotient and remainder are compared separately, each aligned at its units. A missing or an additional digit
    disagrees: 143 and 43 agree in two of three places.

    Args:
        given: The tokens of the answer.
        expected: The tokens of the right answer.
    """
    given_parts = given.split(bytes([REMAINDER]))
    expected_parts = expected.split(bytes([REMAINDER]))

    # Pairs of digits from the units upwards. A missing digit is None, which agrees with no digit.
    agreeing = 0
    places = 0
    for mine, right in zip_longest(given_parts, expected_parts, fillvalue=b""):
        for one, other in zip_longest(reversed(mine), reversed(right)):
            agreeing += one == other
            places += 1
    return agreeing / places


def is_canonical(answer: bytes) -> bool:
    """Returns True if an answer has no leading zero, no minus zero and no remainder of zero."""
    return _NEEDLESS_ZERO.search(answer_text(answer)) is None


def _check(name: str, value: float, above: float, to: float) -> float:
    """Returns an argument as a float, or raises ``ConfigurationError`` if it is out of range."""
    if not above < value <= to:
        raise ConfigurationError(f"{name}={value!r}; expected a number above {above:g}, at most {to:g}")
    return float(value)
