"""When sampling ends: the sequential test, and what the search makes of it."""

from __future__ import annotations

import pytest

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import PLUS, TIMES
from o1nano.envs.problems.problem import read
from o1nano.policies.search.checking import Calculator, check_claims
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.search import search
from o1nano.policies.search.self_checks import Claim
from o1nano.policies.search.stopping import is_surely_below
from tests.helpers.search import WIDE, Faults, fault
from tests.helpers.tiny import tiny_network


# What is left above the share is computed by hand.
@pytest.mark.parametrize(
    ("share", "hits", "misses", "expected"),
    [
        (0.5, 0, 0, False),  # 1/2
        (0.5, 0, 3, False),  # 1/16 = 0.0625
        (0.5, 0, 4, True),  # 1/32 = 0.03125
        (0.5, 1, 5, False),  # (1 + 7) / 128 = 0.0625
        (0.5, 1, 6, True),  # (1 + 8) / 256 = 0.035
        (0.5, 2, 7, False),  # (1 + 10 + 45) / 1024 = 0.0547
        (0.5, 2, 8, True),  # (1 + 11 + 55) / 2048 = 0.0327
        (0.5, 4, 0, False),
        (0.1, 0, 27, False),  # 0.9 ** 28 = 0.0523
        (0.1, 0, 28, True),  # 0.9 ** 29 = 0.0471
        (0.5, 50_000, 50_000, False),
        (0.5, 49_000, 51_000, True),
    ],
)
def test_a_share_is_surely_below(share: float, hits: int, misses: int, expected: bool) -> None:
    assert is_surely_below(share, hits, misses) == expected


def check(problem: str, paths: int) -> tuple[str, int, bool | None]:
    (answer,) = search(tiny_network(), [read(problem)], WIDE, SearchOptions(paths, select="check"))
    return answer.text, answer.usage.paths, answer.passed_checks


def test_answers_that_pass_are_not_waited_for_forever(scripted: Faults) -> None:
    scripted.append(fault("3 1 4 1 </think>", "7", 0.9999))  # practically every path is wrong
    assert check("98+45", paths=64) == ("147", 28, False)
    assert check("98+45", paths=20) == ("147", 20, False)


def test_a_vote_without_checks_ends_when_paths_agree(scripted: Faults) -> None:
    # After four paths that agree the second answer is the more frequent one with a chance of 1/32.
    assert check("(12+7)*5", paths=64) == ("95", 4, None)


def test_equal_questions_of_checks_are_asked_once() -> None:
    calculator = Calculator(tiny_network(), WIDE)
    twice = calculator.compute([Binary(PLUS, 9, 8), Binary(PLUS, 9, 8)])
    assert len(calculator.costs) == 1 and twice[0] == twice[1]
    assert calculator.compute([Binary(PLUS, 9, 8)]) == twice[:1]
    assert len(calculator.costs) == 1


def test_what_fails_the_first_check_costs_no_second(scripted: Faults) -> None:
    # 314 * 27 = 8478; 8487 has its digits. Nines let both pass, ninety-nines the first only.
    claims = [Claim(TIMES, 314, 27, result) for result in (8478, 8487, 8479)]
    passed, _ = check_claims(Calculator(tiny_network(), WIDE), claims)
    assert passed == [2, 1, 0]

    cheap = Calculator(tiny_network(), WIDE)
    check_claims(cheap, claims[2:])
    whole = Calculator(tiny_network(), WIDE)
    check_claims(whole, claims[:1])
    assert sum(cost.tokens for cost in cheap.costs) < sum(cost.tokens for cost in whole.costs)
