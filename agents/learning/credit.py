"""Whose fault is a wrong answer: rewards and advantages of frames, as small pure functions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from o1nano.envs.language.vocab import END_THINK, EOS, EQUALS, GOTO, SUBTASK
from o1nano.envs.problems.problem import frame_accepts, is_reduction

Credit = Literal["blame", "frame", "episode"]
Verdict = Literal["right", "wrong", "malformed"]
Advantage = Literal["critic", "group", "leave_one_out"]

_EPSILON = 1e-6  # of a standard deviation: rewards that differ by rounding are equal


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


def group_advantages(
    returns: npt.NDArray[np.floating], groups: Sequence[Hashable], estimator: Advantage
) -> npt.NDArray[np.float32]:
    """Advantages of whole chains of actions against others of their group, without a critic.

    Args:
        returns: ``[C]`` what each chain was paid in all.
        groups: For each chain, the group that it belongs to.
        estimator: ``"group"``: less the mean of the group, divided by its standard deviation (GRPO: Shao et al. 2024,
            section 4.1.2; that of the group itself, so that groups of every size weigh alike). ``"leave_one_out"``:
            less the mean of the *others*, which keeps the policy gradient unbiased (RLOO: Ahmadian et al. 2024).

    Returns:
        ``[C]``; 0 for a chain that is alone in its group: nothing tells what it could have been paid.
    """
    member = _members(groups)
    size = np.bincount(member)
    above = returns - (np.bincount(member, returns) / size)[member]
    if estimator == "leave_one_out":  # r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
        others = size - 1
        return (above * (size / np.maximum(others, 1) * (others > 0))[member]).astype(np.float32)
    deviation = np.sqrt(np.bincount(member, above**2) / size)
    return (above / (deviation[member] + _EPSILON)).astype(np.float32)


def compare_groups(returns: npt.NDArray[np.floating], groups: Sequence[Hashable]) -> dict[str, float]:
    """Tells how much groups of chains have to say.

    Args:
        returns: ``[C]``.
        groups: For each chain, the group that it belongs to.

    Returns:
        ``alone``: share of the chains without a partner. Of the groups of two or more: their mean ``size``, and the
        share ``without_variance``, whose members were all paid alike and who say nothing about what to do better.
    """
    member = _members(groups)
    size = np.bincount(member)
    above = np.abs(returns - (np.bincount(member, returns) / size)[member])
    alike = np.bincount(member, above) / size < _EPSILON
    real = size > 1
    found = {"alone": float(np.mean(~real[member]))}
    if real.any():
        found |= {"size": float(size[real].mean()), "without_variance": float(alike[real].mean())}
    return found


def _members(groups: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    """Numbers groups in order of appearance."""
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    return np.array([number[group] for group in groups], dtype=np.intp)
