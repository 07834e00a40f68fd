"""Runs that demonstrate more than the four operations, and the limits that their levels need."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from o1nano.agents.evaluation.held_out import Cell, demonstrated_average, standard_levels
from o1nano.agents.evaluation.reports import comparison
from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_env_config, demonstrated
from o1nano.agents.run.checkpoints import Checkpoints
from o1nano.agents.run.config import CurriculumConfig, EvaluationConfig, TrainConfig
from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import UniformLevels
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import PROBLEM
from o1nano.envs.problems import FOUR_OPERATIONS
from o1nano.envs.problems.problem import Level, read_level
from o1nano.envs.seeding import stream
from o1nano.policies.search.solver import Solver
from tests.helpers.runs import small_run
from tests.helpers.tiny import tiny_network
from train_rl import train

EXPRESSIONS = ("expression/1x3", "expression/1x4")


def test_other_levels_follow_the_four_operations() -> None:
    config = TrainConfig(sum_digits=6, product_digits=9, frame_length=256, extra_levels=EXPRESSIONS, seed=3)
    config.validate()
    expected = [*standard_levels(6, 9), Level("expression", 1, 3), Level("expression", 1, 4)]
    assert demonstrated(config) == expected
    given = config.warm_start
    rng = stream("demonstrations", config.seed)
    plain = DemonstrationStream(
        UniformLevels(expected), rng, given.batch_tokens, given.mistake_rate, given.corruption_rate
    )
    for one, other in zip(islice(plain, 3), build_demonstrations(config, ProcessGroup()), strict=False):
        assert all(map(np.array_equal, (frame.tokens for frame in one), (frame.tokens for frame in other)))


def cell(name: str, correct: int) -> Cell:
    return Cell(name, 10, correct, 10, Usage())


def test_other_levels_stay_out_of_the_average() -> None:
    standard = [cell("addition/1", 10), cell("addition/4", 0), cell("division/3", 5)]
    others = [cell("expression/1x3", 0), cell("addition/2x1", 0), cell("game_of_24/1", 0)]
    assert demonstrated_average([*standard, *others], 3, 3) == demonstrated_average(standard, 3, 3) == 0.75
    assert demonstrated_average(standard, 4, 2) == 0.5  # sums and products are demonstrated up to sizes of their own
    table = comparison([*standard, *others], [*standard, *others], {"average_before": 0.125, "average_after": 0.75})
    assert "expression/1x3" in table
    assert table.splitlines()[-1].split() == ["demonstrated", "sizes", "12.5%", "75.0%"]


@pytest.mark.integration
def test_a_run_with_other_levels_measures_them_and_resumes(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", extra_levels=("expression/1x3", "game_of_24/1"), frame_length=640, iterations=1)
    assert run.network.grammar.functions
    train(run)
    names = [row["name"] for row in run.results["after"]]
    assert names == [*map(str, standard_levels(2, 1)), "expression/1x3", "game_of_24/1"]
    assert {level.family for level in run.curriculum.open_levels} == {*FOUR_OPERATIONS, "game_of_24"}
    config, _ = Checkpoints(run.folder).newest()
    assert config == run.config and config.extra_levels == ("expression/1x3", "game_of_24/1")
    again = Run.resume(run.folder, Display(quiet=True))
    assert again.results == run.results


@pytest.mark.parametrize("strategy", ["adaptive", "uniform"])
def test_further_families_are_practised_up_to_the_size_that_is_named(strategy: str) -> None:
    config = TrainConfig(
        extra_levels=("countdown/3", "game_of_24/1", "expression/1x3", "addition/12"),
        curriculum=CurriculumConfig(strategy=strategy, sum_weight=4.0),  # type: ignore[arg-type]
    )
    curriculum = build_curriculum(config)
    further = {"countdown": 3, "game_of_24": 1}  # a shape of its own has no place in a curriculum
    largest = {"addition": 12, "subtraction": 11, "multiplication": 6, "division": 6, **further}
    assert curriculum.last == largest
    assert {family: curriculum.frontier[family] for family in further} == further
    weights = curriculum.weights()
    assert weights[Level("addition", 1)] == pytest.approx(4 * weights[Level("countdown", 3)])


def test_demonstrations_must_fit_in_a_frame() -> None:
    with pytest.raises(ConfigurationError, match="level division/3 with frame_length=64"):
        TrainConfig(frame_length=64).validate()
    with pytest.raises(ConfigurationError, match="level division/3 with frame_length=256"):
        TrainConfig(call_stack=False).validate()


@pytest.mark.integration
def test_a_run_without_a_call_stack_has_one_frame_a_problem(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", call_stack=False, frame_length=192, iterations=1)
    frames = next(iter(build_demonstrations(run.config, ProcessGroup())))
    assert {int(frame.tokens[0]) for frame in frames} == {PROBLEM}
    train(run)
    assert not run.model.policy.grammar.calls and not run.env_config.call_stack
    again = Run.resume(run.folder, Display(quiet=True))
    assert again.results == run.results and not again.network.grammar.calls


def test_sums_can_be_drawn_more_often() -> None:
    weights = [build_curriculum(TrainConfig(curriculum=CurriculumConfig(sum_weight=by))).weights() for by in (1.0, 8.0)]
    plain, more = weights
    sums, product = Level("addition", 2), Level("multiplication", 2)
    assert more[sums] / more[product] == pytest.approx(8 * plain[sums] / plain[product])


def test_expressions_leave_the_grammar_as_it_is(tmp_path: Path) -> None:
    plain, other = small_run(tmp_path / "plain"), small_run(tmp_path / "other", extra_levels=EXPRESSIONS)
    assert plain.env_config.grammar == other.env_config.grammar
    assert replace(other.env_config, operations=plain.env_config.operations) == plain.env_config


def test_a_curriculum_must_be_solvable_in_a_frame() -> None:
    with pytest.raises(ConfigurationError, match="level multiplication/20 with frame_length=256"):
        TrainConfig(curriculum=CurriculumConfig(product_digits=20)).validate()
    TrainConfig(curriculum=CurriculumConfig(product_digits=20), iterations=0).validate()
    TrainConfig(curriculum=CurriculumConfig(product_digits=20), frame_length=384).validate()


def test_thresholds_are_checked_before_anything_starts() -> None:
    with pytest.raises(ConfigurationError, match=r"demote=0\.05, promote=0\.01"):
        prepare(TrainConfig(curriculum=CurriculumConfig(promote=0.01)))


def test_limits_leave_room_for_what_is_demonstrated_practised_and_measured() -> None:
    deep = build_env_config(TrainConfig(frame_length=512, extra_levels=("multiplication/32x32",), iterations=0))
    assert deep.depth >= 33 and deep.max_tokens > 14_000
    measured = build_env_config(TrainConfig(frame_length=512, evaluation=EvaluationConfig(product_digits=14)))
    practised = build_env_config(TrainConfig(frame_length=512, curriculum=CurriculumConfig(product_digits=14)))
    assert measured.max_tokens == practised.max_tokens > build_env_config(TrainConfig()).max_tokens == 2048


def test_a_solver_makes_room_for_levels_beyond_its_training() -> None:
    solver = Solver(tiny_network(), EnvConfig(max_tokens=60, depth=4, frame_length=512))
    solver.make_room([read_level("multiplication/20x20"), read_level("addition/1")])
    assert solver.config.max_tokens > 11_000 and solver.config.depth >= 42 and solver.config.frame_length == 512
    before = solver.config
    solver.make_room([read_level("addition/1")])
    assert solver.config == before
