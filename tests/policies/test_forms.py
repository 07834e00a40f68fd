"""Forms of problems, and the message about one that the training hardly had."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1nano.agents.run.recording import forms_among
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems.problem import Level, read
from o1nano.policies.forms import forms_of, written
from o1nano.policies.model_file import load_all, save
from o1nano.policies.record import LevelRecord, TrainingRecord
from tests.helpers.tiny import tiny_network

LEVELS = {Level("addition", 2): 1.0, Level("subtraction", 2): 1.0, Level("signed_addition", 2): 2.0}
SHOWN = {str(level): LevelRecord(demonstrated=True) for level in LEVELS}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("98+45", "n + n"),
        ("How much is 98 plus 45?", "n + n"),
        ("12 x 12 = ?", "n * n"),
        ("3x+4=19", "n x + n equals n"),
        ("-(2+3)", "- ( n + n )"),
        ("7 squared", "n ^2"),
        ("gcd(48, 36)", "gcd ( n , n )"),
    ],
)
def test_how_a_problem_is_written(text: str, form: str) -> None:
    assert written(read(text)) == form


def test_the_forms_of_a_problem_by_hand() -> None:
    assert forms_of(read("what is 2*-(3+4)?")) == {
        *("< n *", "n * -", "* - (", "- ( n", "( n +", "n + n", "+ n )", "n ) >"),
        *("whole: *", "left of *: n", "right of *: - ( )", "- ( ): ( + )", "left of +: n", "right of +: n"),
    }
    assert {"left of +: n ^2", "right of +: n"} <= forms_of(read("7^2+1"))
    assert {"mod: - n", "mod: n"} <= forms_of(read("-46 mod 7"))


@pytest.mark.parametrize(("one", "other"), [("98+45", "1+2"), ("98+45", "what's 1 plus 2?"), ("2 x 3", "2 times 3")])
def test_numbers_and_openings_make_no_difference(one: str, other: str) -> None:
    assert forms_of(read(one)) == forms_of(read(other))


def test_a_form_that_no_demonstration_had_is_named() -> None:
    # Symbols only: half of the sums have a negative number, and none has a sign before the whole.
    record = TrainingRecord(SHOWN, TOKENS, forms_among(LEVELS, "symbolic"))
    assert record.beyond(read("-5+3")) == ""
    assert record.beyond(read("-(2+3)")) == 'numbers n in the form "- ( n + n )"'
    assert record.beyond(read("the sum of 2 and 3")) == 'numbers n in the form "the sum of n and n"'
    # The everyday phrasing has both.
    everyday = TrainingRecord(SHOWN, TOKENS, forms_among(LEVELS, "everyday"))
    assert everyday.beyond(read("-(2+3)")) == everyday.beyond(read("the sum of 2 and 3")) == ""


def test_a_rare_form_is_not_known() -> None:
    rare = forms_among({Level("addition", 2): 10_000.0, Level("gcd", 2): 1.0}, "symbolic")
    assert "< n +" in rare and "< gcd (" not in rare


def test_a_record_without_forms_names_none() -> None:
    assert TrainingRecord(SHOWN, TOKENS).beyond(read("-(2+3)")) == ""


def test_a_long_form_is_cut() -> None:
    record = TrainingRecord({"long_chain/20": LevelRecord(demonstrated=True)}, TOKENS, ("< n +",))
    said = record.beyond(read("1+2+3+4+5+6+7+8+9+1+2+3+4+5+6+7+8+9"))
    assert said.endswith('..."') and len(said) < 100


def test_forms_are_kept_in_the_model_file(tmp_path: Path) -> None:
    path = tmp_path / "o1_model.pth"
    env = EnvConfig()
    record = TrainingRecord(SHOWN, TOKENS, ("< n +", "whole: +"))
    save(path, tiny_network(grammar=env.grammar), env, {}, record)
    assert load_all(path).record == record
