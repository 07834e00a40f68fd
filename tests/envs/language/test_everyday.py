"""How people write arithmetic: a corpus of lines with their answers, and what everyday phrasings draw."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from o1nano.envs.errors import O1NanoError
from o1nano.envs.language.everyday import vary_frame, vary_lists, vary_sentence, vary_signs, vary_squares
from o1nano.envs.language.vocab import EVERYDAY_WORDS, ID, TOKENS, spell
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, draw, problem_from_prompt, read, split_of
from tests.helpers.corpus import Line, read_corpus
from tests.helpers.play import ids

CORPUS = read_corpus(Path(__file__).with_name("everyday.txt"))
DRAWN = sorted(name for name, family in FAMILIES.items() if not family.solved_in_place)


def test_the_corpus_has_many_lines_of_every_kind() -> None:
    assert len(CORPUS) >= 200
    assert len({line.text for line in CORPUS}) == len(CORPUS)
    assert sum(line.answer is None for line in CORPUS) >= 30


@pytest.mark.parametrize("line", [line for line in CORPUS if line.answer is not None], ids=str)
def test_a_line_is_read_as_the_right_problem(line: Line) -> None:
    problem = read(line.text)
    assert line.answer is not None and problem.accepts(line.answer)
    demonstrate(problem)


@pytest.mark.parametrize("line", [line for line in CORPUS if line.answer is None], ids=str)
def test_a_line_without_an_answer_is_refused_with_the_reason(line: Line) -> None:
    with pytest.raises(O1NanoError) as error:
        read(line.text)
    assert line.reason in str(error.value)
    assert "expected" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("family", DRAWN)
def test_every_way_to_write_a_problem_is_read_back(family: str) -> None:
    rng = np.random.default_rng(0)
    size = 2 if family == "countdown" else 3
    for _ in range(25):
        problem = draw(Level(family, size), rng, "train", "everyday")
        assert problem_from_prompt(problem.prompt).expr == problem.expr
        assert read(problem.text).expr == problem.expr
        assert split_of(problem.expr) == "train"


def test_every_everyday_word_is_drawn() -> None:
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for family in DRAWN:
        for _ in range(300):
            seen.update(draw(Level(family, 2), rng, "all", "everyday").prompt)
    assert {TOKENS[token] for token in seen} >= set(EVERYDAY_WORDS)


@pytest.mark.parametrize("family", [name for name in DRAWN if not FAMILIES[name].name.startswith("signed_")])
def test_other_phrasings_have_no_everyday_words(family: str) -> None:
    new = {ID[word] for word in EVERYDAY_WORDS}
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert new.isdisjoint(draw(Level(family, 2), rng, "all", "mixed").prompt)


def variants(tokens: str, vary: object, count: int = 300) -> set[str]:
    assert callable(vary)
    rng = np.random.default_rng(0)
    return {spell(vary(ids(tokens), rng)) for _ in range(count)}


def test_signs_are_written_in_every_way() -> None:
    found = variants("- 5 * - 3", vary_signs)
    assert found == {
        "- 5 * - 3",
        "- 5 * ( - 3 )",
        "( - 5 ) * - 3",
        "( - 5 ) * ( - 3 )",
        "- 5 times - 3",
        "- 5 times minus 3",
        "- 5 times negative 3",
        "minus 5 times - 3",
        "minus 5 times minus 3",
        "minus 5 times negative 3",
        "negative 5 times - 3",
        "negative 5 times minus 3",
        "negative 5 times negative 3",
    }
    # Rarely, a number is the opposite of its opposite.
    assert {"2 * 3", "2 times 3", "2 x 3"} <= variants("2 * 3", vary_signs)
    assert variants("2 * 3", vary_signs) <= {
        *("2 * 3", "2 times 3", "2 x 3", "- ( - 2 ) * 3", "2 * - ( - 3 )", "- ( - 2 ) * - ( - 3 )"),
        *("- ( - 2 ) times 3", "2 times - ( - 3 )", "- ( - 2 ) times - ( - 3 )"),
    }
    assert variants("8 / ( 2 - 3 )", vary_signs) == {
        *("8 / ( 2 - 3 )", "8 divided by ( 2 minus 3 )"),
        *("- ( - 8 ) / ( 2 - 3 )", "- ( - 8 ) divided by ( 2 minus 3 )"),
    }


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("2 * ( 7 * 7 )", {"2 * ( 7 * 7 )", "2 * 7 ^2", "2 * 7 squared"}),
        ("( 1 2 * 1 2 ) - 3", {"( 1 2 * 1 2 ) - 3", "1 2 ^2 - 3", "1 2 squared - 3"}),
        ("( - 7 * - 7 ) + 1", {"( - 7 * - 7 ) + 1", "( - 7 ) ^2 + 1", "( - 7 ) squared + 1"}),
        # "-7^2" has two meanings, and these are no squares.
        ("- ( 7 * 7 )", {"- ( 7 * 7 )"}),
        ("( 7 * 8 ) + 1", {"( 7 * 8 ) + 1"}),
        ("( 7 * 7 + 1 )", {"( 7 * 7 + 1 )"}),
    ],
)
def test_squares_are_written_as_squares(text: str, ways: set[str]) -> None:
    assert variants(text, vary_squares) == ways


def test_a_list_may_have_a_comma_before_its_last_number() -> None:
    assert variants("add 3 , 4 and 5", vary_lists) == {"add 3 , 4 and 5", "add 3 , 4 , and 5"}
    assert variants("add 3 and 4", vary_lists) == {"add 3 and 4"}


@pytest.mark.parametrize(
    ("level", "pattern"),
    [
        ("signed_addition/1", r"-\(\d\+\d\)"),
        ("signed_expression/2", r"- ?\( ?\d+ ?[-+*/] ?\d+ ?\) ?[-+*/].*"),
        ("expression/1", r".*\d ?\^2.*"),
        ("expression/1", r"multiply \d [-+*/] \d.* by .*"),
        ("modular/3", r"\d{3} ?mod \d"),
        ("signed_modular/2", r"-\d\d mod \d"),
        ("linear_equation/2", r"x[-+]\d+=-?\d+"),
        ("linear_equation/2", r"\d\d\*x[-+]\d=.*"),
        ("division/5", r"\d+000/\d+0"),
        ("signed_multiplication/1", r"double - \d"),
        ("gcd/3", r"gcd\(\d00, \d+\)"),
    ],
)
def test_everyday_problems_have_forms_that_others_have_not(level: str, pattern: str) -> None:
    rng = np.random.default_rng(0)
    texts = (draw(level, rng, "all", "everyday").text for _ in range(6000))
    assert any(re.fullmatch(pattern, text) for text in texts)


def test_a_problem_without_a_solution_may_be_asked() -> None:
    rng = np.random.default_rng(0)
    answers = [draw("countdown/1", rng, "all", "everyday").answer_text for _ in range(200)]
    assert 5 < answers.count("_") < 50
    assert "_" not in [draw("countdown/3", rng, "all", "everyday").answer_text for _ in range(20)]


def test_openings_and_endings_vary() -> None:
    found = variants("1 + 2", vary_frame, 2000)
    assert {
        "1 + 2",
        "1 + 2 equals ?",
        "1 + 2 ?",
        "how much is 1 + 2 ?",
        "what's 1 + 2",
        "please calculate 1 + 2",
    } <= found
    assert variants("3 * x + 4 equals 1 9", vary_frame) <= {
        f"{opening}3 * x + 4 equals 1 9{ending}"
        for opening in ("", "solve ", "find ")
        for ending in ("", " ?", " please")
    }


def test_a_question_mark_may_be_missing() -> None:
    assert variants("what is 1 + 2 ?", vary_sentence) == {"what is 1 + 2 ?", "what is 1 + 2", "what is 1 + 2 please"}
