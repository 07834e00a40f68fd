"""Frames of any length as one batch: none lost, nothing padded, states and positions right."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from o1nano.envs.core.grammar import Grammar, State
from o1nano.policies.network.frame_batch import FrameBatch, pack_frames
from tests.helpers.tiny import ids, tiny_network

FRAMES = [ids("<subtask> 1 + 1 = 2"), ids("<subtask> 1 2 + 1 = <think> 3")]
POSITIONS = [[4, 5], [5, 6, 7]]


def packed(frames: list[list[int]], positions: list[list[int]]) -> FrameBatch:
    tokens = [np.array(frame, dtype=np.uint8) for frame in frames]
    return pack_frames(tokens, [np.array(at, dtype=np.intp) for at in positions], Grammar(), "cpu")


def test_pack_by_hand() -> None:
    batch = packed(FRAMES, POSITIONS)
    assert batch.starts.tolist() == [0, 6, 14]
    assert batch.tokens.tolist() == [*FRAMES[0], *FRAMES[1]]
    assert batch.time.tolist() == [*range(6), *range(8)]
    assert batch.actions.tolist() == [4, 5, 11, 12, 13]
    assert batch.longest == 8
    assert batch.states[batch.actions].tolist() == [
        State.CHILD_START,
        State.ANSWER_NUMBER,
        State.CHILD_START,
        State.CHILD_THINK,
        State.CHILD_THINK,
    ]


def test_a_frame_without_actions_is_allowed() -> None:
    assert packed([ids("<subtask> 1 + 1 =")] * 2, [[], [4]]).actions.tolist() == [9]


@th.no_grad()
def test_a_frame_does_not_know_what_it_is_packed_with() -> None:
    network = tiny_network()
    together = network(packed(FRAMES, POSITIONS))
    alone = [network(packed([frame], [at])) for frame, at in zip(FRAMES, POSITIONS, strict=True)]
    for name, index in (("log-probabilities", 0), ("values", 1)):
        apart = th.cat([found[index] for found in alone]).clamp(min=-1e9)
        assert th.allclose(together[index].clamp(min=-1e9), apart, atol=1e-6), name


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError):
        packed([], [])
