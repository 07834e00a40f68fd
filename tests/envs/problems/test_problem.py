"""Posing: problems from levels and from text, the split by content, hashed streams, the verifier of frames."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import ConfigurationError, ProblemError, TokenizationError
from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES, spell
from o1nano.envs.problems import FAMILIES, FOUR_OPERATIONS
from o1nano.envs.problems.addition import Addition
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.problem import Level, Problem, draw, read, split_of
from o1nano.envs.problems.registry import canonical
from o1nano.envs.problems.verifier import frame_accepts, frame_answer, is_reduction
from o1nano.envs.seeding import stream
from tests.helpers.play import ids, problems


def draws(level: Level, split: str, count: int, seed: int = 0) -> list[Problem]:
    rng = np.random.default_rng(seed)
    return [draw(level, rng, split, "mixed") for _ in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_train_and_test_do_not_overlap(family: str, size: int) -> None:
    train = {canonical(problem.expr) for problem in draws(Level(family, size), "train", 300)}
    test = {canonical(problem.expr) for problem in draws(Level(family, size), "test", 300)}
    assert train and test
    assert not train & test


def test_every_small_problem_is_on_one_side_and_about_a_fifth_is_held_out() -> None:
    pairs = [Binary(op, a, b) for op in (PLUS, MINUS, TIMES, DIVIDE) for a, b in product(range(100), repeat=2)]
    test = {canonical(expr) for expr in pairs if split_of(expr) == "test"}
    train = {canonical(expr) for expr in pairs if split_of(expr) == "train"}
    assert not train & test
    assert 0.18 < len(test) / (len(train) + len(test)) < 0.22


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from((PLUS, MINUS, TIMES, DIVIDE)))
def test_commuted_operands_are_on_the_same_side(left: int, right: int, op: int) -> None:
    assert split_of(Binary(op, left, right)) == split_of(Binary(op, right, left))


@given(st.integers(0, 10**6))
def test_phrasing_and_parentheses_do_not_change_the_side(number: int) -> None:
    same = (f"{number}+45", f"What is {number} plus 45?", f"(45+{number})", f"the sum of {number} and 45")
    assert len({split_of(read(text).expr) for text in same}) == 1


def test_the_split_is_the_same_for_ever() -> None:
    # The second letters of "train" and "test", for 98 + 0, 98 + 1, ...: published results depend on them.
    sides = "".join(split_of(Binary(PLUS, 98, number))[1] for number in range(40))
    assert sides == "rrrreerreerrrrrrrerrrerrrrrrrrrrrrrrrerr"


def test_all_draws_from_both_sides() -> None:
    sides = {split_of(problem.expr) for problem in draws(Level("addition", 2), "all", 50)}
    assert sides == {"train", "test"}


class OneProblem(Addition):
    """A family with a single problem."""

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Binary:
        return Binary(PLUS, 1, 1)


def test_a_level_without_problems_on_a_side_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "addition", OneProblem())
    side = split_of(Binary(PLUS, 1, 1))
    assert draws(Level("addition", 1), side, 1)[0].expr == Binary(PLUS, 1, 1)
    with pytest.raises(ConfigurationError, match="addition/1 has no problem"):
        draws(Level("addition", 1), "test" if side == "train" else "train", 1)


@pytest.mark.parametrize("family", FOUR_OPERATIONS)
@pytest.mark.parametrize(("size", "other"), [(1, 1), (3, 1), (2, 2), (20, 20)])
def test_sizes_are_numbers_of_digits(family: str, size: int, other: int) -> None:
    for problem in draws(Level(family, size, other), "all", 20):
        assert isinstance(problem.expr, Binary)
        left, right = problem.expr.left, problem.expr.right
        assert isinstance(left, int) and isinstance(right, int)
        assert (len(str(left)), len(str(right))) == (size, other)


@pytest.mark.parametrize("family", FOUR_OPERATIONS)
def test_the_longer_operand_has_the_size_of_the_level(family: str) -> None:
    exprs = [problem.expr for problem in draws(Level(family, 3), "all", 200)]
    shapes = {(len(str(expr.left)), len(str(expr.right))) for expr in exprs if isinstance(expr, Binary)}
    assert {max(shape) for shape in shapes} == {3}
    assert {min(shape) for shape in shapes} == {1, 2, 3}


@pytest.mark.parametrize("family", ["expression", "chain"])
@pytest.mark.parametrize("operands", [2, 3, 5, 40])
def test_expressions_have_the_number_of_operands_asked_for(family: str, operands: int) -> None:
    for problem in draws(Level(family, 2, operands), "all", 30):
        assert isinstance(problem.expr, Binary) and count_operands(problem.expr) == operands


def count_operands(expr: int | Binary) -> int:
    return 1 if isinstance(expr, int) else count_operands(expr.left) + count_operands(expr.right)


@pytest.mark.parametrize("family", ["expression", "chain"])
def test_an_expression_needs_two_operands(family: str) -> None:
    with pytest.raises(ConfigurationError, match="operands"):
        draws(Level(family, 2, 1), "all", 1)


def test_chains_have_parentheses_around_factors_only() -> None:
    rng = np.random.default_rng(0)
    texts = [draw(Level("chain", 2), rng, "all", "symbolic").text for _ in range(60)]
    assert any("(" in text for text in texts)
    for text in texts:
        assert re.fullmatch(r"\d\d?([-+](\d\d?(\*\d\d?)?|\(\d\d?-\d\d?\)\*\d\d?))+", text)


@pytest.mark.parametrize("digits", [1, 2, 18, 19, 40])
def test_numbers_have_exactly_so_many_digits(digits: int) -> None:
    rng = np.random.default_rng(0)
    numbers = [draw_number(rng, digits) for _ in range(50)]
    assert {len(str(number)) for number in numbers} == {digits}
    assert len(set(numbers)) > 5


@given(problems())
def test_a_drawn_problem_reads_back_as_itself(problem: Problem) -> None:
    again = read(problem.text)
    assert again.prompt == problem.prompt
    assert again.answer == problem.answer
    assert canonical(again.expr) == canonical(problem.expr)


@pytest.mark.parametrize(
    ("text", "shown", "answer"),
    [
        ("98+45", "98+45", "143"),
        ("What is 98 plus 45?", "what is 98 plus 45 ?", "143"),
        ("34-53", "34-53", "-19"),
        ("8914/64", "8914/64", "139 R 18"),
        ("the quotient of 8 and 4", "the quotient of 8 and 4", "2"),
        ("(12+7)*5-8/2", "(12+7)*5-8/2", "91"),
        ("gcd(48,36)", "gcd(48, 36)", "12"),
        ("What is 17 modulo 5?", "what is 17 modulo 5 ?", "2"),
        ("3*x+4=19", "3*x+4=19", "5"),
        ("Make 24 from 3, 8", "make 24 from 3, 8", "8*3"),
        ("Make 25 from 3, 8", "make 25 from 3, 8", "_"),
    ],
)
def test_read(text: str, shown: str, answer: str) -> None:
    problem = read(text)
    assert (problem.text, problem.answer_text, problem.level) == (shown, answer, None)
    assert spell(problem.prompt[:1]) == "<problem>" and spell(problem.prompt[-1:]) == "="


@pytest.mark.parametrize("text", ["007+5", "what is 0007 plus 05 ?"])
def test_leading_zeros_of_a_text_are_no_part_of_its_problem(text: str) -> None:
    plain = read(text.replace("000", "").replace("00", "").replace("05", "5"))
    assert read(text) == plain and plain.text in ("7+5", "what is 7 plus 5 ?")


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("", ProblemError, "not a problem"),
        ("42", ProblemError, "nothing to compute in '42'"),
        ("(42)", ProblemError, "nothing to compute"),
        ("1/0", ProblemError, "divides by zero"),
        ("7/2+1", ProblemError, "has a remainder"),
        ("(0-7)/2", ProblemError, "has a remainder"),
        ("nine plus one", TokenizationError, "'nine'"),
        ("7 R 3", ProblemError, "breaks off at 'R'"),
        ("1<2", ProblemError, "breaks off at '<'"),
        ("make 24", ProblemError, "'make' of 1 arguments; expected 2 to 7"),
        ("gcd(4, 6, 8)", ProblemError, "'gcd' of 3 arguments; expected 2"),
        ("make 24 from -4, 6", ProblemError, "'make' of -4; expected numbers from 0"),
        ("17 mod 0", ProblemError, "modulo 0; expected a modulus from 1"),
        ("3*x+4=20", ProblemError, r"3\*x\+4=20; expected an equation with exactly one integer solution"),
        ("0*x+4=4", ProblemError, "expected an equation with exactly one"),
        ("make 1000000 from 1, 2", ProblemError, "1000000 in a problem of Countdown"),
        ("1" * 1001, ProblemError, "1001 tokens without a comma among them; expected at most 1000"),
    ],
)
def test_other_problems_are_refused_at_the_door_with_the_reason(text: str, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        read(text)


def test_the_longest_problems_can_be_read_and_answered() -> None:
    assert read("9" * 499 + "*" + "9" * 500).answer_text == str((10**499 - 1) * (10**500 - 1))
    assert read("1" + "+1" * 499).answer_text == "500"


def test_deep_nesting_is_answered_or_refused_with_the_reason() -> None:
    assert read("(" * 200 + "1+1" + ")" * 200).answer_text == "2"
    with pytest.raises(ProblemError, match="498 parentheses; expected at most 200"):
        read("(" * 498 + "1+1" + ")" * 498)


def test_streams_are_hashed_from_their_key() -> None:
    def first(*key: object) -> int:
        return int(stream(*key).integers(2**62))

    assert first("test", "addition", 3, 0) == first("test", "addition", 3, 0)
    keys = [
        (split, family, size, seed)
        for split in ("train", "test")
        for family in FAMILIES
        for size in (1, 2)
        for seed in (0, 1)
    ]
    assert len({first(*key) for key in keys}) == len(keys)
    # Not by adding: neighbouring sizes and seeds with the same sum share nothing.
    assert first("test", "addition", 3, 1) != first("test", "addition", 2, 2)
    assert first("test", 1, 23) != first("test", 12, 3)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<problem> 9 8 + 4 5 =", "1 4 3"),
        ("<problem> what is 9 8 plus 4 5 ? =", "1 4 3"),
        ("<subtask> 8 9 + 5 4 =", "3 4 1"),
        ("<subtask> 8 / 4 =", "2 R 0"),
        (r"<subtask> 5 0 5 \ 4 6 =", "7 R 7 5"),
        ("<subtask> - 3 - 3 =", "- 6"),
        ("<subtask> 5 =", None),
        ("<subtask> 5 / 0 =", None),
        ("<subtask> 5 / 2 + 1 =", None),
        ("<subtask> 5 % =", None),
        ("<subtask> ( 5 + 2 =", None),
    ],
)
def test_every_frame_is_a_verifiable_problem(prompt: str, expected: str | None) -> None:
    found = frame_answer(bytes(ids(prompt)))
    assert (None if found is None else spell(found)) == expected


def test_a_problem_accepts_its_answer_and_no_other() -> None:
    problem = read("98+45")
    assert problem.accepts(bytes(ids("1 4 3")))
    assert not any(problem.accepts(bytes(ids(given))) for given in ("", "1 4 4", "0 1 4 3", "1 4 3 R 0", "3 4 1"))


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("98+45", "143", "144"),
        ("98+45", "143", "143="),
        ("98+45", "143", "0143"),
        ("98+45", "143", "what is love?"),
        ("34-53", "\u221219", "19"),
        ("8914/64", "139 R 18", "139"),
        ("compare 3 and 4", "<", ">"),
        ("compare 4 and 4", "==", "="),
        ("make 24 from 7, 8, 8, 4", "4*(7-8/8)", "4*(7-8)"),
        ("make 25 from 3, 8", "_", "3*8"),
    ],
)
def test_answers_can_be_texts(text: str, right: str, wrong: str) -> None:
    problem = read(text)
    assert problem.accepts(problem.answer_text) and problem.accepts(right)
    assert not problem.accepts(wrong)


@pytest.mark.parametrize("given", [143, [2, 5, 4], None])
def test_an_answer_of_another_type_is_an_error(given: object) -> None:
    with pytest.raises(ProblemError, match="expected token bytes, or a text"):
        read("98+45").accepts(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "given", "verdict"),
    [
        ("<subtask> 8 9 + 5 4 =", "3 4 1", True),
        ("<subtask> 8 9 + 5 4 =", "1 4 3", False),
        ("<subtask> gcd 8 4 , 6 3 =", "2 1", True),
        ("<subtask> gcd 8 4 , 6 3 =", "", False),
        ("<subtask> make 4 2 , 3 , 8 =", "8 * 3", True),
        ("<subtask> make 4 2 , 3 , 8 =", "3 * 8", True),
        ("<subtask> make 4 2 , 3 , 8 =", "_", False),
        ("<problem> make 2 4 from 3 , 7 =", "_", True),
        ("<subtask> 8 / 0 =", "8", None),
        ("<subtask> mod 8 , 0 =", "8", None),
        ("<subtask> gcd 8 =", "8", None),
        ("<subtask> 8 =", "8", None),
        ("<subtask> 8 + =", "8", None),
    ],
)
def test_frames_are_judged_by_their_own_prompt(prompt: str, given: str, verdict: bool | None) -> None:
    assert frame_accepts(bytes(ids(prompt)), bytes(ids(given))) is verdict


@pytest.mark.parametrize(
    ("prompt", "handed_on", "verdict"),
    [
        ("gcd 8 4 , 6 3", "gcd 6 3 , 2 1", True),
        ("gcd 6 3 , 8 4", "gcd 8 4 , 6 3", True),
        ("gcd 8 4 , 6 3", "gcd 6 3 , 8 4", False),  # the other way round: back and forth for ever
        ("gcd 8 4 , 6 3", "gcd 8 4 , 6 3", False),
        ("gcd 8 4 , 6 3", "gcd 6 3 , 3 1", False),  # another answer
        ("gcd 8 4 , 6 3", "gcd 0 0 1 , 2 1", False),  # longer, and another answer
        ("total 3 , 4 , 5", "total 7 , 5", True),
        ("total 3 , 4", "3 + 4", True),
        ("3 + 4", "total 3 , 4", False),
        ("3 + 4", "4 + 3", False),
        ("3 + 4 + 1", "7 + 1", True),
        ("8 / 0", "8 / 0", False),
    ],
)
def test_what_is_handed_on_must_be_smaller_and_have_the_same_answer(prompt: str, handed_on: str, verdict: bool) -> None:
    old, new = (bytes(ids(f"<subtask> {text} =")) for text in (prompt, handed_on))
    assert is_reduction(old, new) is verdict


def test_levels_can_be_texts() -> None:
    assert draw("addition/2", np.random.default_rng(3)) == draw(Level("addition", 2), np.random.default_rng(3))
    for level in ("addition", "love/2", Level("love", 2), ("addition", 2)):
        with pytest.raises(ConfigurationError, match="expected "):
            draw(level, np.random.default_rng(3))  # type: ignore[arg-type]


@pytest.fixture
def few_digits() -> Iterator[None]:
    """Python's smallest limit for converting numbers from and to text."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("few_digits")
