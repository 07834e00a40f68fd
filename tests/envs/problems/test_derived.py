"""Signed and counted families: what they draw, how the expert solves it, and the sizes that a problem takes."""

from __future__ import annotations

import numpy as np
import pytest

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import WeightedLevels
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, Task
from o1nano.envs.language.vocab import spell
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.measures import absolute, is_negative, numbers_of
from o1nano.envs.problems.problem import Level, draw, read, read_level, split_of
from o1nano.envs.problems.registry import canonical
from o1nano.envs.seeding import stream

SIGNED = sorted(name for name in FAMILIES if name.startswith("signed_"))
COUNTED = sorted(name for name in FAMILIES if name.startswith("long_"))


def drawn(level: str, count: int = 100) -> list[Task]:
    rng = np.random.default_rng(0)
    return [draw(level, rng, "train").expr for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (
            "-5+3",
            [
                "<problem> - 5 + 3 = <think> <call> - 5 + 3 </call> - 2 </think> - 2 <eos>",
                "<subtask> - 5 + 3 = <think> <call> 3 - 5 </call> - 2 </think> - 2 <eos>",
                "<subtask> 3 - 5 = <think> 8 1 <call> 5 - 3 </call> 2 </think> - 2 <eos>",
                "<subtask> 5 - 3 = <think> 2 0 </think> 2 <eos>",
            ],
        ),
        (
            "-(2+3)",
            [
                "<problem> - ( 2 + 3 ) = <think> <call> - ( 2 + 3 ) </call> - 5 </think> - 5 <eos>",
                "<subtask> - ( 2 + 3 ) = <think> <call> 2 + 3 </call> 5 </think> - 5 <eos>",
                "<subtask> 2 + 3 = <think> 5 0 </think> 5 <eos>",
            ],
        ),
        (
            "4*-(2+3)",
            [
                "<problem> 4 * - ( 2 + 3 ) = <think> <call> 4 * - ( 2 + 3 ) </call> - 0 2 </think> - 2 0 <eos>",
                "<subtask> 4 * - ( 2 + 3 ) = <think> <call> 2 + 3 </call> 5 ; <goto> 4 * - 5 =",
                "<subtask> 2 + 3 = <think> 5 0 </think> 5 <eos>",
                "<subtask> 4 * - 5 = <think> <call> 4 * 5 </call> 0 2 </think> - 0 2 <eos>",
                "<subtask> 4 * 5 = <think> 0 2 </think> 0 2 <eos>",
            ],
        ),
    ],
)
def test_signs_are_reduced_one_rule_at_a_time(text: str, frames: list[str]) -> None:
    assert [spell(frame.tokens) for frame in demonstrate(read(text))] == frames


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("-7/2", "- 7 / 2 = <think> <call> 7 / 2 </call> 3 R 1 ; <call> 3 + 1 </call> 4 ; <call> 2 - 1 </call> 1"),
        ("7/-2", "7 / - 2 = <think> <call> 7 / 2 </call> 3 R 1 ; <call> 3 + 1 </call> 4 ; <call> 2 - 1 </call> 1"),
        ("-7/-2", "- 7 / - 2 = <think> <call> 7 / 2 </call> 3 R 1 </think> 3 R - 1 <eos>"),
        ("-8/2", "- 8 / 2 = <think> <call> 8 / 2 </call> 4 R 0 </think> - 4 R 0 <eos>"),
    ],
)
def test_quotients_of_negative_numbers_are_rounded_down_in_steps(text: str, frame: str) -> None:
    assert spell(demonstrate(read(text))[1].tokens).startswith(f"<subtask> {frame}")


@pytest.mark.parametrize("family", SIGNED)
def test_signed_families_draw_negative_numbers(family: str) -> None:
    tasks = drawn(f"{family}/2")
    assert all(map(is_negative, tasks)) or family == "signed_linear_equation"
    assert len({canonical(task) for task in tasks}) > 50


