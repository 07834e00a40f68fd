"""Levels as people write them, and runs that demonstrate more than the four operations."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from o1nano.agents.evaluation.held_out import Cell, demonstrated_average, levels
from o1nano.agents.evaluation.reports import comparison
from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.distributed import Team
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_env_config, demonstrated
from o1nano.agents.run.checkpoints import Snapshots
from o1nano.agents.run.config import CurriculumConfig, EvaluationConfig, TrainConfig
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run, prepare
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.episodes import EnvConfig
from o1nano.envs.core.levels import UniformLevels, read_level
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import PROBLEM
from o1nano.envs.problems import FOUR_OPERATIONS
from o1nano.envs.problems.countdown import LARGEST
from o1nano.envs.problems.expert import ExpertPolicy, check_demonstrable, demands
from o1nano.envs.problems.problem import Level, draw, stream
from o1nano.policies.search.solver import Solver
from tests.helpers.runs import small_run
from tests.helpers.tiny import tiny_network

EXPRESSIONS = ("expression/1x3", "expression/1x4")


@pytest.mark.parametrize(
    "level", [Level("addition", 12), Level("expression", 1, 3), Level("recall", 2, 4096), Level("game_of_24", 1)]
)
def test_a_level_is_read_as_it_is_written(level: Level) -> None:
    assert read_level(str(level)) == level


@pytest.mark.parametrize(
    "text",
    ["", "addition", "addition/", "addition/0", "addition/1x", "addition/1x0", "/1", "x/1", "addition/1/2", "é/1"],
)
def test_what_is_no_level_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="accepted"):
        read_level(text)


def test_other_levels_come_behind_the_four_operations_and_are_drawn_as_often() -> None:
    config = TrainConfig(digits=6, product_digits=9, frame_length=256, also=EXPRESSIONS, seed=3)
    config.validate()
    expected = [*levels(6, 9), Level("expression", 1, 3), Level("expression", 1, 4)]
    assert demonstrated(config) == expected
    given = config.warm_start
    rng = stream("demonstrations", config.seed)
    plain = DemonstrationStream(UniformLevels(expected), rng, given.batch_tokens, given.slip_rate, given.spoil_rate)
    for one, other in zip(islice(plain, 3), build_demonstrations(config, Team()), strict=False):
        assert all(map(np.array_equal, (frame.tokens for frame in one), (frame.tokens for frame in other)))


def test_a_level_whose_frames_have_no_room_is_refused() -> None:
    check_demonstrable(Level("game_of_24", 1), 192)
    with pytest.raises(ConfigurationError, match="game_of_24/1 with frame_length=48"):
        check_demonstrable(Level("game_of_24", 1), 48)
    with pytest.raises(ConfigurationError, match="at least 90000 for it"):
        check_demonstrable(Level("maximum", 3, 90_000), 128)


def cell(name: str, correct: int) -> Cell:
    return Cell(name, 10, correct, 10, 1.0, 1.0, 1.0)


def test_other_levels_stay_out_of_the_average() -> None:
    standard = [cell("addition/1", 10), cell("addition/4", 0), cell("division/3", 5)]
    others = [cell("expression/1x3", 0), cell("addition/2x1", 0), cell("game_of_24/1", 0)]
    assert demonstrated_average([*standard, *others], 3, 3) == demonstrated_average(standard, 3, 3) == 0.75
    assert demonstrated_average(standard, 4, 2) == 0.5  # sums and products are demonstrated up to sizes of their own
    table = comparison([*standard, *others], [*standard, *others], {"average_before": 0.125, "average_after": 0.75})
    assert "expression/1x3" in table
    assert table.splitlines()[-1].split() == ["demonstrated", "sizes", "12.5%", "75.0%"]


def test_a_run_with_other_levels_measures_them_and_goes_on_from_its_files(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", also=("expression/1x3", "game_of_24/1"), frame_length=192, epochs=1)
    assert run.network.grammar.functions
    run.execute()
    names = [row["name"] for row in run.results["after"]]
    assert names == [*map(str, levels(2, 1)), "expression/1x3", "game_of_24/1"]
    assert {level.family for level in run.curriculum.open_levels} == {*FOUR_OPERATIONS, "game_of_24"}
    config, _ = Snapshots(run.folder).newest()
    assert config == run.config and config.also == ("expression/1x3", "game_of_24/1")
    again = Run.resume(run.folder, Display(quiet=True))
    assert again.results == run.results


@pytest.mark.parametrize("strategy", ["adaptive", "uniform"])
def test_further_families_are_practised_up_to_the_size_that_is_named(strategy: str) -> None:
    config = TrainConfig(
        also=("countdown/3", "game_of_24/1", "expression/1x3", "addition/7"),
        curriculum=CurriculumConfig(strategy=strategy, sums_weight=4.0),  # type: ignore[arg-type]
    )
    curriculum = build_curriculum(config)
    further = {"countdown": 3, "game_of_24": 1}  # a shape of its own has no place in a curriculum
    largest = {"addition": 7, "subtraction": 6, "multiplication": 3, "division": 3, **further}
    assert curriculum.last == largest
    assert {family: curriculum.frontier[family] for family in further} == further
    weights = curriculum.weights()
    assert weights[Level("addition", 1)] == pytest.approx(4 * weights[Level("countdown", 3)])


def test_demonstrations_must_fit_in_a_frame() -> None:
    with pytest.raises(ConfigurationError, match="level division/3 with frame_length=64"):
        TrainConfig(frame_length=64).validate()
    with pytest.raises(ConfigurationError, match="level multiplication/3 with frame_length=144"):
        TrainConfig(call_stack=False).validate()


def test_a_run_without_a_call_stack_has_one_frame_a_problem(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", call_stack=False, frame_length=192, epochs=1)
    frames = next(iter(build_demonstrations(run.config, Team())))
    assert {int(frame.tokens[0]) for frame in frames} == {PROBLEM}
    run.execute()
    assert not run.model.policy.grammar.calls and not run.env_config.call_stack
    again = Run.resume(run.folder, Display(quiet=True))
    assert again.results == run.results and not again.network.grammar.calls


def test_sums_can_be_drawn_more_often() -> None:
    weights = [
        build_curriculum(TrainConfig(curriculum=CurriculumConfig(sums_weight=by))).weights() for by in (1.0, 8.0)
    ]
    plain, more = weights
    sums, product = Level("addition", 2), Level("multiplication", 2)
    assert more[sums] / more[product] == pytest.approx(8 * plain[sums] / plain[product])


def test_expressions_leave_the_grammar_as_it_is(tmp_path: Path) -> None:
    plain, other = small_run(tmp_path / "plain"), small_run(tmp_path / "other", also=EXPRESSIONS)
    assert plain.env_config.grammar == other.env_config.grammar
    assert replace(other.env_config, operations=plain.env_config.operations) == plain.env_config


def test_a_curriculum_must_be_solvable_in_a_frame() -> None:
    with pytest.raises(ConfigurationError, match="level multiplication/12 with frame_length=144"):
        TrainConfig(curriculum=CurriculumConfig(products=12)).validate()
    TrainConfig(curriculum=CurriculumConfig(products=12), epochs=0).validate()
    TrainConfig(curriculum=CurriculumConfig(products=12), frame_length=256).validate()


def test_thresholds_are_checked_before_anything_starts() -> None:
    with pytest.raises(ConfigurationError, match=r"demote=0\.3, promote=0\.2"):
        prepare(TrainConfig(curriculum=CurriculumConfig(promote=0.2)))


@pytest.mark.parametrize("level", ["multiplication/32x32", "addition/3", "subtraction/5", "chain/1x10", "division/4x2"])
def test_demands_are_what_the_expert_takes(level: str) -> None:
    needed = demands(read_level(level), 512, slip_rate=0, problems=1)
    config = EnvConfig(operations=(read_level(level).family,), frame_length=512, depth=64, max_tokens=10**6)
    env = ArithmeticEnv(**vars(config))
    problem = draw(read_level(level), stream("demonstrable", read_level(level)))
    obs, _ = env.reset(options={"problem": problem.text})
    expert, done, info = ExpertPolicy(), False, dict[str, Any]()
    while not done:
        obs, _, done, _, info = env.step(int(expert.predict(obs[None])[0]))
    assert info["is_success"]
    spent = info["reasoning_tokens"] + info["completion_tokens"] + info["subtask_tokens"]
    assert (needed.tokens, needed.depth, needed.frame) == (spent, info["depth"], info["longest_context"])


def test_limits_leave_room_for_what_is_demonstrated_practised_and_measured() -> None:
    deep = build_env_config(TrainConfig(frame_length=512, also=("multiplication/32x32",), epochs=0))
    assert deep.depth >= 33 and deep.max_tokens > 14_000
    measured = build_env_config(TrainConfig(frame_length=512, evaluation=EvaluationConfig(products=14)))
    practised = build_env_config(TrainConfig(frame_length=512, curriculum=CurriculumConfig(products=14)))
    assert measured.max_tokens == practised.max_tokens > build_env_config(TrainConfig()).max_tokens == 2048


def test_a_solver_makes_room_for_levels_beyond_its_training() -> None:
    solver = Solver(tiny_network(), EnvConfig(max_tokens=60, depth=4, frame_length=512))
    solver.make_room([read_level("multiplication/20x20"), read_level("addition/1")])
    assert solver.config.max_tokens > 11_000 and solver.config.depth >= 42 and solver.config.frame_length == 512
    before = solver.config
    solver.make_room([read_level("addition/1")])
    assert solver.config == before


def test_numbers_of_countdown_that_are_larger_than_accepted_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="numbers of 7 digits in Countdown; accepted: at most 6"):
        draw(read_level("countdown/2x7"), np.random.default_rng(0))


@pytest.mark.parametrize("level", ["countdown/2x5", "countdown/3x6"])
def test_targets_of_countdown_are_never_larger_than_accepted(level: str) -> None:
    for seed in range(60):
        problem = draw(read_level(level), np.random.default_rng(seed))
        assert isinstance(problem.expr, Function) and problem.expr.args[0] in range(1, LARGEST + 1)
