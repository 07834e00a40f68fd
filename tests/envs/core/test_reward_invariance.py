"""Shaping leaves the optimal policy unchanged: a small instance of the real environment, enumerated to the last token.

Every sequence over an alphabet of nine tokens against ``1+1`` within eleven tokens: enough for the honest solution
through a call, for calls of every other kind, and for an illegal token anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.core.reward_terms import DigitCredit, FormatReward, SubAnswers, TokenPrice
from o1nano.envs.core.rewards import RewardTerm, Transition
from o1nano.envs.problems.problem import read
from tests.helpers.play import ids

CONFIG = EnvConfig(frame_length=20, depth=2, max_tokens=11)
PROBLEM = read("1+1")
ILLEGAL = ids("<pad>")[0]
ALPHABET = np.array([*ids("<think> </think> <call> </call> <eos> 1 2 +"), ILLEGAL])
HONEST = ids("<think> <call> 1 + 1 </call> 2 <eos> </think> 2 <eos>")
Floats = npt.NDArray[np.float64]
GAMMAS = {"undiscounted": 1.0, "discounted": 0.9, "another discount": 0.5}


class Bonus(SubAnswers):
    """Not a shaping term: verified sub-answers are paid, and nothing is given back."""

    name = "bonus"

    def __call__(self, step: Transition) -> Floats:
        return np.maximum(super().__call__(step), 0.0)


def terms() -> list[RewardTerm]:
    """Every term that is enumerated, all at once: each is summed separately."""
    shaped = [SubAnswers(weight=1.0, gamma=gamma) for gamma in GAMMAS.values()]
    for term, name in zip(shaped, GAMMAS, strict=True):
        term.name = name  # type: ignore[misc]
    return [*shaped, Bonus(), TokenPrice(0.02), DigitCredit(), FormatReward()]


@dataclass
class Layer:
    """All sequences of one length.

    Attributes:
        tokens: ``[M, t]``.
        parent: ``[M]`` the row of the prefix in the layer before.
        ended: ``[M]`` whether the episode is over.
        true: ``[M]`` the true reward of the last token.
        paid: For each term, ``[M]`` what it pays for the last token.
    """

    tokens: npt.NDArray[np.int64]
    parent: npt.NDArray[np.intp]
    ended: npt.NDArray[np.bool_]
    true: Floats
    paid: dict[str, Floats]

    def reward(self, term: str | None) -> Floats:
        """The true reward with that of a term, or alone."""
        return self.true + (self.paid[term] if term else 0.0)


def replay(tokens: npt.NDArray[np.int64]) -> tuple[Episodes, npt.NDArray[np.bool_], dict[str, Floats]]:
    """Plays sequences none of which ends before its last token; returns what that one was paid."""
    episodes = Episodes(len(tokens), CONFIG)
    for term in terms():
        episodes.rewards.add(term)
    episodes.pose(range(len(tokens)), [PROBLEM] * len(tokens))
    for column in tokens.T:
        before = {name: paid.copy() for name, paid in episodes.rewards.sums.items()}
        _, outcome = episodes.step(column)
    return episodes, outcome != 0, {name: paid - before[name] for name, paid in episodes.rewards.sums.items()}


@cache
def layers() -> list[Layer]:
    """Every sequence over the alphabet, layer by layer, until all have ended."""
    found: list[Layer] = []
    start = Episodes(1, CONFIG)
    start.pose([0], [PROBLEM])
    prefixes, rows_of, legal = np.zeros((1, 0), dtype=np.int64), np.zeros(1, dtype=np.intp), start.stacks.masks()
    while len(prefixes):
        rows, columns = np.nonzero(legal[:, ALPHABET] | (ALPHABET == ILLEGAL))
        tokens = np.concatenate([prefixes[rows], ALPHABET[columns][:, None]], 1)
        episodes, ended, paid = replay(tokens)
        found.append(Layer(tokens, rows_of[rows], ended, episodes.success.astype(float), paid))
        rows_of = np.flatnonzero(~ended)
        prefixes, legal = tokens[rows_of], episodes.stacks.masks()[rows_of]
    return found


def returns(term: str | None, gamma: float = 1.0) -> Floats:
    """Discounted returns of all sequences, always in the same order."""
    whole, running = [], np.zeros(1)
    for depth, layer in enumerate(layers()):
        running = running[layer.parent] + gamma**depth * layer.reward(term)
        whole.append(running[layer.ended])
    return np.concatenate(whole)


def optimal(term: str | None, gamma: float = 1.0) -> npt.NDArray[np.bool_]:
    """By backward induction: for every prefix and token, whether the token is an optimal action there."""
    best, value = [], np.zeros(0)
    sizes = [1, *(len(layer.tokens) for layer in layers())]
    for layer, size in zip(reversed(layers()), reversed(sizes[:-1]), strict=True):
        action_value = layer.reward(term)
        action_value[~layer.ended] += gamma * value[~layer.ended] if len(value) else 0.0
        value = np.full(size, -np.inf)
        np.maximum.at(value, layer.parent, action_value)
        best.append(action_value >= value[layer.parent] - 1e-9)
    return np.concatenate(best[::-1])


def test_the_instance_is_what_it_should_be() -> None:
    assert sum(layer.ended.sum() for layer in layers()) > 100_000
    last = layers()[-1]
    assert len(layers()) == CONFIG.max_tokens and last.ended.all()
    assert last.true[(last.tokens == HONEST).all(1)].tolist() == [1.0]
    assert layers()[1].tokens[np.flatnonzero(layers()[1].true)].tolist() == [ids("2 <eos>")]
    assert sum(np.count_nonzero(layer.paid["undiscounted"][~layer.ended]) for layer in layers()) >= 8


@pytest.mark.parametrize("term", ["undiscounted", "discounted"])
def test_shaping_changes_no_return_and_no_optimal_action(term: str) -> None:
    gamma = GAMMAS[term]
    np.testing.assert_allclose(returns(term, gamma), returns(None, gamma), atol=1e-12)
    np.testing.assert_array_equal(optimal(term, gamma), optimal(None, gamma))


def test_the_enumeration_notices_a_bonus_that_is_no_shaping() -> None:
    assert returns("bonus").max() > 1.0
    assert (optimal("bonus") != optimal(None)).any()


def test_the_enumeration_notices_another_discount_than_the_learners() -> None:
    assert np.abs(returns("another discount") - returns(None)).max() > 0.1


@pytest.mark.parametrize("term", ["token_price", "digits", "format"])
def test_other_terms_pay_every_failure_less_than_every_success(term: str) -> None:
    paid, true = returns(term), returns(None)
    assert (paid != true).any()
    assert paid[true == 0].max() < paid[true == 1].min()
