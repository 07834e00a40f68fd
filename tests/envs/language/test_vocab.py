"""The vocabulary: stable ids, exact reading and writing, errors that name the offender."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import O1NanoError, TokenizationError
from o1nano.envs.language.vocab import (
    ID,
    PAD,
    TOKENS,
    VOCAB_SIZE,
    answer_text,
    digits_of,
    is_digit,
    problem_text,
    spell,
    tokenize,
    tokenize_answer,
    value_of,
    without_leading_zeros,
)
from tests.helpers.play import ids

# Part of every checkpoint: tokens may be appended to this list, never moved.
STABLE = r"""
<pad> 0 1 2 3 4 5 6 7 8 9 + - * / ( ) = R \ _ ; <problem> <subtask> <think> </think> <call> </call> <goto>
<ok> <wrong> <revise> % <eos> calculate what is the sum difference product quotient of and between
plus minus times divided by ? , : < > == x gcd mod total max min compare solve make recall f g h
greatest common divisor remainder when modulo all in list numbers which larger smaller largest smallest maximum minimum
or how does to for if equals find from using with key value entry balance
what's much compute evaluate work out tell give me please result equal add up subtract take away multiply multiplied
divide over increased decreased square squared ^2 half double twice triple negative together number than
highest biggest bigger factor compared get do you use reach hcf gcf
""".split()


def test_ids_never_move() -> None:
    assert list(TOKENS[: len(STABLE)]) == STABLE
    assert len(STABLE) == 147


def test_every_token_has_its_own_id_and_padding_is_zero() -> None:
    assert len(set(TOKENS)) == VOCAB_SIZE == len(ID)
    assert PAD == ID["<pad>"] == 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("98+45", "9 8 + 4 5"),
        ("98+45=", "9 8 + 4 5"),
        ("  98 +\t45 ", "9 8 + 4 5"),
        ("What is 98 plus 45?", "what is 9 8 plus 4 5 ?"),
        ("CALCULATE the Sum of 98 and 45", "calculate the sum of 9 8 and 4 5"),
        ("(4-7)*3", "( 4 - 7 ) * 3"),
        ("8×4÷2−1", "8 * 4 / 2 - 1"),
        ("8914/64", "8 9 1 4 / 6 4"),
        ("007+1", "0 0 7 + 1"),
        ("gcd(48,36)", "gcd ( 4 8 , 3 6 )"),
        ("3*x+4=19", "3 * x + 4 equals 1 9"),
        ("3x-4=11=", "3 x - 4 equals 1 1"),
        ("Make 24 from 4, 7", "make 2 4 from 4 , 7"),
        ("", ""),
    ],
)
def test_tokenize(text: str, tokens: str) -> None:
    assert spell(tokenize(text)) == tokens


@pytest.mark.parametrize(
    ("text", "offender"),
    [
        ("98 foo 45", "'foo'"),
        ("98 + y", "'y'"),
        ("1.5+2", "decimal point ('1.5')"),
        ("1;2", "';'"),
        ("2^3", "power other than the square ('^')"),
        ("2 cubed", "power other than the square ('cubed')"),
        ("0x1f + 1", "number in another base ('0x1f')"),
        ("5 % of 20", "percentage ('%')"),
        ("7 \\ 3", "'\\\\'"),
        ("1+1 <eos>", "'eos'"),
        ("٣+1", "'٣'"),
        ("²+1", "'²'"),
        ("12 34 + 5", "'12 34 + 5'"),
    ],
)
def test_an_error_names_what_cannot_be_tokenized(text: str, offender: str) -> None:
    with pytest.raises(TokenizationError) as error:
        tokenize(text)
    assert offender in str(error.value)
    assert "What is 98 plus 45?" in str(error.value)


@given(st.text(max_size=30))
def test_any_text_gives_tokens_without_padding_or_a_typed_error(text: str) -> None:
    try:
        tokens = tokenize(text)
    except O1NanoError:
        return
    assert PAD not in tokens
    assert all(0 < token < VOCAB_SIZE for token in tokens)


@given(st.integers(0, 10**40), st.booleans())
def test_numbers_survive_their_digits(value: int, least_first: bool) -> None:
    digits = digits_of(value, least_first)
    assert all(map(is_digit, digits))
    assert value_of(digits, least_first) == value


def test_digit_order() -> None:
    assert spell(digits_of(143, least_first=False)) == "1 4 3"
    assert spell(digits_of(143, least_first=True)) == "3 4 1"
    assert spell(digits_of(0, least_first=True)) == "0"


def test_only_digits_are_digits() -> None:
    assert [token for token in TOKENS if is_digit(ID[token])] == list("0123456789")


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("1 4 3", "143"),
        ("- 1 9", "-19"),
        ("1 3 9 R 1 8", "139 R 18"),
        ("0", "0"),
        ("", ""),
        ("( 7 - 8 / 8 ) * 4", "(7-8/8)*4"),
        ("<", "<"),
        ("==", "=="),
        ("_", "_"),
    ],
)
def test_answers_are_written_and_read(tokens: str, text: str) -> None:
    assert answer_text(ids(tokens)) == text
    assert tokenize_answer(text) == tokenize(text) == ids(tokens)


def test_an_answer_is_read_exactly() -> None:
    assert spell(tokenize_answer("4R1")) == "4 R 1"
    assert spell(tokenize_answer("143=")) == "1 4 3 ="
    assert spell(tokenize_answer("0143")) == "0 1 4 3"


@pytest.mark.parametrize(
    ("text", "plain"), [("007+05", "7+5"), ("0+00", "0+0"), ("100-020", "100-20"), ("(00)", "(0)"), ("-007", "-7")]
)
def test_leading_zeros_are_dropped(text: str, plain: str) -> None:
    assert without_leading_zeros(text) == plain


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("9 8 + 4 5", "98+45"),
        ("what is 9 8 plus 4 5 ?", "what is 98 plus 45 ?"),
        ("gcd ( 4 8 , 3 6 )", "gcd(48, 36)"),
        ("( 1 2 + 3 4 ) mod 7", "(12+34) mod 7"),
        ("1 2 mod ( 3 + 4 )", "12 mod(3+4)"),
        ("3 * x - 4 equals 1 1", "3*x-4=11"),
        ("solve 3 * x + 4 equals 1 9", "solve 3*x+4=19"),
        ("find x in 3 * x + 4 equals 1 9", "find x in 3 * x + 4 equals 19"),
        ("make 2 4 from 4 , 1 7 , 8", "make 24 from 4, 17, 8"),
    ],
)
def test_problem_text_is_read_back(tokens: str, text: str) -> None:
    assert problem_text(ids(tokens)) == text
    assert spell(tokenize(text)) == tokens


def test_spelling_leaves_padding_out() -> None:
    assert spell([*ids("<think> ; %"), PAD, PAD]) == "<think> ; %"
