"""Whose fault is a wrong answer: rewards and advantages of frames, as small pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from o1nano.envs.pose import frame_accepts, is_reduction
from o1nano.envs.vocab import END_THINK, EOS, EQUALS, GOTO, SUBTASK

Credit = Literal["blame", "frame", "episode"]
Verdict = Literal["right", "wrong", "malformed"]


def judge(frame: bytes) -> Verdict:
    """Judges a whole child frame by its own prompt, exactly.

    A frame that ended with a tail call is right if the problem it handed on is smaller and has the answer of its own.
    ``"malformed"`` means that the prompt asks nothing that has an answer, which is the caller's fault.
    """
    prompt_end = frame.index(EQUALS) + 1
    prompt, given = frame[:prompt_end], b""  # nothing: cut off by a limit or an illegal token
    if frame[-1] == EOS:
        given = frame[frame.rfind(END_THINK) + 1 if END_THINK in frame else prompt_end : -1]
    right = frame_accepts(prompt, given)
    if right is None:
        return "malformed"
    if frame[-1] == EQUALS and GOTO in frame:
        right = is_reduction(prompt, bytes([SUBTASK]) + frame[frame.rindex(GOTO) + 1 :])
    return "right" if right else "wrong"


def advantages(
    rewards: Sequence[npt.NDArray[np.float32]], values: Sequence[npt.NDArray[np.float32]], gamma: float, lam: float
) -> list[npt.NDArray[np.float32]]:
    """Generalised advantage estimation over finished chains of actions (Schulman et al. 2016, equation 16).

    Args:
        rewards: For each chain, the reward of every action; behind the last one nothing follows.
        values: For each chain, the value before every action.
        gamma: Discount a token.
        lam: Trace decay.
    """
    width = max(map(len, values), default=0)
    reward, value = np.zeros((2, len(values), width + 1), dtype=np.float32)
    for chain in range(len(values)):
        # Aligned at the end, so that every chain begins its backward pass in the same column.
        reward[chain, width - len(values[chain]) : width] = rewards[chain]
        value[chain, width - len(values[chain]) : width] = values[chain]
    advantage = np.zeros((len(values), width + 1), dtype=np.float32)
    for column in range(width - 1, -1, -1):
        delta = reward[:, column] + gamma * value[:, column + 1] - value[:, column]
        advantage[:, column] = delta + gamma * lam * advantage[:, column + 1]
    return [advantage[chain, width - len(values[chain]) : width] for chain in range(len(values))]
