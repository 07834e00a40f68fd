"""Frames of any length in batches: none lost, states and positions right, little padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from o1nano.agents.learning.packing import cut, pack
from o1nano.envs.core.grammar import Grammar, State
from tests.helpers.tiny import ids


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80).map(sorted))
def test_every_frame_is_in_exactly_one_run(lengths: list[int]) -> None:
    runs = cut(lengths)
    assert [index for run in runs for index in range(run.start, run.stop)] == list(range(len(lengths)))
    assert all(run.start < run.stop for run in runs)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80).map(sorted))
def test_a_batch_that_is_not_small_has_little_padding(lengths: list[int]) -> None:
    for run in cut(lengths):
        inside = lengths[run]
        if sum(inside[:-1]) >= 1024:
            assert 1 - sum(inside) / (len(inside) * inside[-1]) < 0.2


def test_frames_of_very_different_length_are_not_padded_together() -> None:
    assert cut([10] * 100 + [200] * 10) == [slice(0, 100), slice(100, 110)]
    assert cut([10] * 100) == [slice(0, 100)]


def test_pack_by_hand() -> None:
    frames = [ids("<subtask> 1 + 1 = 2"), ids("<subtask> 1 2 + 1 = <think> 3")]
    positions = [np.array([4, 5]), np.array([5, 6, 7])]
    batch = pack([np.array(frame, dtype=np.uint8) for frame in frames], positions, Grammar(), "cpu")
    assert batch.tokens.tolist() == [[*frames[0], 0, 0], frames[1]]
    assert batch.rows.tolist() == [0, 0, 1, 1, 1]
    assert batch.columns.tolist() == [4, 5, 5, 6, 7]
    assert batch.states[batch.rows, batch.columns].tolist() == [
        State.CHILD_START,
        State.ANSWER_NUMBER,
        State.CHILD_START,
        State.CHILD_THINK,
        State.CHILD_THINK,
    ]


def test_a_frame_without_actions_is_allowed() -> None:
    none = np.array([], dtype=np.intp)
    frames = [np.array(ids("<subtask> 1 + 1 ="), dtype=np.uint8)] * 2
    batch = pack(frames, [none, np.array([4])], Grammar(), "cpu")
    assert batch.rows.tolist() == [1]
