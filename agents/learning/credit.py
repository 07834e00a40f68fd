"""Credit: which frame a wrong answer is blamed on, and the advantages of its actions. Small pure functions.

A child frame is a problem of its own, so its answer can be verified against its own prompt. The verdict is

* ``"right"``: the frame answered exactly, or handed on, by a tail call, a smaller problem with the same answer.
* ``"wrong"``: it ended in any other way, with a wrong answer, an illegal token or at a limit.
* ``"no_solution"``: its answer, or what it handed on, is right, and there is no solution: ``_``. Nearly every subtask
  of a search is such a dead end. A policy that is rewarded for each of them learns to give up, also where there is a
  solution.
* ``"malformed"``: its prompt has no answer (``8 / 0 =``). That is a mistake of the caller, not of the frame.

With ``credit="blame"`` a frame is *misled* if a child of it was wrong although the subtask was *useful*: one that the
caller's own problem leads to (``is_useful_subtask``). What a misled frame answers is not its own mistake, so it is left
out of the update; the blame is the child's. A useless subtask excuses nothing, since an agent could otherwise avoid all
blame by calling strange subtasks. Malformed frames and those without a solution are not learned from either.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from o1nano.envs.language.vocab import END_THINK, EOS, EQUALS, GOTO, NOTHING, SUBTASK
from o1nano.envs.problems.verifier import frame_accepts, is_reduction

Credit = Literal["blame", "frame", "episode"]
Verdict = Literal["right", "wrong", "no_solution", "malformed"]
Advantage = Literal["critic", "group", "leave_one_out"]

_EPSILON = 1e-6  # rewards that differ by less, such as by rounding, count as equal


def frame_verdict(frame: bytes) -> Verdict:
    """Judges a child frame by its own prompt, exactly.

    Args:
        frame: All tokens of the frame, its last action included.
    """
    prompt_end = frame.index(EQUALS) + 1
    prompt = frame[:prompt_end]
    is_right = frame_accepts(prompt, _given_answer(frame, prompt_end))
    # None: the prompt has no answer, so nothing could have been right.
    if is_right is None:
        return "malformed"

    # A tail call ends with the "=" of the problem that it hands on: "... <goto> 3 + 3 =".
    if frame[-1] == EQUALS and GOTO in frame:
        handed_on = bytes([SUBTASK]) + frame[frame.rindex(GOTO) + 1 :]
        is_right = is_reduction(prompt, handed_on)
    if not is_right:
        return "wrong"
    return "no_solution" if frame_accepts(prompt, bytes([NOTHING])) else "right"


def _given_answer(frame: bytes, prompt_end: int) -> bytes:
    """Returns the visible answer of a frame, empty if a limit or an illegal token has ended the frame."""
    if frame[-1] != EOS:
        return b""
    # A frame may answer without thinking: "8 9 + 5 4 = 3 4 1 <eos>".
    start = frame.rfind(END_THINK) + 1 if END_THINK in frame else prompt_end
    return frame[start:-1]


def generalized_advantages(
    rewards: Sequence[npt.NDArray[np.float32]], values: Sequence[npt.NDArray[np.float32]], gamma: float, lam: float
) -> list[npt.NDArray[np.float32]]:
    """Generalised advantage estimation over finished chains of actions (Schulman et al. 2016, equation 16).

    Args:
        rewards: For each chain, the reward of every action; nothing follows the last one.
        values: For each chain, the value before every action.
        gamma: Discount per token.
        lam: Trace decay.

    Returns:
        For each chain, the advantage of every action.
    """
    width = max(map(len, values), default=0)
    starts = [width - len(chain) for chain in values]

    # Chains are aligned at their ends, so that all of them start the backward pass in the same column. With lengths 3
    # and 1 the rows are [r0 r1 r2 0] and [0 0 r0 0]; the last column is what follows the end.
    reward = np.zeros((len(values), width + 1), dtype=np.float32)
    value = np.zeros((len(values), width + 1), dtype=np.float32)
    for chain, start in enumerate(starts):
        reward[chain, start:width] = rewards[chain]
        value[chain, start:width] = values[chain]

    # A_t = delta_t + gamma * lam * A_(t + 1), for all chains at once. Before a chain begins the columns are not used.
    advantage = np.zeros((len(values), width + 1), dtype=np.float32)
    for column in range(width - 1, -1, -1):
        delta = reward[:, column] + gamma * value[:, column + 1] - value[:, column]
        advantage[:, column] = delta + gamma * lam * advantage[:, column + 1]
    return [advantage[chain, start:width] for chain, start in enumerate(starts)]


def group_advantages(
    returns: npt.NDArray[np.floating], groups: Sequence[Hashable], estimator: Advantage
) -> npt.NDArray[np.float32]:
    """Advantages of whole chains of actions over the others of their group, without a critic.

    Args:
        returns: ``[C]`` total reward of each chain.
        groups: For each chain, the group that it belongs to.
        estimator: ``"group"`` subtracts the mean of the group and divides by its standard deviation (GRPO: Shao et al.
            2024, section 4.1.2; the population's deviation, so that groups of every size have the same weight).
            ``"leave_one_out"`` subtracts the mean of the *others*, which keeps the policy gradient unbiased (RLOO:
            Ahmadian et al. 2024).

    Returns:
        ``[C]``; 0 for a chain that is alone in its group, because there is nothing to compare it with.
    """
    # Per group: its size and its mean. mean[member] gives each chain the mean of its group.
    member = _group_numbers(groups)
    size = np.bincount(member)
    mean = np.bincount(member, returns) / size
    above = returns - mean[member]

    if estimator == "leave_one_out":
        # r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
        others = size - 1
        factor = size / np.maximum(others, 1) * (others > 0)  # 0 for a group of one
        return (above * factor[member]).astype(np.float32)

    deviation = np.sqrt(np.bincount(member, above**2) / size)
    return (above / (deviation[member] + _EPSILON)).astype(np.float32)


def group_statistics(returns: npt.NDArray[np.floating], groups: Sequence[Hashable]) -> dict[str, float]:
    """Measures how much can be learned from groups of chains.

    Args:
        returns: ``[C]`` total reward of each chain.
        groups: For each chain, the group that it belongs to.

    Returns:
        ``alone``: share of the chains that have no partner. Over the groups of two and more: their mean ``size``, and
        ``without_variance``, the share of them in which all rewards are equal, so that nothing can be learned.
    """
    member = _group_numbers(groups)
    size = np.bincount(member)
    mean = np.bincount(member, returns) / size
    # A group without variance: on average its members are no further than rounding from their mean.
    distance = np.abs(returns - mean[member])
    is_equal = np.bincount(member, distance) / size < _EPSILON

    has_partners = size > 1
    found = {"alone": float(np.mean(~has_partners[member]))}
    if has_partners.any():
        found["size"] = float(size[has_partners].mean())
        found["without_variance"] = float(is_equal[has_partners].mean())
    return found


def _group_numbers(groups: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    """Numbers groups in the order of their first appearance: ``b a b`` is ``0 1 0``."""
    numbers: dict[Hashable, int] = {}
    of_chains = np.empty(len(groups), dtype=np.intp)
    for chain, group in enumerate(groups):
        of_chains[chain] = numbers.setdefault(group, len(numbers))
    return of_chains
