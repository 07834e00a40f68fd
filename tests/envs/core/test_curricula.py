"""Every curriculum: its interface, its state, and that it follows a learner of known ability."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from benchmarks.results.curricula import Learner, Options, episodes_needed, sources
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import AdaptiveCurriculum, Curriculum, UniformCurriculum
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID
from o1nano.envs.problems.problem import Level
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import CurriculumWrapper, VectorCurriculumWrapper

Make = Callable[..., Curriculum]
FIRST, LAST = {"addition": 1, "division": 2}, {"addition": 4, "division": 3}
STRATEGIES: dict[str, Make] = {
    "adaptive": lambda first=FIRST, last=LAST, **changes: AdaptiveCurriculum(first, last, **changes),
    "uniform": lambda first=FIRST, last=LAST, **changes: UniformCurriculum(last, **changes),
}
# Newer Pythons warn of it; to fork is quick, and these workers do nothing that could wait for a thread.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
every = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
RESULTS = st.lists(st.tuples(st.sampled_from(sorted(LAST)), st.integers(1, 5), st.booleans()), max_size=120)


def report(to: Curriculum, results: list[tuple[str, int, bool]]) -> None:
    for family, size, success in results:
        to.record(Level(family, size), success)


@every
@given(results=RESULTS)
def test_weights_are_a_distribution_over_the_open_levels(make: Make, results: list[tuple[str, int, bool]]) -> None:
    state = make(window=4)
    report(state, results)
    weights = state.weights()
    assert set(weights) == set(state.open_levels)
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0  # every open level is replayed
    for family, top in state.frontier.items():
        assert state.first[family] <= top <= LAST[family]
        assert max(level.size for level in state.open_levels if level.family == family) == top
    assert all(0 <= state.success(level) <= 1 for level in state.open_levels)


@every
@given(before=RESULTS, after=RESULTS, seed=st.integers(0, 99))
def test_a_restored_state_continues_alike(
    make: Make, before: list[tuple[str, int, bool]], after: list[tuple[str, int, bool]], seed: int
) -> None:
    state, again = make(window=4), make(window=4)
    report(state, before)
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    for result in after:
        report(state, [result])
        report(again, [result])
        assert state.draw(first) == again.draw(second)
    assert state.state_dict() == again.state_dict()
    assert state.weights() == again.weights()


@every
def test_draws_follow_the_weights_and_only_the_generator(make: Make) -> None:
    state = make(window=4)
    report(state, [("addition", 1, True)] * 5 + [("addition", 2, False), ("addition", 2, True)])
    drawn = Counter(state.draw(rng) for rng in [np.random.default_rng(0)] for _ in range(4000))
    for level, weight in state.weights().items():
        assert drawn[level] / 4000 == pytest.approx(weight, abs=0.03)
    assert [state.draw(np.random.default_rng(5)) for _ in range(3)] == [state.draw(np.random.default_rng(5))] * 3


@every
def test_priorities_share_the_draws_among_families(make: Make) -> None:
    state = make(first={"addition": 2, "division": 2}, last={"addition": 2, "division": 2}, priority={"division": 3.0})
    share = sum(weight for level, weight in state.weights().items() if level.family == "division")
    assert share == pytest.approx(0.75)


def test_without_a_curriculum_every_size_is_drawn_alike_whatever_happens() -> None:
    state = UniformCurriculum({"addition": 3, "division": 1}, window=4, priority={"division": 3.0})
    report(state, [("addition", 1, True)] * 8 + [("addition", 3, False)] * 8)
    assert state.frontier == {"addition": 3, "division": 1}
    assert [float(weight) for weight in state.weights().values()] == pytest.approx([1 / 6] * 3 + [1 / 2])


def test_a_size_is_solved_when_its_window_and_those_of_smaller_ones_are() -> None:
    state = UniformCurriculum(LAST, window=4)
    assert state.solved() == {"addition": 0, "division": 0}
    report(state, [("addition", 1, True)] * 3 + [("division", 2, True)] * 4)
    assert state.solved() == {"addition": 0, "division": 0}  # the window is not full; a smaller one is missing
    report(state, [("addition", 1, True)] + [("division", 1, True)] * 4)
    assert state.solved() == {"addition": 1, "division": 2}
    report(state, [("addition", 1, False), ("division", 3, True)])
    assert state.solved() == {"addition": 0, "division": 2}
    assert state.solved(0.75) == {"addition": 1, "division": 2}


@pytest.mark.parametrize(
    ("make", "wrong", "named"),
    [
        *((make, {"window": 0}, "window=0") for make in STRATEGIES.values()),
        *((make, {"priority": {"division": 0.0}}, "division=0.0") for make in STRATEGIES.values()),
        *((make, {"priority": {"addditon": 1.0}}, "addditon=1.0") for make in STRATEGIES.values()),
        *((make, {"first": {}, "last": {}}, "without families") for make in STRATEGIES.values()),
        (STRATEGIES["adaptive"], {"floor": -1.0}, "floor=-1.0"),
        (STRATEGIES["adaptive"], {"demote": 0.9}, "demote=0.9"),
    ],
)
def test_senseless_settings_are_refused_by_name(make: Make, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*expected"):
        make(**wrong)


@every
@pytest.mark.parametrize("frontier", [{"addition": 1}, {"addition": 5, "division": 2}, {"addition": 0, "division": 2}])
def test_a_foreign_state_is_refused(make: Make, frontier: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"frontier.*expected"):
        make().load_state_dict({"frontier": frontier, "results": []})


def follow(abilities: np.ndarray, last: int = 10) -> np.ndarray:
    """Returns the frontier after every 50th episode of a learner that has these abilities and learns nothing."""
    state, rng = AdaptiveCurriculum({"addition": 1}, {"addition": last}), np.random.default_rng(0)
    learner, frontiers = Learner({"addition": 0.0}, {"addition": 0.0}), []
    for episode, ability in enumerate(abilities):
        learner.ability["addition"] = ability
        level = state.draw(rng)
        state.record(level, learner.attempt(level, rng))
        if episode % 50 == 49:
            frontiers.append(state.frontier["addition"])
    return np.array(frontiers)


@pytest.mark.parametrize("ability", [3.0, 5.0, 8.0])
def test_a_fixed_ability_is_found(ability: float) -> None:
    assert follow(np.full(6000, ability))[60:].mean() == pytest.approx(ability, abs=1.0)


@pytest.mark.parametrize(("begin", "end"), [(2.0, 8.0), (8.0, 2.0)], ids=["rising", "falling"])
def test_a_changing_ability_is_followed(begin: float, end: float) -> None:
    still, moving = np.full(3000, begin), np.linspace(begin, end, 12_000)
    frontiers = follow(np.concatenate([still, moving]))[60:]
    for measured, true in zip(frontiers.reshape(4, 60), moving.reshape(4, 3000), strict=True):
        assert measured.mean() == pytest.approx(true.mean(), abs=1.5)


def test_the_curriculum_beats_uniform_sampling() -> None:
    options = Options(sizes=8, accuracy=0.9, seeds=1, rates=(0.01, 0.005))
    needed = {name: episodes_needed(begin(), options, seed=0) for name, begin in sources(options.sizes).items()}
    uniform = needed.pop("uniform")
    assert uniform < options.most
    assert max(needed.values()) < 0.8 * uniform, (uniform, needed)


@every
def test_the_environments_of_a_native_vector_share_it(make: Make) -> None:
    state = make()
    venv = GymnasiumVecEnv(
        VectorCurriculumWrapper(ArithmeticVectorEnv(3, autoreset_mode=AutoresetMode.SAME_STEP), state)
    )
    venv.reset()
    venv.step(np.zeros(3, dtype=np.int64))  # an illegal token: three failures
    assert sum(len(results) for _, _, results in state.state_dict()["results"]) == 3
    saved = venv.env_method("curriculum_state")[0]
    other = make()
    venv.env_method("set_curriculum", other)
    venv.env_method("load_curriculum_state", saved)
    assert other.state_dict() == state.state_dict()


@every
def test_the_environments_of_a_dummy_vector_share_it(make: Make) -> None:
    state = make()
    venv = DummyVecEnv([lambda: CurriculumWrapper(ArithmeticEnv(), make())] * 3)
    venv.env_method("set_curriculum", state)
    venv.reset()
    venv.step(np.zeros(3, dtype=np.int64))
    assert sum(len(results) for _, _, results in state.state_dict()["results"]) == 3


def worker() -> gym.Env[Any, Any]:
    return CurriculumWrapper(ArithmeticEnv(), AdaptiveCurriculum({"division": 1}, {"division": 1}))


@forks
def test_workers_have_copies_of_their_own_that_can_be_read_and_set() -> None:
    state = AdaptiveCurriculum({"addition": 1}, {"addition": 3})
    report(state, [("addition", 1, True)] * 3)
    given_state = state.state_dict()
    venv = SubprocVecEnv([worker] * 2, start_method="fork")
    venv.env_method("set_curriculum", state)
    venv.reset()
    venv.step(np.array([0, 1]))  # the first fails at once
    assert state.state_dict() == given_state
    first, second = venv.env_method("curriculum_state")
    assert first["results"] == [["addition", 1, [True, True, True, False]]]
    assert second == given_state != first
    venv.env_method("load_curriculum_state", first)
    assert venv.env_method("curriculum_state") == [first, first]
    venv.close()


@forks
def test_asynchronous_workers_have_copies_of_their_own() -> None:
    state = AdaptiveCurriculum({"addition": 1}, {"addition": 3}, window=4)
    envs = gym.vector.AsyncVectorEnv([worker] * 2, context="fork")
    envs.call("set_curriculum", state)
    envs.reset(seed=0)
    envs.step(np.array([0, 1]))
    first, second = envs.call("curriculum_state")
    assert first["results"] == [["addition", 1, [False]]]
    assert second == state.state_dict() == {"frontier": {"addition": 1}, "results": []}
    envs.call("load_curriculum_state", first)
    assert list(envs.call("curriculum_state")) == [first, first]
    envs.close()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_truncated_episode_is_a_failure(mode: AutoresetMode) -> None:
    seen = []
    for native in (True, False):
        state = AdaptiveCurriculum({"addition": 1}, {"addition": 1})
        envs: Any = (
            VectorCurriculumWrapper(ArithmeticVectorEnv(2, 5, mode), state)
            if native
            else gym.vector.SyncVectorEnv(
                [lambda s=state: gym.wrappers.TimeLimit(CurriculumWrapper(ArithmeticEnv(), s), 5)] * 2,
                autoreset_mode=mode,
            )
        )
        envs.reset(seed=0)
        ended = 0
        for _ in range(12):
            _, _, terminated, truncated, infos = envs.step(np.full(2, ID["1"]))
            ended += truncated.sum()
            assert not terminated.any()
            ended_here = infos.get("final_info", infos)
            assert not ended_here["is_success"].any()
            assert set(ended_here["outcome"][truncated]) <= {"truncated"}
        assert ended == 4
        seen.append(state.state_dict()["results"])
    assert seen[0] == seen[1] == [["addition", 1, [False] * 4]]


def test_a_problem_that_is_reset_away_is_a_failure_once_it_was_begun() -> None:
    state = AdaptiveCurriculum({"addition": 1}, {"addition": 1})
    env = CurriculumWrapper(ArithmeticEnv(), state)
    env.reset(seed=0)
    env.reset(seed=0)
    assert state.state_dict()["results"] == []
    env.step(np.int64(ID["1"]))
    env.reset()
    assert state.state_dict()["results"] == [["addition", 1, [False]]]
    env.step(np.int64(ID["<pad>"]))
    env.reset()
    assert state.state_dict()["results"] == [["addition", 1, [False, False]]]  # a finished one is not reported again