@pytest.mark.parametrize("family", COUNTED)
@pytest.mark.parametrize("size", [1, 4])
def test_counted_families_draw_by_the_number_of_numbers(family: str, size: int) -> None:
    assert {len(numbers_of(task)) for task in drawn(f"{family}/{size}")} == {size + 1}
    assert max(max(numbers_of(task)) for task in drawn(f"{family}/{size}x1")) <= 9


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"recall", "ledger"}))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_problem_takes_no_larger_size_than_its_level(family: str, size: int) -> None:
    # A chain or a list of two numbers is read as an operation on two numbers.
    for task in drawn(f"{family}/{size}", 50):
        taken = FAMILIES[family].size_of(task)
        has_two = isinstance(task, Binary) and len(numbers_of(task)) == 2
        assert (taken is not None and taken <= size) or (has_two and "addition" not in family)


@pytest.mark.parametrize(
    ("level", "text", "size"),
    [
        ("addition/1", "98+45", 2),
        ("addition/1", "-98+45", None),
        ("addition/1", "98-45", None),
        ("signed_addition/1", "-98+45", 2),
        ("multiplication/1x2", "123*45", 3),
        ("multiplication/1x1", "123*45", None),
        ("expression/1", "(12+7)*5-8", 2),
        ("expression/1x5", "(12+7)*5-8/2", 2),
        ("expression/1", "1+2+3+4+5", None),
        ("expression/1x5", "1+2+3+4+5", 1),
        ("chain/1", "(12+7)*5-8/2", None),
        ("chain/1", "1+2+3+4+5", 1),
        ("signed_chain/1", "1+2--33", 2),
        ("long_chain/1", "1+2+3+4+5", 4),
        ("long_chain/1", "1+2+345", None),
        ("list_sum/1", "total(3, 14, 15)", 2),
        ("list_sum/1", "total(1, 2, 3, 4, 5, 6)", None),
        ("long_list_sum/1", "total(1, 2, 3, 4, 5, 6)", 5),
        ("linear_equation/1", "3x-4=11", 1),
        ("linear_equation/1", "-3x-4=11", None),
        ("signed_linear_equation/1", "-3x-4=11", 1),
        ("countdown/1", "make 24 from 4, 7, 8, 8", 3),
        ("game_of_24/1", "make 24 from 4, 7, 8, 8", 1),
        ("game_of_24/1", "make 25 from 4, 7, 8, 8", None),
    ],
)
def test_the_size_that_a_problem_takes(level: str, text: str, size: int | None) -> None:
    try:
        task = read(text).expr
    except ProblemError:
        pytest.fail(text)
    known = read_level(level)
    assert FAMILIES[known.family].size_of(task, known.extra) == size


def test_a_sign_before_parentheses_may_stand_inside_of_them() -> None:
    one, other = read("-(12+7)").expr, read("-12-7").expr
    assert canonical(one) == canonical(other)
    assert split_of(one) == split_of(other)
    assert canonical(read("-(12*7)").expr) == canonical(read("-12*7").expr)


def test_signs_make_no_difference_for_common_divisors() -> None:
    assert canonical(read("gcd(-48, 36)").expr) == canonical(read("gcd(36, 48)").expr)


def test_a_problem_without_its_signs() -> None:
    assert absolute(read("-(2-3)*-4").expr) == read("(2-3)*4").expr
    assert absolute(read("gcd(-48, 36)").expr) == Function(read("gcd(1, 2)").expr.op, (48, 36))
    assert numbers_of(read("5-(-(2+3))").expr) == [5, 2, 3]


def test_an_environment_draws_signed_problems() -> None:
    config = EnvConfig(operations=("signed_addition", "long_chain"), digits=2, operands=(3, 4))
    assert config.levels == [
        Level("signed_addition", 2),
        *(Level("long_chain", 2, 2), Level("long_chain", 3, 2)),
    ]


def test_levels_are_drawn_by_their_weights() -> None:
    levels = WeightedLevels({Level("addition", 1): 1.0, Level("addition", 2): 3.0})
    rng = stream("weights")
    counts = [levels.draw(rng).size for _ in range(4000)]
    assert 0.72 < counts.count(2) / 4000 < 0.78
