"""Places, roles, offsets and columns: hand-computed on reference frames, and never looking ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import DIGITS, VOCAB_SIZE
from o1nano.policies.network.frame_scan import MEMORY, NUM_ROLES, NUM_SCANNED, Scan, scan_batch, scan_frames
from tests.helpers.tiny import ids

FRAMES = {
    "root sum": (
        "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> 3 4 1 </think> 1 4 3 <eos>",
        "     3    2 1 3 2 1 0    1      0    1 2 0 1 2    0    1 2 3     4    3 2 1   4  ",
        "     1    1 1 2 2 2 2    2      0    1 1 1 2 2   17    17 17 17  0    1 1 1   1  ",
    ),
    "sum": (
        "<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1 <eos>",
        "     0    1 2 3 1 2 3    1    1 2 2 3     0    1 2 3   0  ",
        "     0    1 1 1 2 2 2    2    14 15 14 15 0    1 1 1   1  ",
    ),
    "negative difference": (
        "<subtask> 4 3 - 3 5 = <think> 1 0 8 1 <call> 3 5 - 4 3 </call> 9 1 </think> - 9 1 <eos>",
        "     0    1 2 3 1 2 3    1    1 2 2 3    0   1 2 0 1 2    0    1 2     0    0 1 2   0  ",
        "     0    1 1 1 2 2 2    2  14 15 14 15  0   1 1 1 2 2   17   17 17    0    0 1 1   1  ",
    ),
    "root quotient with remainder": (
        "<problem> 9 6 4 / 6 4 = <think> <call> 4 6 9 / 4 6 </call> 5 1 R 4 </think> 1 5 R 4 <eos>",
        "     4    3 2 1 3 2 1 0    1      0    1 2 3 0 1 2    0    1 2 0 1     3    2 1 2 1   2  ",
        "     1    1 1 1 2 2 2 2    2      0    1 1 1 1 2 2   17  17 17 17 17   0    1 1 1 2   2  ",
    ),
    "two calls": (
        "<subtask> 7 4 * 6 8 = <think> <call> 7 4 * 6 </call> 2 8 2 ; <call> 7 4 * 8 </call> 6 7 3",
        "     0    1 2 3 1 2 3    1      0    1 2 0 1    0    1 2 3 0    0   1 2 0 1    0    1 2 3",
        "     0    1 1 1 2 2 2    2      0    1 1 1 2   17 17 17 17 3    0   1 1 1 2   18 18 18 18",
    ),
    "comparison": (
        "<subtask> compare 3 2 , 4 2 1 = <think> < == < </think> < <eos>",
        "     0       0    1 2 3 1 2 3 4    1    2 3  4    0     0   0  ",
        "     0       0    1 1 1 2 2 2 2    2    2 2  2    0     0   0  ",
    ),
    "root in words": (
        "<problem> what is 9 8 plus 4 5 ? = <think>",
        "     0     0    3 2 1   3  2 1 0 0    1   ",
        "     0     0    1 1 1   2  2 2 2 2    2   ",
    ),
}


SUCCESSOR = Grammar().successor


def scan(frame: list[int]) -> list[list[int]]:
    """Places, roles, offsets, states and columns of one frame."""
    found = scan_batch(np.array([frame], dtype=np.uint8), SUCCESSOR)
    return [each[0].tolist() for each in found]


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("name", FRAMES)
def test_places_and_roles_are_those_computed_by_hand(name: str) -> None:
    tokens, places, roles = FRAMES[name]
    place, role, *_ = scan(ids(tokens))
    assert place == numbers(places)
    assert role == numbers(roles)


# Where units are dropped or put in front, columns begin with 0, and after a returned number R and ; have the column
# after its last digit. All other columns are places.
COLUMNS = {
    "quotient": (
        "<subtask> 4 1 9 8 / 4 6 = <think> <call> 1 9 8 / 4 6 </call> 3 1 R 9 5 ; <call> 4 9 5 \\ 4 6 </call> 9 R 8 1",
        "     0    0 1 2 3 4 1 2 3    1      0    1 2 3 0 1 2    0    1 2 3 1 2 3    0   0 1 2 0  1 2    0    1 2 1 2",
    ),
    "answer of a quotient": (
        "<subtask> 1 9 8 / 4 6 = <think> <call> 9 8 / 4 6 </call> 1 R 5 2 </think> 3 1 R 9 5 <eos>",
        "     0    0 1 2 3 1 2 3    1      0    1 2 0 1 2    0    1 2 1 2    0     0 1 0 1 2   0",
    ),
    "as many digits as the divisor": (
        "<subtask> 9 8 / 4 6 = <think> <call> 9 8 \\ 4 6 </call> 1 R 5 2 </think> 1 R 5 2 <eos>",
        "     0    1 2 3 1 2 3    1      0    1 2 0  1 2    0    1 0 1 2    0     1 0 1 2   0",
    ),
    "product": (
        "<subtask> 7 4 * 6 8 = <think> <call> 7 4 * 6 </call> 2 8 2 ; <call> 7 4 * 8 </call> 6 7 3 </think> 2 4 0 4",
        "     0    1 2 3 0 1 2    1      0    1 2 0 0    0    0 1 2 3    0   1 2 0 1    0    1 2 3     0    0 1 2 3",
    ),
    "factors that are exchanged": (
        "<subtask> 7 4 * 6 8 1 = <think> <call> 6 8 1 * 7 4 </call> 2 4 7 8 </think> 2 4 7 8 <eos>",
        "     0    1 2 3 1 2 3 4    1      0    1 2 3 0 1 2    0    1 2 3 4    0     1 2 3 4   0",
    ),
    "shorter second factor": (
        "<subtask> 5 4 3 * 2 1 = <think> <call> 5 4 3 * 2 </call> 0 9 6 ; <call> 5 4 3 * 1 </call> 5 4 3",
        "     0    1 2 3 4 0 1 2    1      0    1 2 3 0 0    0    0 1 2 3    0   1 2 3 0 1    0    1 2 3",
    ),
    "negative factor": (
        "<subtask> - 7 4 * 6 8 = <think> <call> 7 4 * 6 8 </call> 2 3 2 3",
        "     0    0 1 2 3 1 2 3    1      0    1 2 0 1 2    0    1 2 3 4",
    ),
    "one digit": (
        "<subtask> 7 4 * 6 = <think> 2 4 8 2 </think> 2 8 2 <eos>",
        "     0    1 2 3 1 2    1    1 2 2 3    0     1 2 3   0",
    ),
    "more than one operation": (
        "<subtask> 7 4 * 6 8 + 1 = <think> <call> 7 4 * 6 8 </call> 2 6 1 3",
        "     0    1 2 3 1 2 3 1 2    1      0    1 2 0 1 2    0    1 2 3 4",
    ),
    "root": (
        "<problem> 8 9 1 / 6 4 = <think> <call> 1 9 8 / 4 6 </call> 3 1",
        "     4    3 2 1 3 2 1 0    1      0    1 2 3 0 1 2    0    1 2",
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_computed_by_hand(name: str) -> None:
    tokens, columns = COLUMNS[name]
    assert scan(ids(tokens))[4] == numbers(columns)


@pytest.mark.parametrize("name", sorted({*FRAMES} - {"two calls"}))
def test_columns_are_places_where_no_units_are_dropped(name: str) -> None:
    place, role, _, _, column, column_role = scan(ids(FRAMES[name][0]))
    assert (column, column_role) == (place, role)


# The end of a returned number has its role only here: networks without columns see the same roles as before.
ENDS = {
    "quotient": (
        "<subtask> 1 9 8 / 4 6 = <think> <call> 9 8 / 4 6 </call> 1 R 5 2 ; <call> 1 5 2 \\ 4 6 </call> 5 R 2 2",
        "     0    1 1 1 1 2 2 2    2      0    1 1 1 2 2   17  17 17 17 17 17  0   1 1 1 1 2 2   18  18 18 18 18",
    ),
    "product": (
        "<subtask> 7 4 * 6 8 = <think> <call> 7 4 * 6 </call> 2 8 2 ; <call> 7 4 * 8 </call> 6 7 3 ; <call> 8 2",
        "     0    1 1 1 2 2 2    2      0    1 1 1 2   17 17 17 17 17  0   1 1 1 2   18 18 18 18 18  0   1 1",
    ),
    "expression": (
        "<subtask> 3 * 4 - 5 = <think> <call> 3 * 4 </call> 2 1 ; <goto>",
        "     0    1 1 2 2 3 3    3      0    1 1 2   17  17 17 3   0   ",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_roles_of_ends_are_those_computed_by_hand(name: str) -> None:
    tokens, roles = ENDS[name]
    assert scan(ids(tokens))[5] == numbers(roles)


def test_an_expression_that_is_handed_on_runs_parallel_to_its_source() -> None:
    frame = "<subtask> 9 + 8 * 2 - 5 = <think> <call> 8 * 2 </call> 6 1 ; <goto> 9 + 6 1 - 5 ="
    offsets = "0       1 2 3 4 5 6 7 8 0       0      1 2 3 0       1 2 0 0      1 2 3 4 5 6 7"
    assert scan(ids(frame))[2] == numbers(offsets)


def test_a_prompt_that_is_not_complete_counts_down_to_its_end() -> None:
    place, role, *_ = scan(ids("<problem> 7 + 1 2 3"))
    assert place == [2, 1, 4, 3, 2, 1]
    assert role == [1, 1, 2, 2, 2, 2]


def test_states_are_those_of_the_grammar() -> None:
    rng = np.random.default_rng(0)
    frames = np.zeros((40, 60), dtype=np.uint8)
    for row, frame in enumerate(frames):
        tokens = random_frame(row % 2 == 0, rng, 60)
        frame[: len(tokens)] = tokens
    assert np.array_equal(scan_batch(frames, SUCCESSOR).state, Grammar().states(frames))


def test_frames_in_one_batch_do_not_influence_each_other() -> None:
    frames = [ids(tokens) for tokens, _, _ in FRAMES.values()]
    together = np.zeros((len(frames), max(map(len, frames))), dtype=np.uint8)
    for row, frame in zip(together, frames, strict=True):
        row[: len(frame)] = frame
    found = scan_batch(together, SUCCESSOR)
    for row, frame in enumerate(frames):
        assert [each[row, : len(frame)].tolist() for each in found] == scan(frame)


def random_frame(root: bool, rng: np.random.Generator, length: int) -> list[int]:
    """A prompt and a random walk through the grammar, injected answers included."""
    grammar = Grammar()
    operator = rng.choice(["+", "-", "*", "/"])
    frame = ids(f"<problem> 1 2 3 {operator} 4 5 =" if root else f"<subtask> 3 2 1 {operator} 5 4 =")
    state = grammar.run(frame)
    while len(frame) < length and grammar.legal[state].any():
        token = int(rng.choice(np.flatnonzero(grammar.legal[state])))
        injected = ids(" ".join(rng.choice(DIGITS, 2))) if token == ids("</call>")[0] else []
        frame += [token, *injected]
        state = grammar.run([token, *injected], state)
    return frame


@settings(max_examples=60, deadline=None)
@given(root=st.booleans(), seed=st.integers(0, 2**31), length=st.integers(12, 60))
def test_nothing_after_the_prompt_looks_ahead(root: bool, seed: int, length: int) -> None:
    frame = random_frame(root, np.random.default_rng(seed), length)
    whole = scan(frame)
    for stop in range(8, len(frame) + 1):
        assert scan(frame[:stop]) == [each[:stop] for each in whole]


@settings(max_examples=60, deadline=None)
@given(root=st.booleans(), seed=st.integers(0, 2**31), cuts=st.lists(st.integers(8, 60), max_size=6))
def test_a_scan_continues_where_it_stopped(root: bool, seed: int, cuts: list[int]) -> None:
    frame = random_frame(root, np.random.default_rng(seed), 60)
    tokens, zero = np.array(frame, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    memory, out = np.zeros((1, MEMORY), dtype=np.int32), np.full((NUM_SCANNED, len(frame)), -1, dtype=np.int32)
    stops = sorted({*(cut for cut in cuts if cut < len(frame)), len(frame)})
    for first, stop in zip([0, *stops[:-1]], stops, strict=True):
        at = zero + first
        scan_frames(tokens, zero, at, zero + stop, at, at, memory, SUCCESSOR, out)
    assert out.tolist() == scan(frame)


@settings(max_examples=60, deadline=None)
@given(root=st.booleans(), seed=st.integers(0, 2**31), wanted=st.integers(0, 40))
def test_only_what_is_wanted_is_written(root: bool, seed: int, wanted: int) -> None:
    frame = random_frame(root, np.random.default_rng(seed), 41)
    wanted = min(wanted, len(frame))
    tokens, zero = np.array(frame, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    memory, out = (
        np.zeros((1, MEMORY), dtype=np.int32),
        np.full((NUM_SCANNED, 3 + len(frame) - wanted), -1, dtype=np.int32),
    )
    scan_frames(tokens, zero, zero, zero + len(frame), zero + wanted, zero + 3, memory, SUCCESSOR, out)
    assert out[:, 3:].tolist() == [each[wanted:] for each in scan(frame)]
    assert (out[:, :3] == -1).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=80))
def test_any_tokens_have_coordinates_within_the_tables(tokens: list[int]) -> None:
    found = Scan(*map(np.array, scan(tokens)))
    assert 0 <= found.offset.min() and found.offset.max() < len(tokens)
    assert 0 <= found.place.min() and found.place.max() <= len(tokens) + 1
    assert 0 <= found.column.min() and (found.column <= found.place).all()
    assert 0 <= found.role.min() and found.role.max() < NUM_ROLES


def test_places_do_not_depend_on_how_long_the_other_operand_is() -> None:
    short = scan(ids("<problem> 7 + 4 5 6 ="))[0]
    long = scan(ids("<problem> 1 2 3 4 5 7 + 4 5 6 ="))[0]
    assert short[1:2] == long[6:7] == [1]
    assert short[3:6] == long[8:11] == [3, 2, 1]
