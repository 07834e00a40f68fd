"""Plans: how far each family is demonstrated and grown, and how often it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recipes.everything import PLANS
from o1nano.agents.evaluation.held_out import standard_levels
from o1nano.agents.run.build import build_curriculum, build_env_config, demonstration_weights, evaluated
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.plans import FamilyPlan, read_plan, read_plans
from o1nano.agents.run.recording import training_record
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level
from o1nano.policies.model_file import load_all
from o1nano.policies.record import LevelRecord
from tests.helpers.runs import small_run
from train_rl import train

PLANNED = TrainConfig(plans=("gcd/2-4*0.5", "addition/1-3", "signed_addition/1"), sum_digits=2, product_digits=1)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("gcd/2-4*0.5", FamilyPlan("gcd", 2, 4, 0.5, 0.5)),
        ("gcd/2-4", FamilyPlan("gcd", 2, 4, 1.0)),
        ("gcd/2", FamilyPlan("gcd", 2, 2, 1.0)),
        ("signed_gcd/2*3", FamilyPlan("signed_gcd", 2, 2, 3.0, 3.0)),
        ("game_of_24/1*6:0.5", FamilyPlan("game_of_24", 1, 1, 6.0, 0.5)),
    ],
)
def test_a_plan_is_read(text: str, plan: FamilyPlan) -> None:
    assert read_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gcd", "plan 'gcd'; expected FAMILY/"),
        ("gcd/4-2", "1 <= DEMONSTRATED <= LARGEST"),
        ("gcd/0", "1 <= DEMONSTRATED"),
        ("gcd/2*0", "SHARE above 0"),
        ("gcd/2*1:0", "SHARE above 0"),
        ("gcd/2:3", "expected FAMILY/"),
        ("gdc/2", "operation 'gdc'"),
        ("gcd/2x3", "expected FAMILY/"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        TrainConfig(plans=(text,)).validate()


def test_a_family_has_one_plan() -> None:
    with pytest.raises(ConfigurationError, match="two plans for gcd"):
        read_plans(("gcd/2", "gcd/3"))


def test_a_plan_takes_the_place_of_the_flags_of_its_family() -> None:
    standard = [level for level in standard_levels(2, 1) if level.family != "addition"]
    expected = {**dict.fromkeys(standard, 1.0), Level("gcd", 1): 0.5, Level("gcd", 2): 0.5}
    expected |= {Level("addition", 1): 1.0, Level("signed_addition", 1): 1.0}
    assert demonstration_weights(PLANNED) == expected

    curriculum = build_curriculum(PLANNED)
    assert (curriculum.first["gcd"], curriculum.last["gcd"]) == (2, 4)
    assert (curriculum.first["addition"], curriculum.last["addition"]) == (1, 3)
    assert curriculum.last["subtraction"] == 11
    weights = curriculum.weights()
    assert weights[Level("gcd", 2)] == pytest.approx(weights[Level("addition", 1)] / 2)
    assert {Level("gcd", 4), Level("addition", 3), Level("signed_addition", 1)} <= set(evaluated(PLANNED))
    assert "signed_addition" in build_env_config(PLANNED).operations


def test_plans_must_fit_in_a_frame() -> None:
    with pytest.raises(ConfigurationError, match="level multiplication/20 with frame_length=256"):
        TrainConfig(plans=("multiplication/2-20",)).validate()
    TrainConfig(plans=("multiplication/2-20",), iterations=0).validate()


def test_the_recipe_has_a_plan_for_every_family_that_does_not_fill_a_frame() -> None:
    named = set(read_plans(PLANS))
    expected = {name for name, family in FAMILIES.items() if not family.solved_in_place}
    assert named == expected


def test_the_record_says_what_was_demonstrated_and_practised() -> None:
    curriculum = build_curriculum(PLANNED)
    for success in (True, True, False, True):
        curriculum.record(Level("gcd", 2), success)
    record = training_record(PLANNED, curriculum, {})
    assert record.levels["gcd/2"] == LevelRecord(True, 4, 0.75)
    assert record.levels["addition/1"] == LevelRecord(True)
    assert "addition/2" not in record.levels
    assert "gcd" in record.tokens and "what's" not in record.tokens and "make" not in record.tokens


@pytest.mark.integration
def test_a_run_by_plans_writes_its_record(tmp_path: Path) -> None:
    plans = ("gcd/1-2", "signed_addition/1", "long_chain/2-3*0.5")
    run = small_run(tmp_path / "run", plans=plans, phrasing="everyday", frame_length=192, iterations=1)
    train(run)
    record = load_all(run.folder / "o1_model.pth").record
    assert record is not None
    assert record.levels["signed_addition/1"].demonstrated and record.levels["gcd/2"].problems > 0
    assert not record.levels["gcd/2"].demonstrated
    assert "what's" in record.tokens
