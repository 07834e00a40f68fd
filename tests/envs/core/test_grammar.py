"""The grammar: which tokens are legal, who speaks, what happens; all functions of the tokens before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.core import grammar as grammar_module
from o1nano.envs.core.grammar import NUM_STATES, Channel, Event, Grammar, State
from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import ID, MORE_WORDS, PAD, TOKENS, VOCAB_SIZE, WORDS, spell
from o1nano.envs.problems.expert import Frame, demonstrate
from o1nano.envs.problems.problem import Problem
from tests.helpers.play import ids, problems

GRAMMAR, FUNCTIONS = Grammar(), Grammar(functions=True)
DIGITS = "0 1 2 3 4 5 6 7 8 9"
OPERATORS = r"+ - * / \ "
ROOT, CHILD = "<problem> 1 + 2 = ", "<subtask> 1 + 2 = "
THOUGHTS = f"{DIGITS} - R _ ; % <ok> <wrong> <revise> </think> <call>"


def legal_after(frame: str, grammar: Grammar = GRAMMAR) -> set[str]:
    return set(spell(np.flatnonzero(grammar.legal[grammar.run(ids(frame))])).split())


@pytest.mark.parametrize(
    ("frame", "legal"),
    [
        (ROOT, f"{DIGITS} - <think>"),
        (CHILD, f"{DIGITS} - <think>"),
        (ROOT + "<think>", THOUGHTS),
        (CHILD + "<think>", f"{THOUGHTS} <goto>"),
        (ROOT + "<think> <call>", f"{DIGITS} - ("),
        (ROOT + "<think> <call> -", f"{DIGITS} ("),
        (ROOT + "<think> <call> ( ( -", f"{DIGITS} ("),
        (ROOT + "<think> <call> - (", f"{DIGITS} - ("),
        (ROOT + "<think> <call> 1", f"{DIGITS} {OPERATORS} ) % </call>"),
        (ROOT + "<think> <call> 1 +", f"{DIGITS} - ("),
        (ROOT + "<think> <call> ( 1 )", f"{OPERATORS} ) % </call>"),
        (CHILD + "<think> <goto> 1", f"{DIGITS} {OPERATORS} ) % ="),
        (ROOT + "<think> <call> 1 + 2 </call>", THOUGHTS),
        (ROOT + "<think> </think>", f"{DIGITS} -"),
        (ROOT + "<think> </think> -", DIGITS),
        (ROOT + "<think> </think> 3", f"{DIGITS} R <eos>"),
        (ROOT + "3", f"{DIGITS} R <eos>"),
        (ROOT + "3 R", f"{DIGITS} -"),
        (ROOT + "3 R -", DIGITS),
        (ROOT + "3 R - 1", f"{DIGITS} <eos>"),
        (ROOT + "3 R 1", f"{DIGITS} <eos>"),
        (ROOT + "3 <eos>", ""),
        (CHILD + "<think> <goto> 1 + 2 =", ""),
        ("", ""),
        ("<problem> 1 + 2", ""),
    ],
)
def test_legal_tokens(frame: str, legal: str) -> None:
    assert legal_after(frame) == set(legal.split())


NAMES = "gcd mod total max min compare solve make recall f g h"
SYMBOLS = "+ - * / ( ) _ < > =="


@pytest.mark.parametrize(
    ("frame", "legal"),
    [
        (ROOT, f"{DIGITS} {SYMBOLS} <think>"),
        (CHILD + "<think>", f"{THOUGHTS} {SYMBOLS} <goto>"),
        (ROOT + "<think> <call>", f"{DIGITS} - ( {NAMES}"),
        (ROOT + "<think> <call> gcd", f"{DIGITS} - ( {NAMES}"),
        (ROOT + "<think> <call> gcd 1", rf"{DIGITS} {OPERATORS} ) % , </call>"),
        (ROOT + "<think> <call> gcd 1 ,", f"{DIGITS} - ( {NAMES}"),
        (CHILD + "<think> <goto> gcd 1", rf"{DIGITS} {OPERATORS} ) % , ="),
        (ROOT + "<think> </think>", f"{DIGITS} {SYMBOLS}"),
        (ROOT + "<think> </think> -", DIGITS),
        (ROOT + "<think> </think> 3", f"{DIGITS} {SYMBOLS} R <eos>"),
        (ROOT + "<think> </think> 3 R 1", f"{DIGITS} <eos>"),
        (ROOT + "<think> </think> _", f"{DIGITS} {SYMBOLS} <eos>"),
        (ROOT + "<think> </think> ( 3", f"{DIGITS} {SYMBOLS} <eos>"),
        (ROOT + "<think> </think> ( 3 <eos>", ""),
    ],
)
def test_legal_tokens_with_functions(frame: str, legal: str) -> None:
    assert legal_after(frame, FUNCTIONS) == set(legal.split())


def test_functions_only_add_what_was_illegal() -> None:
    known = GRAMMAR.successor != State.ILLEGAL
    assert (FUNCTIONS.successor[known] == GRAMMAR.successor[known]).all()
    assert (FUNCTIONS.channel == GRAMMAR.channel).all()
    assert (FUNCTIONS.event[GRAMMAR.legal] == GRAMMAR.event[GRAMMAR.legal]).all()


def test_an_answer_of_symbols_is_written_by_the_completion_head() -> None:
    state = FUNCTIONS.run(ids(ROOT + "<think> </think> 3 * ( 8"))
    assert state == State.ANSWER_SYMBOLS
    assert FUNCTIONS.channel[state] == Channel.COMPLETION
    assert np.flatnonzero(FUNCTIONS.event[state]).tolist() == ids("<eos>")


def test_without_thinking_only_an_answer_is_legal() -> None:
    direct = Grammar(thinking=False, calls=False)
    assert legal_after(ROOT, direct) == set(f"{DIGITS} -".split())


def test_without_a_call_stack_questions_are_thought_about_where_they_stand() -> None:
    flat = Grammar(thinking=True, calls=False)
    for start in (ROOT, CHILD):
        for thought in ("<think>", "<think> <call> 1 + 2 <think>", "<think> <call> 1 + 2 <think> </call>"):
            assert legal_after(start + thought, flat) == {*THOUGHTS.split(), "</call>"}
        assert legal_after(start + "<think> <call> 1", flat) == {*f"{DIGITS} {OPERATORS} ) % <think>".split()}
    assert (flat.event != Event.CALL).all()


def test_padding_prompts_and_words_are_never_legal() -> None:
    forbidden = [PAD, ID["<problem>"], ID["<subtask>"], *(ID[word] for word in (*WORDS, *MORE_WORDS, "x", ":"))]
    for grammar in (GRAMMAR, FUNCTIONS):
        assert not grammar.legal[:, forbidden].any()
    assert not GRAMMAR.legal[:, ID[","] :].any()


def test_every_state_of_a_running_frame_has_a_legal_token() -> None:
    ended = [State.EMPTY, State.ILLEGAL, State.ROOT_PROMPT, State.CHILD_PROMPT, State.DONE]
    for grammar, beyond in ((GRAMMAR, [State.ANSWER_SYMBOLS]), (FUNCTIONS, [])):
        running = np.setdiff1d(np.arange(NUM_STATES), [*ended, *beyond])
        assert grammar.legal[running].any(1).all()
        assert not grammar.legal[[*ended, *beyond]].any()


def test_an_illegal_token_cannot_be_undone() -> None:
    assert (GRAMMAR.successor[State.ILLEGAL] == State.ILLEGAL).all()
    assert (GRAMMAR.successor[State.DONE] == State.ILLEGAL).all()


def test_prompts_in_words_are_read_like_prompts_in_symbols() -> None:
    assert GRAMMAR.run(ids("<problem> what is 1 plus 2 ? =")) == GRAMMAR.run(ids(ROOT)) == State.ROOT_START
    assert GRAMMAR.run(ids(CHILD)) == State.CHILD_START


# One letter a token after the prompt: (C)ompletion, (R)easoning, (S)ubtask; injected tokens are in lower case.
@pytest.mark.parametrize(
    ("frame", "channels"),
    [
        ("<problem> 9 8 + 4 5 = | <think> <call> 8 9 + 5 4 </call> 3 4 1 </think> 1 4 3 <eos>", "CRSSSSSSrrrRCCCC"),
        ("<subtask> 8 9 + 5 4 = | <think> 3 1 4 1 </think> 3 4 1 <eos>", "CRRRRRCCCC"),
        ("<subtask> ( 1 + 2 ) * 3 = | <think> <call> 1 + 2 </call> 3 ; <goto> 3 * 3 =", "CRSSSSrRRSSSS"),
        ("<problem> 1 + 2 = | 3 <eos>", "CC"),
    ],
)
def test_channels(frame: str, channels: str) -> None:
    prompt, rest = frame.split(" | ")
    state, spoken = GRAMMAR.run(ids(prompt)), ""
    for token in ids(rest):
        spoken += Channel(GRAMMAR.channel[state]).name[0]
        state = GRAMMAR.run([token], state)
    assert spoken == channels.upper()


def test_the_frame_in_the_documentation() -> None:
    """Every line of it: a token, the state after it, the next channel."""
    assert grammar_module.__doc__ is not None
    lines = grammar_module.__doc__.split("next channel\n")[1].splitlines()
    state = int(State.EMPTY)
    for line in lines:
        token, name, channel = line.split()[:3]
        state = GRAMMAR.run(ids(token), state)
        first, _, offset = name.partition("+")
        assert state == State[first] + int(offset or 0), line
        assert Channel(GRAMMAR.channel[state]).name.lower() == channel, line
    assert state == State.DONE


def test_events_happen_where_an_expression_or_a_frame_ends() -> None:
    expected = {
        ROOT + "<think> <call> 1": {"</call>": Event.CALL},
        CHILD + "<think> <goto> 1": {"=": Event.TAIL_CALL},
        ROOT + "3": {"<eos>": Event.RETURN},
        ROOT + "3 R 1": {"<eos>": Event.RETURN},
        ROOT: {},
        ROOT + "<think>": {},
        ROOT + "3 R": {},
    }
    for frame, events in expected.items():
        row = GRAMMAR.event[GRAMMAR.run(ids(frame))]
        assert {TOKENS[token]: row[token] for token in np.flatnonzero(row)} == events


def test_events_are_caused_by_legal_tokens_only() -> None:
    assert GRAMMAR.legal[GRAMMAR.event != Event.NONE].all()


@given(problems(), st.sampled_from((0.0, 1.0)), st.integers(0, 2**32 - 1))
def test_the_expert_writes_legal_tokens_only(problem: Problem, slips: float, seed: int) -> None:
    for frame in demonstrate(problem, np.random.default_rng(seed), slips):
        _assert_legal(frame, functions=isinstance(problem.expr, Function))


def _assert_legal(frame: Frame, functions: bool) -> None:
    grammar = FUNCTIONS if functions else GRAMMAR
    state = State.EMPTY
    for token, emitted in zip(frame.tokens, frame.emitted, strict=True):
        assert not emitted or grammar.legal[state, token], spell(frame.tokens)
        state = grammar.run([token], state)  # injected answers included
    assert state == State.DONE


@given(st.lists(st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=12, max_size=12), min_size=1, max_size=4))
def test_states_of_a_batch_are_those_of_each_row(rows: list[list[int]]) -> None:
    states = GRAMMAR.states(np.array([ids(ROOT) + row for row in rows]))
    for row, of_row in zip(rows, states, strict=True):
        assert of_row.tolist() == [GRAMMAR.run((ids(ROOT) + row)[: stop + 1]) for stop in range(len(of_row))]
