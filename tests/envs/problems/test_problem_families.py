"""Families of functions: exact answers by hand and against brute force, attacks on Countdown, the expert end to end."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Binary, Function, evaluate, render
from o1nano.envs.language.vocab import EOS, ID, NOTHING, TOKENS, answer_text, digits_of, spell, tokenize
from o1nano.envs.problems import FAMILIES, family_of, register_family
from o1nano.envs.problems.countdown import Countdown
from o1nano.envs.problems.countdown_search import Reduction, first_reduction, formula, reductions
from o1nano.envs.problems.countdown_solver import exact_value, leaves, solvable
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.gcd import GreatestCommonDivisor
from o1nano.envs.problems.problem import Level, Problem, draw, read
from o1nano.envs.problems.registry import canonical, read_task
from o1nano.envs.problems.verifier import frame_accepts, frame_answer
from o1nano.envs.registration import IDS
from tests.helpers.expressions import expert_script, numbers_of
from tests.helpers.play import ids

FUNCTIONS = sorted(name for name, family in FAMILIES.items() if isinstance(family, FunctionFamily))
SEARCHES = ("countdown", "game_of_24")
NUMBERS = st.integers(0, 10**6)


@st.composite
def functions(draw_from: st.DrawFn) -> Problem:
    level = Level(draw_from(st.sampled_from(FUNCTIONS)), draw_from(st.integers(1, 4)))
    return draw(level, np.random.default_rng(draw_from(st.integers(0, 2**32 - 1))), "all", "mixed")


# The answers of every family.


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("gcd(48, 36)", "12"),
        ("gcd(36, 48)", "12"),
        ("gcd(17, 5)", "1"),
        ("gcd(0, 5)", "5"),
        ("gcd(0, 0)", "0"),
        ("17 mod 5", "2"),
        ("(12+34) mod 7", "4"),
        ("12*34 mod 7", "2"),
        ("(3-8) mod 7", "2"),
        ("-14 mod 7", "0"),
        ("5 mod 1", "0"),
        ("total(3, 14, 15)", "32"),
        ("total(7)", "7"),
        ("total(3, -14, 5)", "-6"),
        ("compare(12, 34)", "<"),
        ("compare(34, 12)", ">"),
        ("compare(34, 34)", "=="),
        ("compare(9, 10)", "<"),
        ("compare(-9, -10)", ">"),
        ("compare(-9, 10)", "<"),
        ("max(3, 14, 15)", "15"),
        ("max(-3, -14)", "-3"),
        ("which is larger, 12 or 34?", "34"),
        ("3*x+4=19", "5"),
        ("3*x-4=11", "5"),
        ("3*x+19=4", "-5"),
        ("-3*x+4=19", "-5"),
        ("7*x+4=4", "0"),
        ("make 24 from 3, 8", "8*3"),
        ("make 24 from 24", "24"),
        ("make 24 from 3, 3, 8, 8", "8/(3-(8/3))"),
        ("make 25 from 3, 8", "_"),
        ("make 0 from 5, 0", "5*0"),
    ],
)
def test_answers_by_hand(text: str, answer: str) -> None:
    assert read(text).answer_text == answer


@given(NUMBERS, NUMBERS)
def test_divisors_remainders_and_comparisons_are_those_of_python(left: int, right: int) -> None:
    assert read(f"gcd({left}, {right})").answer_text == str(math.gcd(left, right))
    assert read(f"({left}-{right}) mod 97").answer_text == str((left - right) % 97)
    verdict = {"<": left < right, ">": left > right, "==": left == right}
    assert verdict[read(f"compare({left}, {right})").answer_text]


@given(st.lists(st.integers(-999, 999), min_size=1, max_size=8))
def test_lists_are_those_of_python(numbers: list[int]) -> None:
    listed = ", ".join(map(str, numbers))
    assert read(f"total({listed})").answer_text == str(sum(numbers))
    assert read(f"max({listed})").answer_text == str(max(numbers))


@given(st.integers(-99, 99).filter(bool), st.integers(-99, 99), st.integers(-99, 99))
def test_the_solution_of_an_equation_solves_it(factor: int, shift: int, unknown: int) -> None:
    assert read(f"{factor}*x{shift:+}={factor * unknown + shift}").answer_text == str(unknown)


@given(functions(), st.integers(0, 2**32 - 1))
def test_the_expert_is_accepted_and_random_answers_are_not(problem: Problem, seed: int) -> None:
    root, child, *_ = demonstrate(problem)
    assert spell(root.tokens).endswith(f"{spell(problem.answer)} <eos>")
    assert problem.accepts(problem.answer)
    if child.tokens[-1] == EOS:
        assert frame_accepts(bytes(child.tokens[: child.tokens.index(ID["="]) + 1]), answered(child.tokens)) is True
    rng = np.random.default_rng(seed)
    tokens = [*range(1, 11), *ids("- + * / ( ) R _ < > ==")]
    for _ in range(20):
        given_ = bytes(rng.choice(tokens, int(rng.integers(0, 6))).tolist())
        right = given_ == problem.answer or (problem.expr.op == ID["make"] and by_hand(problem, given_))
        assert problem.accepts(given_) == right


def answered(frame: list[int]) -> bytes:
    return bytes(frame[len(frame) - frame[::-1].index(ID["</think>"]) : -1])


# Countdown: an answer is right if it is a formula of exactly the given numbers.


def by_hand(problem: Problem, given: bytes) -> bool:
    """Another verifier: Python evaluates the text with fractions."""
    target, *numbers = numbers_of(problem)
    text = answer_text(given)
    spelled = re.findall(r"\d+", text)
    if not re.fullmatch(r"[\d+*/()-]+", text) or sorted(spelled) != sorted(map(str, numbers)):
        return False
    if re.search(r"(^|[-+*/(])-|\(\d*\)", text):  # signs and single numbers in parentheses
        return False
    try:
        return bool(eval(re.sub(r"(\d+)", r"Fraction(\1)", text), {"Fraction": Fraction}) == target)
    except (SyntaxError, ZeroDivisionError, TypeError):
        return False


RIGHT = ["(7-8/8)*4", "4*(7-8/8)", "(7-(8/8))*4", "(4*(7-8/8))", "8*(7-8+4)", "(4-(8-7))*8"]


@pytest.mark.parametrize("text", RIGHT)
def test_every_right_formula_is_accepted(text: str) -> None:
    assert read("make 24 from 4, 7, 8, 8").accepts(bytes(tokenize(text)))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_operands_of_gcd_have_at_most_the_digits_of_their_level(size: int, other: int, seed: int) -> None:
    for level in (Level("gcd", size), Level("gcd", size, other)):
        assert max(numbers_of(draw(level, np.random.default_rng(seed), "all"))) < 10 ** max(size, other)


@pytest.mark.parametrize("level", ["countdown/6", "countdown/6x2", "countdown/100"])
def test_countdown_has_at_most_six_numbers(level: str) -> None:
    with pytest.raises(ConfigurationError, match="numbers in Countdown; expected 2 to 6"):
        draw(level, np.random.default_rng(0))


@pytest.mark.parametrize("text", ["8/(3-8/3)", "(8/(3-8/3))"])
def test_fractions_are_exact(text: str) -> None:
    assert read("make 24 from 3, 3, 8, 8").accepts(bytes(tokenize(text)))


@pytest.mark.parametrize(
    "given_",
    [
        "",
        "2 4",  # the target, not a formula of the numbers
        "8 * ( 7 - 4 )",  # 24, but one 8 is missing
        "( 7 - 8 / 8 ) * 4 + 8 - 8",  # 24, but with two more
        "8 * ( 7 - 4 ) + 8 - 8",  # 8 three times
        "6 * 4 + 8 - 8",  # an unlisted number
        "( 7 - 8 / 8 ) * 4 * 1",  # an unlisted 1
        "4 8 - 8 * 7 + 3 2",  # digits put together
        "8 8 / 4 + 7 - 5",
        "8 7 - 8 4",
        "( 7 - 8 / 8 ) * 4 / ( 8 - 8 )",
        "7 / ( 8 - 8 ) + 4",  # division by zero
        "- 8 * ( 4 - 7 ) + 8 - 8",
        "- 4 * ( 8 / 8 - 7 )",  # a sign is no operation
        "4 * ( - 8 / 8 + 7 )",
        "4 * ( 7 - 8 / 8 ) + 0",
        "0 4 * ( 7 - 8 / 8 )",  # a leading zero
        "4 * ( ( 7 - 8 / 8 ) )",  # parentheses twice
        "( 4 ) * ( 7 - 8 / 8 )",
        "4 * ( 7 - 8 / 8",  # unbalanced
        "4 * 7 - 8 / 8 )",
        "4 * 7 - 8 / 8",  # 27
        r"4 * ( 7 - 8 \ 8 )",  # one quotient digit is no division
        "4 , 7 , 8 , 8",
        "make 2 4 , 4 , 7 , 8 , 8",
        "4 times ( 7 minus 8 / 8 )",
        "what is 4 * ( 7 - 8 / 8 )",
        "4 * ( 7 - 8 / 8 ) ?",
        "4 * ( 7 - 8 / 8 ) R 0",
        "4 * ( 7 - 8 / 8 ) == 2 4",
        "_",
        "_ _",
        "4 * ( 7 - 8 / 8 ) _",
        "<",
        "9 " * 400,
        "9 " * 1001,
        "( " * 300 + "4" + " )" * 300,
    ],
)
def test_attacks_on_the_verifier_of_countdown(given_: str) -> None:
    assert not read("make 24 from 4, 7, 8, 8").accepts(bytes(ids(given_)))


def test_in_a_child_frame_numbers_are_units_first() -> None:
    prompt = bytes(ids("<subtask> make 0 5 2 , 0 1 , 5 2 ="))
    assert frame_accepts(prompt, bytes(ids("0 1 * 5 2")))
    assert not frame_accepts(prompt, bytes(ids("1 0 * 2 5")))


def test_a_number_that_is_listed_twice_is_used_twice() -> None:
    assert read("make 16 from 8, 8").accepts(bytes(ids("8 + 8")))
    assert not read("make 8 from 8, 8").accepts(bytes(ids("8")))


def test_nothing_is_right_exactly_where_there_is_no_formula() -> None:
    nothing = bytes([NOTHING])
    assert read("make 25 from 3, 8").accepts(nothing)
    assert not read("make 24 from 3, 8").accepts(nothing)
    assert not read("make 24 from 3, 3, 8, 8").accepts(nothing)  # fractions make it


def every_value(numbers: tuple[Fraction, ...]) -> Iterator[Fraction]:
    """Brute force: negative values, either order and every fraction."""
    if len(numbers) == 1:
        yield numbers[0]
    for first, second, *rest in {*permutations(numbers)} if len(numbers) > 1 else ():
        values = [first + second, first - second, first * second, *([first / second] if second else [])]
        for value in values:
            yield from every_value((value, *rest))


@pytest.mark.parametrize("numbers", [(3, 8), (1, 1, 5), (0, 4, 4), (2, 3, 7), (3, 3, 8, 8), (1, 5, 5, 5), (0, 0, 2, 9)])
def test_the_search_finds_exactly_what_brute_force_finds(numbers: tuple[int, ...]) -> None:
    reachable = {int(value) for value in every_value(tuple(map(Fraction, numbers))) if value.denominator == 1}
    for target in range(101):
        found = formula(target, numbers)
        assert (found is not None) == solvable(target, numbers) == (target in reachable)
        if found is not None:
            assert sorted(leaves(found)) == sorted(numbers) and exact_value(found) == target


def test_a_famous_hard_one_and_an_impossible_one_of_six_numbers() -> None:
    for target, numbers in ((952, (25, 50, 75, 100, 3, 6)), (1, (1, 1, 1, 1, 1, 1)), (0, (0, 0, 0, 0, 0, 7))):
        found = formula(target, numbers)
        assert found is not None and sorted(leaves(found)) == sorted(numbers) and exact_value(found) == target
    assert formula(100, (1, 1, 1, 1, 1, 1)) is None
    assert not solvable(1, (0, 0, 0, 0, 0))


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_countdown_can_be_solved_in_whole_numbers(size: int, seed: int) -> None:
    for name in SEARCHES:
        problem = draw(Level(name, size), np.random.default_rng(seed), "all", "symbolic")
        target, *numbers = numbers_of(problem)
        assert len(numbers) == (4 if name == "game_of_24" else size + 1)
        assert target == 24 and max(numbers) <= 13 if name == "game_of_24" else 0 < target <= 999
        assert "_" not in problem.answer_text


def asked(reduction: Reduction) -> str:
    """The questions of a reduction, and what is missing: ``5+1 24/6=4``."""
    calls = [each for each in (reduction.operand, reduction.question) if isinstance(each, Binary)]
    return f"{' '.join(spell(render(call, False)).replace(' ', '') for call in calls)}={reduction.missing}"


@pytest.mark.parametrize(
    ("target", "numbers", "expected"),
    [
        # 5 and 9 make at most 45, so 24*3 is too much. Sums are asked however much they are.
        (24, (3, 5, 9), "24/3=8, 24/5=24/5, 24/9=8/3, 24-3=21, 24-5=19, 24-9=15, 24+3=27, 24+5=29, 24+9=33"),
        # Of equal numbers one is asked. Nothing is divided by 0. 8+0 and 8*1 leave the same problems as 8-0 and 8/1.
        (8, (8, 8, 0), "8/8=1, 8-8=0, 8-0=8, 8+8=16"),
        (8, (1, 4, 4), "8/1=8, 8/4=2, 8-1=7, 8-4=4, 8+1=9, 8+4=12"),
    ],
)
def test_reductions_are_asked_in_one_order(target: int, numbers: tuple[int, ...], expected: str) -> None:
    assert ", ".join(map(asked, reductions(target, numbers))) == expected


@pytest.mark.parametrize(
    "text",
    ["make 999999 from 999, 998, 997, 996", "make 900000 from 999999, 3, 999999"],
)
def test_the_expert_asks_for_no_number_that_a_problem_may_not_have(text: str) -> None:
    """999999 + 999 is what is missing in one guess, but a target has at most six digits."""
    for frame in demonstrate(read(text)):
        prompt = bytes(frame.tokens[: frame.tokens.index(ID["="]) + 1])
        assert frame_accepts(prompt, answered(frame.tokens)) is not False


def test_a_target_that_is_too_large_is_not_taken_for_solved() -> None:
    """1000*1000 - 1 needs a target of seven digits, so nothing can be asked and the formula is written at once."""
    _, frame = demonstrate(read("make 999999 from 1, 1000, 1000"))
    assert spell(frame.tokens).endswith("<think> </think> ( 0 0 0 1 * 0 0 0 1 ) - 1 <eos>")


def test_of_four_numbers_operations_on_two_of_them_are_asked_last() -> None:
    """3*5+2*7 = 29 has no operand that is a number."""
    found = [asked(each) for each in reductions(29, (3, 2, 5, 7))]
    assert "5*3 29-15=14" in found
    pairs = [each for each in found if " " in each]
    assert found[-len(pairs) :] == pairs
    # Products go with sums, and sums with products; 3+2 is never added to something.
    for operation, question in map(str.split, pairs):
        assert bool({"*", "/"} & set(operation)) == bool({"+", "-"} & set(question))


@given(st.integers(0, 60), st.lists(st.integers(0, 13), min_size=3, max_size=4).map(tuple))
def test_a_search_by_reductions_is_right_and_complete(target: int, numbers: tuple[int, ...]) -> None:
    for each in reductions(target, numbers):
        if each.is_solvable:
            assert isinstance(each.missing, int)
            other = formula(each.missing, each.rest)
            assert other is not None
            whole = each.complete(other)
            assert exact_value(whole) == target and sorted(leaves(whole)) == sorted(numbers)
    if solvable(target, numbers, fractions=False) and 0 not in (target, *numbers):
        assert first_reduction(target, numbers) is not None


def is_mistake(call: str, answer: str, numbers: list[int]) -> bool:
    """Whether a call is a negative difference, a target by itself, or a division whose remainder can be foreseen."""
    if "/" not in call:
        return answer.startswith("-")
    left, right = (int(number.replace(" ", "")[::-1]) for number in call.split("/"))
    if left == right:
        return left not in numbers
    return left % right > 0 and (left < 100 or right not in (3, 4, 6, 7, 8, 9))


def test_the_expert_of_countdown_tries_every_guess_before_it_gives_up() -> None:
    dead_ends = Counter[int]()
    mistakes = Counter[str]()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        # Four numbers up to 4 make no more than 64, so the first problem is a dead end.
        hopeless = read(f"make {100 + seed} from 1, 2, 3, 4")
        problem = hopeless if seed % 4 == 0 else draw(Level("game_of_24", 1), rng, "all")
        for frame in demonstrate(problem, rng, mistake_rate=0.4)[1:]:
            prompt, text = bytes(frame.tokens[: frame.tokens.index(ID["="]) + 1]), spell(frame.tokens)
            assert frame_accepts(prompt, answered(frame.tokens)) is True, text
            if TOKENS[frame.tokens[1]] != "make":
                continue
            task = read_task(list(prompt[1:-1]), least_first=True)
            assert isinstance(task, Function)
            target, *numbers = map(evaluate, task.args)
            if len(numbers) == 3:
                calls = re.findall(r"<call> ([^<]*) </call> ([^<]*)", text)
                wrong = [call for call, answer in calls if is_mistake(call, answer, numbers)]
                assert spell([frame.tokens[index] for index in frame.mistakes]) == " ".join(wrong)
                mistakes.update("-" if "-" in call else "/" for call in wrong)

            if text.endswith("_ <eos>") and len(numbers) > 2:
                tried = [each for each in reductions(target, tuple(numbers)) if isinstance(each.missing, int)]
                assert text.count("_ <wrong>") == sum(not each.is_too_large for each in tried)
                assert text.count("<wrong>") >= len(tried)
                dead_ends[len(numbers)] += 1
    assert dead_ends[3] > 30 and dead_ends[4] > 3
    assert min(mistakes["/"], mistakes["-"]) > 5


@pytest.mark.parametrize(
    ("target", "place", "asks"),
    [(127, 0, "127/7"), (27, 0, None), (127, 2, None)],
    ids=["from 100", "a small number", "the last digit shows it"],
)
def test_a_division_is_asked_if_its_remainder_cannot_be_foreseen(target: int, place: int, asks: str | None) -> None:
    division = reductions(target, (7, 8, 20))[place]
    assert division.question.op == ID["/"] and division.is_asked is (asks is not None)
    assert asks is None or asked(division).startswith(f"{asks}=")


def test_what_is_missing_is_too_large_beyond_twice_what_the_others_make() -> None:
    """90 is 3 + 87 or 93 - 3. 5 and 9 make at most 45, and only 93 is more than twice that."""
    found = {(each.question.op, each.missing): each.is_too_large for each in reductions(90, (3, 5, 9))}
    assert found[ID["-"], 87] is False and found[ID["+"], 93] is True


def test_of_five_numbers_the_expert_tries_in_order_too() -> None:
    tried = Counter[int]()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        frame = spell(demonstrate(draw(Level("countdown", 4), rng, "all"), rng)[1].tokens)
        assert frame.endswith("<eos>") and "<ok> </think>" in frame
        tried[frame.count("_ <wrong>")] += 1
    assert tried[0] > 3 and sum(tried.values()) > tried[0]


def test_a_formula_is_that_of_the_smaller_problem_and_one_operand() -> None:
    solved = re.compile(r"<call> make ([^<]*) </call> ([^<_]*) <ok> </think> (.*) <eos>")
    seen = Counter[str]()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for frame in demonstrate(draw(Level("countdown", 2 + seed % 3), rng, "all"), rng, mistake_rate=0.4)[1:]:
            if found := solved.search(spell(frame.tokens)):
                smaller, made, written = found.groups()
                # What is left without the other operand: "6 -", "+ 6", "( 6 - 2 ) *".
                operand = written.replace(f"( {made} )", "", 1).strip()
                kind = "pair" if "(" in operand else "number"
                assert re.fullmatch(r"[-+*/] [\d ]+|[\d ]+ [-+*/]|[-+*/] \(.*\)|\(.*\) [-+*/]", operand), written
                assert kind == "pair" or smaller.count(",") >= 2
                seen[kind] += 1
    assert seen["number"] > 40 and seen["pair"] > 0


@pytest.mark.parametrize(
    ("prompt", "tried"),
    [
        # Differences and quotients make nothing larger, sums and products nothing smaller. 8/4 is 3 if 3*4 is 8.
        ("make 4 2 , 8 , 3", ["8 + 3 = 1 1 ; 7", "8 * 3 = 4 2 ; 0 0"]),
        ("make 5 2 , 8 , 3", ["8 + 3 = 1 1 ; 6", "8 * 3 = 4 2 ; 9"]),
        ("make 3 , 8 , 4", ["8 - 4 = 4 ; 1", "4 * 3 = 2 1 ; 4"]),
        ("make 8 , 8 , 4", ["8 + 4 = 2 1 ; 4", "8 - 4 = 4 ; 6", "8 * 4 = 2 3 ; 4", "8 * 4 = 2 3 ; 4"]),
        ("make 3 , 8 , 0", ["8 - 0 = 8 ; 5", "8 * 0 = 0 ; 7"]),
        # The units are equal, the tens are not.
        ("make 9 4 , 6 , 3", ["6 + 3 = 9 ; 0 6", "6 * 3 = 8 1 ; 9"]),
    ],
)
def test_two_numbers_are_searched_in_order_and_to_the_end(prompt: str, tried: list[str]) -> None:
    script = expert_script(ids(f"<subtask> {prompt} ="), np.random.default_rng(0))
    text = spell(script.tokens)
    found = re.findall(r"<call> ([^<]*) </call> ([^<]*) <", text)
    assert [f"{question} = {value}" for question, value in found] == tried
    solved = prompt == "make 4 2 , 8 , 3"
    assert text.endswith("<ok> </think> 8 * 3 <eos>" if solved else "<wrong> </think> _ <eos>")
    assert text.count("<revise>") == len(tried) - 1 and not script.mistakes


def test_a_problem_that_needs_fractions_is_answered_without_steps() -> None:
    frames = demonstrate(read("make 24 from 3, 3, 8, 8"))
    assert len(frames) == 2 and spell(frames[1].tokens).endswith("<think> </think> 8 / ( 3 - ( 8 / 3 ) ) <eos>")


# Everything through the environment.


def config_of(name: str) -> dict[str, object]:
    return next(kwargs for kwargs in IDS.values() if kwargs.get("operations") == (name,))


def of_size(name: str, size: int) -> dict[str, Any]:
    """The keyword argument that makes levels of one size."""
    family = FAMILIES[name]
    return {} if family.size_name is None else {family.size_name: size + family.first_value - 1}


@pytest.mark.parametrize(("name", "size"), [*product(FUNCTIONS, (1, 2, 3)), ("countdown", 4), ("countdown", 5)])
def test_the_expert_scores_one_within_the_limits(name: str, size: int) -> None:
    env = ArithmeticEnv(**{**config_of(name), **of_size(name, size), "split": "all"})
    expert, results = ExpertPolicy(env), []
    observation, _ = env.reset(seed=size)
    while len(results) < 8:
        observation, reward, terminated, _, info = env.step(expert.predict(observation[None])[0])
        if terminated:
            results.append((reward, info["outcome"], info["answer"] == info["expected"]))
            observation, _ = env.reset()
    assert set(results) == {(1.0, "answered", True)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_right_formula_is_paid_and_no_other_answer(name: str) -> None:
    env = ArithmeticEnv(operations=(name,), **of_size(name, 1 if name in SEARCHES else 2))
    env.reset(seed=0)
    problem = env.episodes.problems[0]
    assert problem is not None
    for given_ in (problem.answer, bytes([*problem.answer, 1]), bytes(ids("_")), bytes(ids("( 1 )"))):
        env.reset(seed=0)
        for token in given_:
            assert env.step(np.int64(token))[1] == 0.0
        assert env.step(np.int64(EOS))[1] == float(given_ == problem.answer)
    if name in SEARCHES:
        env.reset(seed=0)
        for token in ids("<think> </think> ( ") + list(problem.answer) + ids(")"):
            env.step(np.int64(token))
        assert env.step(np.int64(EOS))[1] == 1.0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_train_and_test_have_no_content_in_common(name: str) -> None:
    rng = np.random.default_rng(5)
    sides = {side: {content(draw(Level(name, 2), rng, side)) for _ in range(300)} for side in ("train", "test")}  # type: ignore[arg-type]
    assert not sides["train"] & sides["test"]
    assert min(map(len, sides.values())) > 20


def content(problem: Problem) -> object:
    """What a problem asks, whatever the order: computed apart from ``canonical``."""
    assert isinstance(problem.expr, Function)
    numbers = numbers_of(problem)
    if problem.expr.op == ID["make"]:
        return numbers[0], tuple(sorted(numbers[1:]))
    if problem.expr.op in map(ID.get, ("gcd", "total", "max", "compare")):
        return tuple(sorted(numbers))
    return canonical(problem.expr)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_environment_without_thinking_has_direct_answers(name: str, size: int) -> None:
    env = ArithmeticEnv(operations=(name,), **of_size(name, size), thinking=False, call_stack=False)
    observation, _ = env.reset(seed=0)
    expert, terminated, reward = ExpertPolicy(env), False, 0.0
    while not terminated:
        observation, reward, terminated, _, _ = env.step(expert.predict(observation[None])[0])
    assert reward == 1.0


# The registry.


def test_a_function_belongs_to_the_family_of_its_token() -> None:
    assert family_of(read("gcd(4, 6)").expr).name == "gcd"
    assert family_of(read("make 24 from 3, 8").expr).name == "countdown"
    assert family_of(Binary(ID["+"], 1, 2)).name == "addition"
    assert family_of(Binary(ID["+"], -1, 2)).name == "expression"


class Taken(GreatestCommonDivisor):
    pass


class Thief(Countdown):
    name, op = "thief", ID["gcd"]


class Nameless(Countdown):
    name, op = "nameless", ID["+"]


class Lettered(Countdown):
    name, op = "lettered", "f"  # type: ignore[assignment]


class Slashed(Countdown):
    name, op = "a/b", ID["f"]


class Wordy(Countdown):
    name, op, phrasings = "wordy", ID["f"], ("what is the smallest common multiple of {a} and {b} ?",)


class Silent(Countdown):
    name, op, phrasings = "silent", ID["f"], ()


@pytest.mark.parametrize(
    ("family", "why"),
    [
        (Taken, "'gcd' exists already; choose another name"),
        (Thief, r"op=\d+ of 'thief'; expected one of ID\['min'\], ID\['f'\], ID\['g'\], ID\['h'\]"),
        (Nameless, r"op=\d+ of 'nameless'; expected one of ID\['min'\]"),
        (Lettered, r"op='f' of 'lettered'; expected one of ID\['min'\]"),
        (Slashed, "'a/b'; expected a name of letters"),
        (Wordy, "word 'multiple' in a phrasing of 'wordy'; expected words of o1nano.envs.language.vocab"),
        (Silent, "'silent' has no phrasings; expected at least one"),
    ],
)
def test_what_is_taken_cannot_be_registered(family: type[FunctionFamily], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        register_family(family())
    assert not {"thief", "wordy", "silent"} & {*FAMILIES}


def test_a_class_is_no_family() -> None:
    with pytest.raises(ConfigurationError, match="expected an object of a class derived from Family"):
        register_family(Taken)  # type: ignore[arg-type]


def test_numbers_are_drawn_with_the_sizes_asked_for() -> None:
    for name in ("gcd", "list_sum", "maximum", "comparison"):
        drawn = [numbers_of(draw(Level(name, 3), np.random.default_rng(seed), "all")) for seed in range(60)]
        assert max(len(digits_of(number, True)) for numbers in drawn for number in numbers) == 3
    assert {len(numbers_of(draw(Level("list_sum", 2, 7), np.random.default_rng(s), "all"))) for s in range(9)} == {7}
    assert frame_answer(bytes(ids("<subtask> total 1 , 2 , 3 ="))) == bytes(ids("6"))
