"""What a step did to the top frame: worked out from observations, and as the call stacks know it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.frame_changes import FrameChange, frame_changes
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.vector import ArithmeticVectorEnv
from tests.helpers.play import ids

CALL = "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4"


def row(frame: str, length: int = 24) -> np.ndarray:
    """Returns ``[1, length]``: a padded observation."""
    tokens = ids(frame)
    return np.array([tokens + [0] * (length - len(tokens))], dtype=np.uint8)


@pytest.mark.parametrize(
    ("before", "action", "after", "change"),
    [
        ("<problem> 1 + 2 =", "3", "<problem> 1 + 2 = 3", FrameChange.CONTINUED),
        ("<problem> 1 + 2 = 3", "<eos>", "<problem> 1 + 2 = 3 <eos>", FrameChange.CONTINUED),  # the last observation
        (CALL, "</call>", "<subtask> 8 9 + 5 4 =", FrameChange.OPENED),
        (CALL, "</call>", f"{CALL} </call>", FrameChange.CONTINUED),  # without a call stack, or too deep
        ("<subtask> 8 9 + 5 4 = 3 4 1", "<eos>", f"{CALL} </call> 3 4 1", FrameChange.RETURNED),
        ("<subtask> 1 * 2 = <think> <goto> 2 + 0", "=", "<subtask> 2 + 0 =", FrameChange.REPLACED),
        ("<problem> 1 + 2 = 3", "<eos>", "<problem> 4 + 4 =", FrameChange.STARTED),  # the next episode
        (CALL, "</call>", "<problem> 4 + 4 =", FrameChange.STARTED),  # a limit has ended the episode
        ("<problem> 1 + 2 = 3 <eos>", "<pad>", "<problem> 4 + 4 =", FrameChange.STARTED),  # NEXT_STEP
        ("<problem> 1 + 2 =", "+", "<problem> 1 + 2 =", FrameChange.STARTED),  # the same problem again
        ("<subtask> 1 + 2 = 3", "<eos>", "<subtask> 4 + 4 =", FrameChange.STARTED),  # a subtask is the root
    ],
)
def test_changes_by_hand(before: str, action: str, after: str, change: FrameChange) -> None:
    assert frame_changes(row(before), np.array(ids(action)), row(after)).tolist() == [change]


def test_a_full_frame_cannot_continue() -> None:
    full = row("<problem> 1 + 2 = 3 3 3", length=8)
    after = row("<problem> 4 + 4 =", length=8)
    assert frame_changes(full, np.array([5]), after).tolist() == [FrameChange.STARTED]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["SameStep", "NextStep"]))
def test_observations_tell_what_the_call_stacks_know(seed: int, mode: str) -> None:
    """Half of the rows play like the expert, the others take random tokens, legal ones most of the time."""
    rng = np.random.default_rng(seed)
    envs = ArithmeticVectorEnv(
        6,
        autoreset_mode=mode,
        obs_dtype="uint8",
        operations=("addition", "expression", "chain"),
        digits=(1, 2),
        frame_length=64,
        depth=4,
        max_tokens=90,
    )
    expert = ExpertPolicy(Grammar())
    stacks = envs.episodes.stacks
    observations, _ = envs.reset(seed=seed)
    assert (stacks.changes == FrameChange.STARTED).all()
    seen: set[int] = set()
    for _ in range(100):
        actions = np.zeros(6, dtype=np.int64)
        actions[:3] = expert.predict(observations[:3])
        for index in range(3, 6):
            legal = np.flatnonzero(envs.action_masks()[index])
            actions[index] = rng.choice(legal) if rng.random() < 0.98 else rng.integers(VOCAB_SIZE)
        following = envs.step(actions)[0]
        changes = frame_changes(observations, actions, following)
        np.testing.assert_array_equal(changes, stacks.changes)
        seen.update(changes.tolist())
        observations = following
    assert seen >= {FrameChange.CONTINUED, FrameChange.OPENED, FrameChange.RETURNED, FrameChange.STARTED}


def test_without_a_call_stack_frames_continue_until_the_next_episode() -> None:
    env = ArithmeticEnv(call_stack=False, frame_length=512, operations=("multiplication",), digits=2)
    expert = ExpertPolicy(env)
    before, _ = env.reset(seed=0)
    terminated = False
    while not terminated:
        actions = expert.predict(before[None])
        after, reward, terminated, _, _ = env.step(actions[0])
        assert frame_changes(before[None], actions, after[None]).tolist() == [FrameChange.CONTINUED]
        before = after
    assert reward == 1.0
