"""The curriculum: promotion and demotion on measured success, weights, state, and that environments obey it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import AdaptiveCurriculum, UniformLevels
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level, sizes
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import CurriculumWrapper, VectorCurriculumWrapper
from tests.helpers.play import emit

SUMS = {"addition": 1}


def curriculum(**changes: Any) -> AdaptiveCurriculum:
    arguments: dict[str, Any] = {"first": SUMS, "last": {"addition": 3}, "promote": 0.75, "demote": 0.25, "window": 4}
    return AdaptiveCurriculum(**{**arguments, **changes})


def report(to: AdaptiveCurriculum, size: int, results: str) -> int:
    """Reports one result a character, ``1`` a success; returns the largest open size."""
    for result in results:
        to.record(Level("addition", size), result == "1")
    return to.frontier["addition"]


def test_success_opens_the_next_size_after_a_full_window() -> None:
    state = curriculum()
    assert report(state, 1, "111") == 1
    assert report(state, 1, "1") == 2
    assert state.open_levels == [Level("addition", 1), Level("addition", 2)]


@pytest.mark.parametrize(("results", "frontier"), [("0111", 2), ("0011", 1), ("00110111", 2), ("0000", 1)])
def test_promotion_is_by_the_share_of_the_last_window(results: str, frontier: int) -> None:
    assert report(curriculum(), 1, results) == frontier


def test_only_the_largest_open_size_counts() -> None:
    state = curriculum()
    report(state, 1, "1111")
    assert report(state, 1, "11111111") == 2
    assert report(state, 3, "11111111") == 2  # not open: results of a posed level move nothing


def test_there_is_nothing_beyond_the_last_size() -> None:
    state = curriculum(last={"addition": 2})
    report(state, 1, "1111")
    assert report(state, 2, "11111111") == 2


def test_a_lost_size_is_closed_and_between_the_thresholds_none_is() -> None:
    state = curriculum()
    report(state, 1, "1111")
    assert report(state, 2, "0101") == 2
    assert report(state, 2, "0000") == 1


def test_a_closed_size_stays_closed_until_the_one_below_is_measured_again() -> None:
    state = curriculum()
    report(state, 1, "1111")
    report(state, 2, "0000")
    assert report(state, 1, "111") == 1  # its four successes of before count no more
    assert report(state, 1, "1") == 2


def test_the_first_size_is_never_closed() -> None:
    assert report(curriculum(), 1, "00000000") == 1


def test_families_are_independent() -> None:
    state = curriculum(first={"addition": 1, "division": 2}, last={"addition": 3, "division": 3})
    report(state, 1, "1111")
    assert state.frontier == {"addition": 2, "division": 2}


def test_weights_by_hand() -> None:
    state = curriculum(first={"addition": 2}, floor=0.5)
    report(state, 1, "1111")  # share 1: weight 0.5
    report(state, 2, "0001")  # share 0.25: weight 1.25
    assert state.weights() == pytest.approx({Level("addition", 1): 0.5 / 1.75, Level("addition", 2): 1.25 / 1.75})


def test_problems_are_drawn_by_weight_and_mastered_levels_are_replayed() -> None:
    state = curriculum(first={"addition": 2}, floor=0.5)
    report(state, 1, "1111")
    report(state, 2, "0001")
    rng = np.random.default_rng(0)
    drawn = Counter(state.draw(rng) for _ in range(2000))
    assert set(drawn) == set(state.open_levels)
    assert drawn[Level("addition", 1)] / 2000 == pytest.approx(0.5 / 1.75, abs=0.04)


def test_results_at_other_shapes_count_for_their_size() -> None:
    state = curriculum()
    for _ in range(4):
        state.record(Level("addition", 1, extra=1), True)
    assert state.frontier["addition"] == 2


def test_the_state_survives_json_and_goes_on_alike() -> None:
    state, again = curriculum(), curriculum()
    report(state, 1, "11110")
    report(state, 2, "101")
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert again.state_dict() == state.state_dict()
    assert again.weights() == state.weights()
    assert [again.draw(np.random.default_rng(7)) for _ in range(5)] == [
        state.draw(np.random.default_rng(7)) for _ in range(5)
    ]
    assert report(again, 2, "1") == report(state, 2, "1") == 3


def test_a_state_is_a_copy() -> None:
    state = curriculum()
    saved = json.dumps(frozen := state.state_dict())
    report(state, 1, "1111")
    assert json.dumps(frozen) == saved


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": {"additions": 1}},
        {"first": {"addition": 0}},
        {"first": {"addition": 4}},
        {"last": {}},
        {"demote": 0.8},
        {"promote": 1.1},
        {"demote": -0.1},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"expected|accepted"):
        curriculum(**wrong)


def test_uniform_levels() -> None:
    source = UniformLevels(sizes(("addition", "division"), (2, 3), extra=1))
    drawn = Counter(source.draw(rng) for rng in [np.random.default_rng(0)] for _ in range(400))
    assert set(drawn) == {Level(family, size, 1) for family in ("addition", "division") for size in (2, 3)}
    assert min(drawn.values()) > 60


def sizes_of(env: gym.Env[Any, Any], count: int) -> set[str]:
    """The levels of some episodes, each ended at once by an illegal token."""
    levels = set()
    for _ in range(count):
        env.reset()
        _, _, terminated, _, info = env.step(np.int64(0))
        assert terminated
        levels.add(info["level"])
    return levels


def test_an_environment_draws_from_its_curriculum_and_reports_to_it() -> None:
    state = curriculum(window=2)
    env = CurriculumWrapper(gym.make("o1nano/Arithmetic-v0", digits=5), state)
    env.reset(seed=0)
    assert sizes_of(env, 5) == {"addition/1"}
    for _ in range(2):
        env.reset()
        problem = env.unwrapped.episodes.problems[0]  # type: ignore[attr-defined]
        emit(env.unwrapped, " ".join(problem.answer_text) + " <eos>")  # type: ignore[arg-type]
    assert state.frontier["addition"] == 2
    assert sizes_of(env, 40) == {"addition/1", "addition/2"}


def test_a_posed_problem_is_not_reported() -> None:
    state = curriculum(window=1)
    env = CurriculumWrapper(ArithmeticEnv(), state)
    env.reset(seed=0, options={"problem": "1+1"})
    assert emit(env.unwrapped, "2 <eos>")[0] == 1.0  # type: ignore[arg-type]
    assert state.state_dict()["results"] == []


def test_the_curriculum_is_replaced_through_any_number_of_wrappers() -> None:
    env = gym.wrappers.TimeLimit(CurriculumWrapper(ArithmeticEnv(digits=5), curriculum()), 100)
    env.get_wrapper_attr("set_curriculum")(curriculum(first={"addition": 3}, floor=0.0))
    env.reset(seed=0)
    assert "addition/3" in sizes_of(env, 20)


def test_environments_of_a_synchronous_vector_share_one_curriculum() -> None:
    state = curriculum(window=2)
    envs = gym.vector.SyncVectorEnv([lambda: CurriculumWrapper(ArithmeticEnv(), curriculum()) for _ in range(2)])
    envs.call("set_curriculum", state)
    envs.reset(seed=0)
    for env in envs.envs:
        env.reset()
        answer = " ".join(env.unwrapped.episodes.problems[0].answer_text)  # type: ignore[attr-defined]
        emit(env.unwrapped, f"{answer} <eos>")  # type: ignore[arg-type]
    assert state.frontier["addition"] == 2


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_automatic_resets_of_the_native_vector_draw_from_the_curriculum(mode: AutoresetMode) -> None:
    state = curriculum()
    envs = VectorCurriculumWrapper(ArithmeticVectorEnv(3, digits=5, autoreset_mode=mode), state)
    envs.reset(seed=0)
    for _ in range(6):
        envs.step(np.zeros(3, dtype=np.int64))
    levels = {str(problem.level) for problem in envs.unwrapped.episodes.problems}  # type: ignore[attr-defined]
    assert levels == {"addition/1"}
    [[family, size, results]] = state.state_dict()["results"]
    assert (family, size, set(results)) == ("addition", 1, {False})
    assert state.success(Level("addition", 1)) == 0.0


def test_the_edge_counts_as_half_failed_until_it_is_measured() -> None:
    state = curriculum(first={"addition": 2}, floor=0.5)
    report(state, 1, "1111")
    report(state, 2, "111")  # window of 4 not full: weight 0.5 + 0.5
    assert state.weights()[Level("addition", 2)] == pytest.approx(1.0 / 1.5)
    report(state, 2, "1")  # the next one is open, and this one is an easy one like the other
    assert state.frontier["addition"] == 3
    assert state.weights()[Level("addition", 2)] == pytest.approx(0.5 / 2)


def test_priority_multiplies_the_weights_of_a_family() -> None:
    sizes = {"addition": 1, "multiplication": 1}
    curriculum = AdaptiveCurriculum(sizes, sizes, priority={"addition": 3.0})
    assert curriculum.weights() == {Level("addition", 1): 0.75, Level("multiplication", 1): 0.25}


def test_an_opened_size_is_posed() -> None:
    curriculum = AdaptiveCurriculum(first={"addition": 1}, last={"addition": 2}, window=4, floor=0.0)
    env = CurriculumWrapper(gym.make("o1nano/Arithmetic-v0"), curriculum)

    def levels() -> set[str]:
        return {env.reset(seed=seed)[1]["level"] for seed in range(40)}

    assert levels() == {"addition/1"}
    for _ in range(4):
        curriculum.record(Level("addition", 1), True)
    assert "addition/2" in levels()
