"""What a model file says about the training: what is beyond it, and what is known to be unreliable."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems.problem import read
from o1nano.policies.model_file import load_all, save
from o1nano.policies.record import LevelRecord, TrainingRecord
from o1nano.policies.search.solver import MOST_KINDS, Solver
from tests.helpers.tiny import tiny_network

SHOWN = LevelRecord(demonstrated=True)
RECORD = TrainingRecord(
    {
        "addition/1": SHOWN,
        "addition/2": SHOWN,
        "addition/3": LevelRecord(episodes=64, success=0.9),
        "addition/4": LevelRecord(episodes=64, success=0.1),
        "addition/5": LevelRecord(episodes=2, success=1.0),
        "signed_addition/1": SHOWN,
        "multiplication/2x1": SHOWN,
        "division/2": LevelRecord(demonstrated=True, problems=20, accuracy=0.35),
        "division/4": LevelRecord(demonstrated=True, problems=20, accuracy=1.0),
        "chain/1": SHOWN,
        "list_sum/1": SHOWN,
        "long_chain/13": SHOWN,
        "linear_equation/2": SHOWN,
        "game_of_24/1": SHOWN,
    },
    TOKENS,
)


@pytest.mark.parametrize(
    ("text", "beyond"),
    [
        ("1+2", ""),
        ("98+45", ""),
        ("987+45", ""),  # PPO solved these
        ("9876+45", "addition/4 (it learned sizes up to 3)"),  # PPO tried these
        ("98765+45", "addition/5 (it learned sizes up to 3)"),  # in too few episodes to know
        ("-5+3", ""),
        ("-15+3", "signed_addition/2 (it learned sizes up to 1)"),
        ("5-3", "subtraction"),
        ("5--3", "signed_subtraction"),
        ("12*3", ""),
        ("123*3", "multiplication/3x1 (it learned sizes up to 2)"),
        ("12*34", "multiplication"),
        ("99/7", "division/2 (it was right in 35% of 20)"),
        ("9/7", "division/2 (it was right in 35% of 20)"),
        ("999/7", ""),
        ("1+2*3", ""),
        ("1+2*30-4", ""),
        ("1+2*300-4", "chain/3 (it learned sizes up to 1)"),
        ("1+2+3+4+5+6+7+8+9+1+2+3+4+5", ""),
        ("1+2+3+4+5+6+7+8+9+1+2+3+4+5+6", "long_chain/14 (it learned sizes up to 13)"),
        ("(1+2)/3", "expression"),
        ("total(1, 2, 3)", ""),
        ("total(1, 2, 3, 4, 5, 6)", "list_sum of 6 numbers"),
        ("3x-4=11", ""),
        ("-3x-4=11-30", "signed_linear_equation"),
        ("gcd(48, 36)", "gcd"),
        ("gcd(-48, 36)", "signed_gcd"),
        ("make 24 from 4, 7, 8, 8", ""),
        ("make 25 from 4, 7, 8, 8", "countdown"),
    ],
)
def test_what_is_beyond_the_training_is_said(text: str, beyond: str) -> None:
    assert RECORD.beyond(read(text)) == beyond


def test_a_record_is_kept_in_the_model_file(tmp_path: Path) -> None:
    path = tmp_path / "o1_model.pth"
    env = EnvConfig()
    save(path, tiny_network(grammar=env.grammar), env, {}, TrainingRecord(RECORD.levels, TOKENS[:80]))
    assert load_all(path).record == TrainingRecord(RECORD.levels, TOKENS[:80])
    solver = Solver.load(path)
    assert solver.unlearned([read("98+45"), read("5-3"), read("6-3")]) == ["subtraction"]
    with pytest.raises(ProblemError, match="the model was not trained with 'half' in 'half of 10'"):
        solver.read("half of 10")
    assert solver.read("98+45").answer_text == "143"


def test_a_file_without_a_record_knows_the_tokens_of_its_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "o1_model.pth"
    env = EnvConfig()
    save(path, tiny_network(grammar=env.grammar), env, {})
    found = load_all(path)
    assert found.record is None and found.tokens == TOKENS
    assert Solver.load(path).read("half of 10").answer_text == "5"


def test_only_a_few_kinds_are_named() -> None:
    asked = [read(f"1{'0' * count}+1") for count in range(4, 30)]
    assert len(Solver(tiny_network(), EnvConfig(), record=RECORD).unlearned(asked)) == MOST_KINDS
