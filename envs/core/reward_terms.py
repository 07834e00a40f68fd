"""The terms of the reward that exist: shaping from sub-answers, a price of tokens, partial credit, format."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import numpy as np

from o1nano.envs.core.call_stack import RUNNING, CallStacks
from o1nano.envs.core.rewards import AnswerTerm, Floats, RewardTerm, Transition
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EQUALS, REMAINDER, SUBTASK, answer_text
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Problem, frame_accepts

_NEEDLESS = re.compile(r"\b0\d|^-0\b|R 0$")


class SubAnswers(RewardTerm):
    """Potential-based shaping from verified sub-answers (Ng, Harada and Russell 1999): ``gamma * P(s') - P(s)``.

    The potential P is the weight times the share of the expert's sub-questions that have been asked and answered
    exactly right in this episode. A question counts once, and only if the expert asks it somewhere below this problem,
    so that calls to trivial sub-problems and repeated calls change nothing. P is 0 at the start and once an episode has
    terminated, so the discounted sum over an episode is 0 whatever was done: which policies are optimal does not
    change, and there is nothing to farm. A ``TimeLimit`` does not terminate: there the learner must bootstrap.

    Args:
        weight: The potential when every sub-question is answered.
        gamma: The learner's own discount a token; with another one, the invariance is lost.
    """

    name = "sub_answers"

    def __init__(self, weight: float = 0.5, gamma: float = 1.0) -> None:
        self.weight = _check("weight", weight, above=0.0, to=1.0)
        self.gamma = _check("gamma", gamma, above=0.0, to=1.0)

    def bind(self, num_episodes: int) -> None:
        """Makes room for what is remembered of N episodes."""
        self._verified: list[set[bytes]] = [set() for _ in range(num_episodes)]
        self._potential = np.zeros(num_episodes)
        self._depth = np.zeros(num_episodes, dtype=np.intp)

    def reset(self, index: int) -> None:
        """Forgets an episode."""
        self._verified[index].clear()
        self._potential[index] = self._depth[index] = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns what is remembered of the running episodes."""
        verified = [sorted(map(list, questions)) for questions in self._verified]
        return {"verified": verified, "potential": self._potential.copy(), "depth": self._depth.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self._verified = [set(map(bytes, questions)) for questions in state["verified"]]
        self._potential[...], self._depth[...] = state["potential"], state["depth"]

    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid."""
        before, depth, running = self._potential.copy(), step.stacks.depth, step.outcome == RUNNING
        for index in np.flatnonzero((depth < self._depth) & running).tolist():
            problem = step.problems[index]
            assert problem is not None
            asked, (question, given) = sub_questions(problem), _last_call(step.stacks, index)
            if question in asked and frame_accepts(bytes([SUBTASK]) + question + bytes([EQUALS]), given):
                self._verified[index].add(question)
                self._potential[index] = self.weight * len(self._verified[index]) / len(asked)
        self._potential[~running] = 0.0
        self._depth[:] = depth
        shaped: Floats = self.gamma * self._potential - before
        return shaped


class TokenPrice(AnswerTerm):
    """A price for every token of a right answer's reasoning; wrong answers cost nothing, or giving up early would pay.

    Reasoning is every token but the visible answer, those of calls and of child frames' answers included: thinking
    cannot be hidden where it is cheaper.

    Args:
        price: Of one token.
        most: The price is capped here, so that a right answer stays worth more than a wrong one.
    """

    name = "token_price"

    def __init__(self, price: float = 1e-4, most: float = 0.5) -> None:
        self.price = _check("price", price, above=0.0, to=1.0)
        self.most = _check("most", most, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid."""
        visible = len(stacks.answer(index)) + 1
        hidden = int(stacks.emitted[index]) - visible
        return -min(self.price * hidden, self.most) if success else 0.0


class DigitCredit(AnswerTerm):
    """Partial credit for the visible answer: see ``agreement``. The whole weight only for an exact answer.

    Where several answers are right, a wrong one is compared with the expert's.

    Args:
        weight: What the exact answer gets in addition.
    """

    name = "digits"

    def __init__(self, weight: float = 0.2) -> None:
        self.weight = _check("weight", weight, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid."""
        return self.weight * (1.0 if success else agreement(stacks.answer(index), problem.answer))


class FormatReward(AnswerTerm):
    """Pays a visible answer, right or wrong, that follows reasoning and has no needless zero (``is_canonical``).

    Environments without thinking never pay it.

    Args:
        weight: What the format is worth.
    """

    name = "format"

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = _check("weight", weight, above=0.0, to=0.9)

    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid."""
        thought = bool((stacks.open_frames(index)[0] == END_THINK).any())
        return self.weight if thought and is_canonical(stacks.answer(index)) else 0.0


TERMS: dict[str, type[RewardTerm]] = {term.name: term for term in (SubAnswers, TokenPrice, DigitCredit, FormatReward)}


def make_term(term: RewardTerm | str, **arguments: Any) -> RewardTerm:
    """Returns a term, from its name in ``TERMS`` and its arguments or as it is given.

    Raises:
        ConfigurationError: If there is no such term, or an argument makes no sense.
    """
    if isinstance(term, RewardTerm) and not arguments:
        return term
    if not isinstance(term, str) or term not in TERMS:
        raise ConfigurationError(
            f"reward term {term!r} with {arguments}; accepted: {', '.join(TERMS)} with arguments, or a RewardTerm alone"
        )
    try:
        return TERMS[term](**arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"reward term {term!r} with {arguments}; accepted: {term}{inspect.signature(TERMS[term])}"
        ) from error


@lru_cache(maxsize=1 << 12)
def sub_questions(problem: Problem) -> frozenset[bytes]:
    """Returns every sub-question that the expert calls below a problem, least significant digit first."""
    return frozenset(question for frame in demonstrate(problem) for question in _calls(bytes(frame.tokens)))


def _calls(frame: bytes) -> Iterator[bytes]:
    end = 0
    while (start := frame.find(CALL, end)) >= 0:
        end = frame.index(END_CALL, start)
        yield frame[start + 1 : end]


def _last_call(stacks: CallStacks, index: int) -> tuple[bytes, bytes]:
    """Returns the question of the call that has just returned to a top frame, and the answer that was injected."""
    frame = stacks.frame(index).tobytes()
    end = frame.rindex(END_CALL)
    return frame[frame.rindex(CALL, 0, end) + 1 : end], frame[end + 1 :]


def agreement(given: bytes, expected: bytes) -> float:
    """Returns the share of an answer's signs and digits that agree, from 0 to 1.

    Quotient and remainder are compared apart, each aligned at its units; what is missing or too much disagrees.
    """
    pairs = [
        pair
        for one, other in zip_longest(
            given.split(bytes([REMAINDER])), expected.split(bytes([REMAINDER])), fillvalue=b""
        )
        for pair in zip_longest(reversed(one), reversed(other))
    ]
    return float(sum(one == other for one, other in pairs) / len(pairs))


def is_canonical(answer: bytes) -> bool:
    """Tells whether an answer has neither a leading zero, nor a minus zero, nor a remainder of zero."""
    return _NEEDLESS.search(answer_text(answer)) is None


def _check(name: str, value: float, above: float, to: float) -> float:
    if not above < value <= to:
        raise ConfigurationError(f"{name}={value!r}; accepted: above {above:g}, at most {to:g}")
    return float(value)
