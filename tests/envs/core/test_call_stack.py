"""The call stack: push, pop, inject, discard; limits; N stacks that know nothing of each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from o1nano.envs.core.call_stack import CallStacks, Ended, Outcome, ragged_ranges
from o1nano.envs.core.config import Limits
from o1nano.envs.core.grammar import Grammar, State
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import spell
from tests.helpers.play import ids

ROOT = "<problem> 9 8 + 4 5 ="
CALL = "<think> <call> 8 9 + 5 4 </call>"
CHILD = "<think> 3 1 4 1 </think> 3 4 1 <eos>"


def stacks_of(prompt: str = ROOT, count: int = 1, limits: Limits | None = None) -> CallStacks:
    stacks = CallStacks(count, limits or Limits(), Grammar())
    for index in range(count):
        stacks.pose([index], [ids(prompt)])
    return stacks


def feed(stacks: CallStacks, script: str) -> int:
    """Steps a single stack; all tokens but the last must leave it running."""
    outcome = int(Outcome.RUNNING)
    for token in ids(script):
        assert outcome == Outcome.RUNNING
        outcome = int(stacks.step(np.array([token]))[0])
    return outcome


def drawn(stacks: CallStacks, index: int = 0) -> list[str]:
    return [spell(frame) for frame in stacks.open_frames(index)]


def test_a_call_pushes_a_frame_with_a_subtask_prompt() -> None:
    stacks = stacks_of()
    assert feed(stacks, CALL) == Outcome.RUNNING
    assert drawn(stacks) == [f"{ROOT} {CALL}", "<subtask> 8 9 + 5 4 ="]
    assert spell(stacks.observe()[0]) == "<subtask> 8 9 + 5 4 ="


def test_a_return_discards_the_frame_and_injects_only_its_answer() -> None:
    stacks = stacks_of()
    feed(stacks, f"{CALL} {CHILD}")
    assert drawn(stacks) == [f"{ROOT} {CALL} 3 4 1"]
    assert spell(stacks.observe()[0]) == f"{ROOT} {CALL} 3 4 1"


def test_the_root_returns_its_visible_answer() -> None:
    stacks = stacks_of()
    assert feed(stacks, f"{CALL} {CHILD} </think> 1 4 3 <eos>") == Outcome.ANSWERED
    assert spell(stacks.answer(0)) == "1 4 3"


def test_an_answer_without_thinking() -> None:
    stacks = stacks_of()
    assert feed(stacks, "- 1 R 4 <eos>") == Outcome.ANSWERED
    assert spell(stacks.answer(0)) == "- 1 R 4"


def test_a_tail_call_replaces_the_frame() -> None:
    stacks = stacks_of("<problem> ( 1 + 2 ) * 3 =")
    feed(stacks, "<think> <call> ( 1 + 2 ) * 3 </call>")
    feed(stacks, "<think> <call> 1 + 2 </call> 3 <eos> ; <goto> 3 * 3 =")
    assert drawn(stacks) == ["<problem> ( 1 + 2 ) * 3 = <think> <call> ( 1 + 2 ) * 3 </call>", "<subtask> 3 * 3 ="]
    feed(stacks, "9 <eos>")
    assert drawn(stacks) == ["<problem> ( 1 + 2 ) * 3 = <think> <call> ( 1 + 2 ) * 3 </call> 9"]


def test_tail_calls_take_no_memory() -> None:
    stacks = stacks_of(limits=Limits(frame_length=32, depth=2, max_tokens=10**6))
    feed(stacks, CALL)
    for round_ in range(200):
        assert feed(stacks, f"<think> <goto> {round_ % 9} + 1 =") == Outcome.RUNNING
    assert stacks.deepest[0] == 2
    assert drawn(stacks)[1:] == ["<subtask> 1 + 1 ="]


def test_usage_is_counted_by_hand_and_injected_tokens_are_not_emitted() -> None:
    stacks = stacks_of()
    feed(stacks, f"{CALL} {CHILD} </think> 1 4 3 <eos>")
    # Root: <think> | <call> | 8 9 + 5 4 </call> | </think> | 1 4 3 <eos>
    # Child: <think> | 3 1 4 1 </think> | 3 4 1 <eos>
    assert stacks.usage_of(0) == Usage(
        reasoning_tokens=1 + 1 + 5,
        completion_tokens=1 + 4 + 1 + 4,
        subtask_tokens=6,
        subtasks=1,
        depth=2,
        longest_context=7 + 8 + 3 + 5,  # the root frame, with the three injected tokens
    )


def test_revisions_are_counted() -> None:
    stacks = stacks_of()
    feed(stacks, "<think> 1 <wrong> <revise> 2 <wrong> <revise> 3 <ok>")
    assert stacks.usage_of(0).revisions == 2


def test_posing_clears_everything() -> None:
    stacks = stacks_of()
    feed(stacks, f"{CALL} <think> <revise>")
    stacks.pose([0], [ids("<problem> 1 + 1 =")])
    assert drawn(stacks) == ["<problem> 1 + 1 ="]
    assert stacks.depth[0] == 0
    assert stacks.usage_of(0) == Usage(depth=1, longest_context=5)


def test_usage_of_all_stacks_is_that_of_each() -> None:
    stacks = stacks_of(count=2)
    stacks.step(np.array(ids("<think> 1")))
    usage = stacks.usage()
    for stack in range(2):
        assert Usage(**{name: column[stack] for name, column in usage.items()}) == stacks.usage_of(stack)


def test_an_observation_is_a_copy() -> None:
    stacks = stacks_of()
    stacks.observe()[:] = 0
    assert drawn(stacks) == [ROOT]


def test_a_closed_stack_waits_for_a_problem() -> None:
    stacks = stacks_of(count=2)
    stacks.close(0)
    assert not stacks.masks()[0].any()
    assert drawn(stacks) == [""]
    stacks.step(np.array(ids("3 3")))
    stacks.pose([0], [ids(ROOT)])
    assert drawn(stacks, 0) == [ROOT]
    assert drawn(stacks, 1) == [f"{ROOT} 3"]


def test_the_trace_has_every_ended_frame_children_first() -> None:
    stacks = stacks_of("<problem> ( 1 + 2 ) * 3 =")
    stacks.trace = []
    feed(stacks, "<think> <call> ( 1 + 2 ) * 3 </call> <think> <goto> 3 * 3 = 9 <eos> </think> 9 <eos>")
    assert [(ended.stack, ended.depth, spell(ended.tokens)) for ended in stacks.trace] == [
        (0, 1, "<subtask> ( 1 + 2 ) * 3 = <think> <goto> 3 * 3 ="),
        (0, 1, "<subtask> 3 * 3 = 9 <eos>"),
        (0, 0, "<problem> ( 1 + 2 ) * 3 = <think> <call> ( 1 + 2 ) * 3 </call> 9 </think> 9 <eos>"),
    ]


@pytest.mark.parametrize(
    ("script", "limits", "outcome"),
    [
        ("+", Limits(), Outcome.ILLEGAL_TOKEN),
        ("<eos>", Limits(), Outcome.ILLEGAL_TOKEN),
        ("<think> <goto>", Limits(), Outcome.ILLEGAL_TOKEN),  # a root is not replaced
        ("<think> ;", Limits(frame_length=9), Outcome.FRAME_FULL),
        ("1 <eos>", Limits(frame_length=9), Outcome.ANSWERED),  # the last place may be used by <eos>
        ("<think> ; ;", Limits(max_tokens=3), Outcome.OUT_OF_TOKENS),
        ("1 4 <eos>", Limits(max_tokens=3), Outcome.ANSWERED),
        (CALL, Limits(depth=1), Outcome.TOO_DEEP),
        (f"{CALL} <think> <call> 1 + 1 </call>", Limits(depth=2), Outcome.TOO_DEEP),
        (f"{CALL} <think> <call> 8 9 + 5 4 </call>", Limits(), Outcome.SELF_CALL),
        (f"{CALL} <think> <goto> 8 9 + 5 4 =", Limits(), Outcome.SELF_CALL),
        (f"{CALL} 3 4 1 <eos>", Limits(frame_length=18), Outcome.FRAME_FULL),  # 15 + 3: nothing more can be written
        (f"{CALL} 3 4 1 0 <eos>", Limits(frame_length=18), Outcome.FRAME_FULL),  # 15 + 4: not even the answer fits
    ],
)
def test_how_episodes_end(script: str, limits: Limits, outcome: Outcome) -> None:
    assert feed(stacks_of(limits=limits), script) == outcome


@pytest.mark.parametrize(
    "script",
    [
        f"{CALL} <think> <call> 8 9 + 5 </call>",  # a prefix of its own prompt
        f"{CALL} <think> <call> 8 9 + 5 4 1 </call>",  # its own prompt is a prefix
        f"{CALL} <think> <goto> 8 9 + 5 =",
        f"{CALL} <think> <goto> 8 9 + 5 4 1 =",
        f"{CALL} <think> <call> 1 + 1 </call> <think> <call> 8 9 + 5 4 </call>",  # its grandparent
    ],
)
def test_only_a_frame_of_the_same_prompt_is_a_self_call(script: str) -> None:
    assert feed(stacks_of(), script) == Outcome.RUNNING


def test_a_problem_that_leaves_no_room_is_refused_with_its_length() -> None:
    with pytest.raises(ConfigurationError, match="a problem of 8 tokens; expected fewer than frame_length=8"):
        stacks_of("<problem> 9 9 9 + 4 5 =", limits=Limits(frame_length=8))


@pytest.mark.parametrize(("name", "value"), [("frame_length", 7), ("depth", 0), ("max_tokens", 0)])
def test_limits_below_sense_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        Limits(**{name: value})


def random_legal(stacks: CallStacks, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in stacks.masks()])


@settings(max_examples=25)
@example(3053277)  # a call that fills its frame
@given(st.integers(0, 2**32 - 1))
def test_invariants_under_random_legal_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(frame_length=40, depth=4, max_tokens=300)
    stacks = stacks_of(limits=limits)
    for emitted in range(1, limits.max_tokens + 1):
        outcome = stacks.step(random_legal(stacks, rng))[0]
        assert outcome != Outcome.ILLEGAL_TOKEN
        assert stacks.usage_of(0).tokens == stacks.emitted[0] == emitted
        if outcome != Outcome.RUNNING:
            break
        frames = stacks.open_frames(0)
        assert len(frames) == stacks.depth[0] + 1 <= stacks.deepest[0] <= limits.depth
        # A caller may have filled its frame with the call; it ends when the answer does not fit.
        assert len(frames[-1]) < limits.frame_length and max(map(len, frames)) <= limits.frame_length
        assert all(len(frame) and 0 not in frame for frame in frames)
        top = stacks.top[0]
        assert not stacks.tokens[top, len(frames[-1]) :].any()  # an observation is the frame and padding
        assert stacks.state[0] == Grammar().run(frames[-1].tolist())  # and tells the state
    assert outcome != Outcome.RUNNING


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_stacks_that_advance_together_are_as_stacks_that_advance_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(frame_length=32, depth=3, max_tokens=60)
    together, alone = stacks_of(count=3, limits=limits), [stacks_of(limits=limits) for _ in range(3)]
    for _ in range(40):
        actions = random_legal(together, rng)
        outcomes = together.step(actions)
        for index, single in enumerate(alone):
            assert single.step(actions[index : index + 1])[0] == outcomes[index]
            assert drawn(single) == drawn(together, index)
            assert single.usage_of(0) == together.usage_of(index)
            if outcomes[index] != Outcome.RUNNING:
                single.pose([0], [ids(ROOT)])
                together.pose([index], [ids(ROOT)])


def test_states_follow_the_frame_across_call_and_return() -> None:
    stacks = stacks_of()
    feed(stacks, CALL)
    assert stacks.state[0] == State.CHILD_START
    feed(stacks, CHILD)
    assert stacks.state[0] == State.ROOT_THINK


def test_ended_frames_name_their_stack() -> None:
    stacks = stacks_of(count=2)
    stacks.trace = []
    for tokens in (("<think>", "3"), ("1", "<eos>")):
        stacks.step(np.array(ids(" ".join(tokens))))
    assert stacks.trace == [Ended(1, 0, bytes(ids(f"{ROOT} 3 <eos>")))]


def test_ragged_ranges_stand_one_after_the_other() -> None:
    first, second = ragged_ranges(np.array([2, 0, 3]), np.array([5, 9, 20]), np.array([0, 0, 7]))
    assert first.tolist() == [5, 6, 20, 21, 22]
    assert second.tolist() == [0, 1, 7, 8, 9]


def test_stacks_are_posed_together_as_one_by_one() -> None:
    together, alone = (CallStacks(3, Limits(), Grammar()) for _ in range(2))
    prompts = {2: ids(ROOT), 0: ids("<subtask> 1 + 1 =")}
    for stacks in (together, alone):
        stacks.pose([0, 1, 2], [ids("<problem> 7 * 8 =")] * 3)
        stacks.step(np.array(ids("<think> <think> 5")))
    together.pose([*prompts], [*prompts.values()])
    for stack, prompt in prompts.items():
        alone.pose([stack], [prompt])
    for name, array in alone.state_dict().items():
        np.testing.assert_array_equal(together.state_dict()[name], array)
    assert drawn(together, 0) == ["<subtask> 1 + 1 ="] and drawn(together, 1) == ["<problem> 7 * 8 = <think>"]


def test_a_revision_deletes_nothing() -> None:
    stacks = stacks_of()
    script = "<think> 3 2 <wrong> <revise> 3 1 4 1"
    for end in range(1, len(script.split()) + 1):
        token = script.split()[end - 1]
        assert feed(stacks, token) == Outcome.RUNNING
        assert drawn(stacks) == [f"{ROOT} {' '.join(script.split()[:end])}"]