def test_numbers_too_long_for_pythons_limit_are_refused() -> None:
    longest = "9" * 314 + "*" + "9" * 315
    assert len(read(longest).answer) == 629
    assert len(read(f"total({','.join(['9' * 628] * 90)})").answer) == 630
    for text in (longest + "9", "1" * 700 + "+1", "9" * 400 + "*" + "9" * 400, "1" * 700 + "/0"):
        with pytest.raises(ProblemError, match="expected at most 630"):
            read(text)
    assert frame_answer(bytes(ids("<subtask> " + "9 " * 700 + "+ 1 ="))) is None
    assert not read("make 24 from 3, 8").accepts("9" * 700)


SIZES_ARE_DIGITS = sorted(
    name for name in FAMILIES if name not in ("countdown", "game_of_24", "recall") and not name.startswith("long_")
)


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("family", SIZES_ARE_DIGITS)
def test_levels_too_long_for_pythons_limit_are_refused(family: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        draw(Level(family, 315), rng, "all")
    with pytest.raises(ConfigurationError, match=r"digits; expected at most 315 \(PYTHONINTMAXSTRDIGITS=640\)"):
        for _ in range(50):
            draw(Level(family, 400), rng, "all")


def test_level_names() -> None:
    assert (str(Level("addition", 3)), str(Level("division", 4, 2))) == ("addition/3", "division/4x2")


class Extreme(np.random.Generator):
    """Draws the same number between 0 and 1, 1 excluded, all the time."""

    def __init__(self, drawn: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.drawn = drawn

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return self.drawn


@pytest.mark.parametrize("bound", [1, 2, 3, 9, 10, 2**31 + 1, 2**49 + 1, 9 * 10**14])
def test_a_drawn_integer_stays_below_its_bound(bound: int) -> None:
    assert below(Extreme(0.0), bound) == 0
    assert below(Extreme(1 - 2**-53), bound) == bound - 1


def test_every_integer_below_a_bound_is_as_likely() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([below(rng, 7) for _ in range(7_000)], minlength=7)
    assert len(counts) == 7 and ((counts - 1_000) ** 2 / 1_000).sum() < 22.5  # chi-square, 6 degrees: 1 in 1,000


@pytest.mark.parametrize("digits", [1, 2, 15, 16, 40])
def test_drawn_numbers_have_exactly_so_many_digits(digits: int) -> None:
    rng = np.random.default_rng(0)
    assert {len(str(draw_number(rng, digits))) for _ in range(50)} == {digits}
    if digits in (2, 15):
        assert draw_number(Extreme(0.0), digits) == 10 ** (digits - 1)
        assert draw_number(Extreme(1 - 2**-53), digits) == 10**digits - 1
