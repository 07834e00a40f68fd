"""What the engine tells whoever watches: enough to draw the frames that it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from o1nano.envs.core.call_stack import Outcome
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.language.vocab import spell
from o1nano.envs.problems.problem import read
from o1nano.policies.search.events import (
    BranchEnded,
    ChecksBegan,
    ChecksEnded,
    Event,
    FrameOpened,
    FrameReturned,
    TokenEmitted,
)
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.search import search
from tests.helpers.search import CONFIG, WIDE, Faults, caller, some_problems


def frames_of(events: list[Event]) -> dict[int, list[str]]:
    """The frames of every branch, in the order in which they end, put together from the events alone."""
    open_frames: dict[int, list[bytearray]] = {}
    ended: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, (ChecksBegan, ChecksEnded)):
            continue
        stack = open_frames.setdefault(id(event.branch), [])
        done = ended.setdefault(id(event.branch), [])
        if isinstance(event, FrameOpened):
            if event.replaces:
                done.append(spell(stack.pop()))
            assert len(stack) == event.depth - event.branch.depth
            stack.append(bytearray(event.prompt))
        elif isinstance(event, TokenEmitted):
            assert len(stack) == event.depth - event.branch.depth + 1
            stack[-1].append(event.token)
        elif isinstance(event, FrameReturned):
            if event.depth - event.branch.depth < len(stack) - 1:
                done.append(spell(stack.pop()))
            stack[-1].extend(event.answer)
        elif event.branch.outcome == Outcome.ANSWERED:
            done.append(spell(stack.pop()))
    return ended


@pytest.mark.parametrize("seed", range(3))
def test_the_events_hold_every_frame_that_is_kept(seed: int) -> None:
    events: list[Event] = []
    answers = search(
        caller(seed), some_problems(8), CONFIG, SearchOptions(paths=2), keep_frames=True, observe=events.append
    )
    branches = {id(event.branch): event.branch for event in events if isinstance(event, BranchEnded)}
    assert len(branches) == 16

    found = frames_of(events)
    for key, branch in branches.items():
        assert found[key][: len(branch.frames)] == [spell(frame.tokens) for frame in branch.frames]
    assert sum(isinstance(event, TokenEmitted) for event in events) == sum(answer.tokens for answer in answers)


def test_frames_of_the_expert_are_told_in_their_order(scripted: Faults) -> None:
    events: list[Event] = []
    (answer,) = search(caller(), [read("74*68")], WIDE, SearchOptions(), keep_frames=True, observe=events.append)
    assert answer.text == "5032"
    (found,) = frames_of(events).values()
    assert found == [spell(frame.tokens) for frame in answer.frames]

    opened = [(event.depth, spell(event.prompt)) for event in events if isinstance(event, FrameOpened)]
    assert opened[:3] == [
        (0, "<problem> 7 4 * 6 8 ="),
        (1, "<subtask> 4 7 * 8 6 ="),
        (2, "<subtask> 4 7 * 8 ="),
    ]
    returned = [(event.depth, spell(event.answer)) for event in events if isinstance(event, FrameReturned)]
    assert returned[0] == (1, "2 9 5") and returned[-1] == (0, "2 3 0 5")


def test_votes_on_subtasks_are_told_too(scripted: Faults) -> None:
    events: list[Event] = []
    (answer,) = search(caller(), [read("98+45")], WIDE, SearchOptions(votes=3), observe=events.append)
    assert answer.text == "143"
    opened = [spell(event.prompt) for event in events if isinstance(event, FrameOpened)]
    # The first two voters agree: the third one is not needed, but has begun.
    assert opened[:3] == ["<problem> 9 8 + 4 5 =", "<subtask> 8 9 + 5 4 =", "<subtask> 5 4 + 8 9 ="]
    (returned,) = [event for event in events if isinstance(event, FrameReturned)]
    assert (returned.depth, spell(returned.answer)) == (0, "3 4 1")


def test_checks_stand_between_two_events(scripted: Faults) -> None:
    events: list[Event] = []
    (answer,) = search(caller(), [read("98+45")], WIDE, SearchOptions(4, select="check"), observe=events.append)
    assert answer.passed_checks
    kinds = [type(event) for event in events]
    began, ended = kinds.index(ChecksBegan), kinds.index(ChecksEnded)
    assert events[began] == ChecksBegan(("143",)) and events[ended] == ChecksEnded((2,))
    assert kinds[began - 1] == BranchEnded and kinds.index(ChecksEnded) == len(kinds) - 1
    first = events[began + 1]
    assert isinstance(first, FrameOpened) and spell(first.prompt) == "<problem> 9 + 8 ="


def test_log_probabilities_are_those_of_the_token() -> None:
    chosen: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, TokenEmitted):
            assert np.exp(event.log_probs).sum() == pytest.approx(1, abs=1e-4)
            chosen.append(float(event.log_probs[event.token]))

    (answer,) = search(caller(), some_problems(1), CONFIG, SearchOptions(), observe=observe)
    assert sum(chosen) == pytest.approx(answer.log_prob, abs=1e-4)


def test_watching_changes_nothing_and_an_error_of_the_watcher_ends_the_search() -> None:
    options = SearchOptions(paths=3)
    config = EnvConfig(frame_length=48, depth=4, max_tokens=120)
    plain = search(caller(), some_problems(4), config, options, keep_frames=True)
    watched = search(caller(), some_problems(4), config, options, keep_frames=True, observe=lambda event: None)
    assert [answer.frames for answer in watched] == [answer.frames for answer in plain]

    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if len(seen) == 10:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        search(caller(), some_problems(4), config, options, observe=stop)
    assert len(seen) == 10
