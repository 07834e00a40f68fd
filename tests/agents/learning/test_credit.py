"""Whose fault a wrong answer is, and advantages by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.agents.learning.credit import frame_verdict, generalized_advantages
from o1nano.envs.language.vocab import EOS, NINE, NOTHING, SUBTASK, ZERO
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, draw
from o1nano.envs.problems.verifier import is_useful_subtask
from tests.helpers.tiny import ids

SUM = "<subtask> 8 9 + 5 4 = "
CHAIN = "<subtask> 1 + 2 + 3 = <think> <call> 1 + 2 </call> 3 ; "


@pytest.mark.parametrize(
    "frame, verdict",
    [
        (SUM + "<think> 3 1 4 1 </think> 3 4 1 <eos>", "right"),
        (SUM + "3 4 1 <eos>", "right"),  # without a thought
        (SUM + "<think> 9 </think> 3 4 1 <eos>", "right"),  # thoughts are not judged
        (SUM + "<think> 3 1 4 1 </think> 3 4 2 <eos>", "wrong"),
        (SUM + "<think> 3 1 4 1 </think> 3 4 1 0 <eos>", "wrong"),  # 0143 is not 143
        (SUM + "<think> 3 1 4 1 </think> - 3 4 1 <eos>", "wrong"),
        (SUM + "<think> 3 1 4 1 </think> 3 4", "wrong"),  # cut off
        (SUM + "<think> 3 4 1 <eos>", "wrong"),  # an illegal end
        (SUM + "<think> 3 1 <call> 8 + 5 </call>", "wrong"),  # too deep
        ("<subtask> 3 5 - 4 3 = <think> 9 1 1 0 </think> 9 1 <eos>", "right"),
        ("<subtask> 7 / 2 = <think> </think> 3 R 1 <eos>", "right"),
        ("<subtask> 7 / 2 = <think> </think> 3 <eos>", "wrong"),
        ("<subtask> 8 / 0 = <think> </think> 0 <eos>", "malformed"),
        ("<subtask> 8 = 8 <eos>", "malformed"),  # nothing to compute
        (CHAIN + "<goto> 3 + 3 =", "right"),
        (CHAIN + "<goto> 3 + 4 =", "wrong"),
        (CHAIN + "<goto> 8 / 0 =", "wrong"),
        (CHAIN + "<goto> 3 +", "wrong"),
        (CHAIN + "<goto> 1 + 2 + 3 =", "wrong"),  # itself: no progress
        ("<subtask> 1 + 2 = <think> <goto> 2 + 1 =", "wrong"),  # back and forth for ever
        ("<subtask> 1 + 5 = <think> <goto> 3 + 0 + 3 =", "wrong"),  # longer
        ("<subtask> gcd 8 4 , 6 3 = <think> <call> 8 4 / 6 3 </call> 1 R 2 1 ; <goto> gcd 6 3 , 2 1 =", "right"),
        ("<subtask> gcd 8 4 , 6 3 = <think> <goto> gcd 6 3 , 8 4 =", "wrong"),  # no progress
        ("<subtask> gcd 8 4 = <think> </think> 8 4 <eos>", "malformed"),  # of one number
        ("<subtask> make 4 2 , 3 , 8 = <think> <call> 8 * 3 </call> 4 2 <ok> </think> 3 * 8 <eos>", "right"),
        ("<subtask> make 4 2 , 3 , 8 = <think> </think> _ <eos>", "wrong"),  # gave up
        ("<subtask> make 4 2 , 3 , 7 = <think> </think> _ <eos>", "no_solution"),
        ("<subtask> make 4 2 , 3 , 7 = <think> <goto> make 4 2 , 3 , 1 =", "no_solution"),  # nor has this one
        ("<subtask> make 4 2 = <think> </think> _ <eos>", "malformed"),  # of nothing
    ],
)
def test_verdicts(frame: str, verdict: str) -> None:
    assert frame_verdict(bytes(ids(frame))) == verdict


@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 3), st.integers(0, 10**6))
def test_frames_of_the_expert_are_right_and_flipped_answers_wrong(family: str, size: int, seed: int) -> None:
    problem = draw(Level(family, size), np.random.default_rng(seed), "all")
    for frame in demonstrate(problem)[1:]:
        assert frame.tokens[0] == SUBTASK
        is_dead_end = frame.tokens[-2] == NOTHING
        assert frame_verdict(bytes(frame.tokens)) == ("no_solution" if is_dead_end else "right")
        if frame.tokens[-1] == EOS and ZERO <= frame.tokens[-2] <= NINE:
            flipped = [*frame.tokens[:-2], ZERO + (frame.tokens[-2] - ZERO + 1) % 10, EOS]
            assert frame_verdict(bytes(flipped)) == "wrong"


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_advantages_by_hand() -> None:
    # Deltas: 0 + 0.5 * 4 - 2 = 0; 1 + 0.5 * 6 - 4 = 0; 3 - 6 = -3. Trace: gamma * lambda = 0.25.
    (out,) = generalized_advantages([floats(0, 1, 3)], [floats(2, 4, 6)], gamma=0.5, lam=0.5)
    assert out == pytest.approx([-3 * 0.25**2, -3 * 0.25, -3])


def test_chains_of_different_length_do_not_mix() -> None:
    rewards, values = [floats(0, 0, 1), floats(1), floats(0, 0)], [floats(0.5, 0.25, 0.75), floats(0.2), floats(1, 2)]
    together = generalized_advantages(rewards, values, 0.9, 0.8)
    for chain in range(3):
        (alone,) = generalized_advantages(rewards[chain : chain + 1], values[chain : chain + 1], 0.9, 0.8)
        assert together[chain] == pytest.approx(alone)
        assert len(together[chain]) == len(values[chain])


def test_without_decay_an_advantage_is_the_return_minus_the_value() -> None:
    (out,) = generalized_advantages([floats(0, 0, 1)], [floats(0.5, 0.25, 0.75)], 1.0, 1.0)
    assert out == pytest.approx([0.5, 0.75, 0.25])


def test_with_full_decay_an_advantage_is_the_next_value_minus_this_one() -> None:
    (out,) = generalized_advantages([floats(0, 0, 1)], [floats(0.5, 0.25, 0.75)], 1.0, 0.0)
    assert out == pytest.approx([-0.25, 0.5, 0.25])


def test_no_chains_no_advantages() -> None:
    assert generalized_advantages([], [], 1.0, 0.95) == []


@pytest.mark.parametrize(
    ("caller", "subtask", "useful"),
    [
        ("<problem> 9 8 + 4 5 =", "<subtask> 8 9 + 5 4 =", True),
        ("<problem> 9 8 + 4 5 =", "<subtask> 8 9 + 5 =", False),  # another problem than its own
        ("<problem> 9 8 + 4 5 =", "<subtask> 8 9 / 0 =", False),  # no answer at all
        ("<problem> 9 7 1 / 4 2 =", "<subtask> 1 7 9 / 2 4 =", True),
        ("<subtask> 1 7 9 / 2 4 =", "<subtask> 7 9 / 2 4 =", True),
        ("<subtask> 1 7 9 \\ 2 4 =", "<subtask> 2 4 * 2 =", True),
        ("<subtask> 1 7 9 \\ 2 4 =", "<subtask> 1 7 9 - 4 8 =", True),
        ("<subtask> 4 2 / 2 =", "<subtask> 4 2 - - 1 =", False),  # what division never needs
        ("<subtask> 4 2 * 2 1 =", "<subtask> 4 2 / 2 =", False),
        ("<subtask> 4 2 + 2 =", "<subtask> 4 + 2 =", False),  # a sum asks nothing
        ("<subtask> 4 2 + 2 - 1 =", "<subtask> 4 2 + 2 =", True),  # an expression may ask anything
        ("<subtask> 4 2 =", "<subtask> 4 - - 2 =", True),  # a caller whose own problem has no answer is not at fault
    ],
)
def test_what_a_frame_has_a_use_for(caller: str, subtask: str, useful: bool) -> None:
    assert is_useful_subtask(bytes(ids(caller)), bytes(ids(subtask))) == useful
