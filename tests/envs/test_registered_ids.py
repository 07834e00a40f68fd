"""Every registered id through every checker, with warnings as errors (see setup.cfg)."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import o1nano
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import ActionError, ConfigurationError, ProblemError
from o1nano.envs.language.vocab import EOS, PAD, VOCAB_SIZE, is_digit, spell
from o1nano.envs.problems.problem import Level, split_of
from o1nano.envs.registration import IDS
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import OneHotWrapper
from tests.helpers.play import ids, play

assert o1nano.__version__  # importing the package registers the ids
ALL_IDS = sorted(name for name in gym.registry if name.startswith("o1nano/"))
THINKING_IDS = [name for name in ALL_IDS if IDS[name].get("thinking", True)]


def make(name: str, **kwargs: Any) -> ArithmeticEnv:
    env = gym.make(name, **kwargs).unwrapped
    assert isinstance(env, ArithmeticEnv)
    return env


def rollout(env: gym.Env[Any, Any], seed: int, steps: int = 60) -> list[Any]:
    """Everything that an environment returns under a seed and random legal actions."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    history: list[Any] = [observation.tolist(), info]
    for _ in range(steps):
        mask = env.get_wrapper_attr("action_masks")()
        observation, *result = env.step(np.int64(rng.choice(np.flatnonzero(mask))))
        history += [observation.tolist(), *result]
        if result[1]:
            observation, info = env.reset()
            history += [observation.tolist(), info]
    return history


def test_the_registry_has_every_id() -> None:
    assert ALL_IDS == sorted(IDS)
    assert len(THINKING_IDS) == len(ALL_IDS) - 1


@pytest.mark.parametrize("name", ALL_IDS)
def test_gymnasium_check_env(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_env(make(name))


@pytest.mark.parametrize("name", ALL_IDS)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "int64"])
def test_sb3_check_env(name: str, dtype: str) -> None:
    sb3_check_env(make(name, obs_dtype=dtype), warn=True)


@pytest.mark.parametrize("name", ALL_IDS)
def test_the_same_seed_gives_the_same_rollout(name: str) -> None:
    first = rollout(gym.make(name), seed=3)
    assert first == rollout(gym.make(name), seed=3)
    assert first != rollout(gym.make(name), seed=4)


@pytest.mark.parametrize("name", ALL_IDS)
def test_a_pickled_environment_goes_on_alike(name: str) -> None:
    env = gym.make(name)
    env.reset(seed=1)
    env.step(np.int64(env.get_wrapper_attr("action_masks")().argmax()))
    again = pickle.loads(pickle.dumps(env))
    for _ in range(3):
        first, second = env.reset(), again.reset()
        assert first[0].tolist() == second[0].tolist()
        assert first[1] == second[1]
    assert rollout(env, 2, steps=20) == rollout(again, 2, steps=20)


@pytest.mark.parametrize("name", ALL_IDS)
def test_a_specification_survives_json(name: str) -> None:
    spec = gym.make(name, depth=20).spec
    assert spec is not None
    again = EnvSpec.from_json(spec.to_json())
    assert json.loads(again.to_json()) == json.loads(spec.to_json())
    env = gym.make(again).unwrapped
    assert isinstance(env, ArithmeticEnv) and env.config.depth == 20


@pytest.mark.parametrize("name", ALL_IDS)
def test_an_id_can_be_made_through_its_module(name: str) -> None:
    assert isinstance(gym.make(f"o1nano:{name}").unwrapped, ArithmeticEnv)


@pytest.mark.parametrize("name", ALL_IDS)
def test_vectors_are_native_unless_asked_otherwise(name: str) -> None:
    native = gym.make_vec(name, num_envs=2)
    synchronous = gym.make_vec(name, num_envs=2, vectorization_mode="sync")
    assert isinstance(native, ArithmeticVectorEnv)
    assert isinstance(synchronous, gym.vector.SyncVectorEnv)
    assert native.observation_space == synchronous.observation_space
    assert native.action_space == synchronous.action_space
    assert native.reset(seed=5)[0].tolist() == synchronous.reset(seed=5)[0].tolist()


@pytest.mark.parametrize("name", ALL_IDS)
def test_the_oracle_solves_everything(name: str) -> None:
    env = make(name)
    expert, results = ExpertPolicy(env), []
    observation, _ = env.reset(seed=11)
    while len(results) < 40:
        observation, reward, terminated, truncated, info = env.step(expert.predict(observation[None])[0])
        assert not truncated and (terminated or reward == 0.0)
        if terminated:
            assert info["answer"] == info["expected"]
            results.append((reward, info["is_success"], info["outcome"]))
            observation, _ = env.reset()
    assert set(results) == {(1.0, True, "answered")}


@pytest.mark.parametrize("name", THINKING_IDS)
def test_a_random_policy_solves_almost_nothing(name: str) -> None:
    env, rng, results = make(name), np.random.default_rng(0), []
    env.reset(seed=0)
    while len(results) < 200:
        _, reward, terminated, _, info = env.step(np.int64(rng.choice(np.flatnonzero(env.action_masks()))))
        assert info.get("outcome") != "illegal_token"
        if terminated:
            results.append(reward)
            env.reset()
    assert np.mean(results) <= 0.03


def answered(env: ArithmeticEnv, problem: str, answer: list[int]) -> float:
    """The reward of an answer that is given without any thinking."""
    env.reset(options={"problem": problem})
    for token in answer:
        assert env.step(np.int64(token))[1] == 0.0
    return env.step(np.int64(EOS))[1]


@pytest.mark.parametrize("name", ALL_IDS)
def test_one_wrong_digit_is_wrong(name: str) -> None:
    env = make(name)
    env.reset(seed=0)
    for _ in range(15):
        _, info = env.reset()
        problem, answer = info["problem"], list(env.episodes.problems[0].answer)  # type: ignore[union-attr]
        assert answered(env, problem, answer) == 1.0
        for position, token in enumerate(answer):
            if is_digit(token):
                wrong = answer.copy()
                wrong[position] = token % 10 + 1  # digit tokens are 1 to 10
                assert answered(env, problem, wrong) == 0.0


@pytest.mark.parametrize("name", ALL_IDS)
def test_problems_come_from_the_split(name: str) -> None:
    split = IDS[name].get("split", "train")
    for asked in ("test", split):
        env = make(name, split=asked)
        env.reset(seed=0)
        for _ in range(30):
            env.reset()
            problem = env.episodes.problems[0]
            assert problem is not None and (asked == "all" or split_of(problem.expr) == asked)


def test_infos_by_hand() -> None:
    env = make("o1nano/Addition-v0")
    observation, info = env.reset(seed=0, options={"problem": "98+45"})
    beginning = {
        "is_success": False,
        "outcome": "truncated",  # what it says if a time limit cuts it
        "level": "posed",
        "problem": "98+45",
        "expected": "",
        "answer": "",
        "reasoning_tokens": 0,
        "completion_tokens": 0,
        "subtask_tokens": 0,
        "subtasks": 0,
        "revisions": 0,
        "depth": 1,
        "longest_context": 7,
    }
    assert info == beginning

    expert = ExpertPolicy(env)
    observation, _, terminated, _, info = env.step(expert.predict(observation[None])[0])
    assert info == {**beginning, "completion_tokens": 1, "longest_context": 8}  # <think>

    while not terminated:
        observation, _, terminated, _, info = env.step(expert.predict(observation[None])[0])
    assert info == {
        **beginning,
        "is_success": True,
        "outcome": "answered",
        "expected": "143",
        "answer": "143",
        "reasoning_tokens": 7,
        "completion_tokens": 10,
        "subtask_tokens": 6,
        "subtasks": 1,
        "depth": 2,
        "longest_context": 23,
    }
    assert info["is_success"] is True


def test_the_documentation_states_the_spaces() -> None:
    assert ArithmeticEnv.__doc__ is not None
    assert f"Discrete({VOCAB_SIZE})" in ArithmeticEnv.__doc__
    assert f"Box(0, {VOCAB_SIZE - 1}, (frame_length,))" in ArithmeticEnv.__doc__


@pytest.mark.parametrize(
    ("name", "parameters", "levels"),
    [
        ("Addition", {}, "addition/1 addition/2 addition/3"),
        ("Addition", {"digits": 2, "second_digits": (1, 2)}, "addition/2x1 addition/2x2"),
        ("GCD", {"digits": 3, "second_digits": 2}, "gcd/3x2"),
        ("Expression", {"operands": 4}, "expression/1x4 expression/2x4"),
        ("Chain", {"operands": (20, 21)}, "chain/1x20 chain/1x21"),
        ("ListSum", {"digits": 2, "numbers": 5}, "list_sum/2x5"),
        ("Countdown", {}, "countdown/2 countdown/3 countdown/4 countdown/5"),
        ("Countdown", {"numbers": 4}, "countdown/3"),
        ("Countdown", {"numbers": (3, 4), "number_digits": 2}, "countdown/2x2 countdown/3x2"),
        ("GameOf24", {}, "game_of_24/1"),
        ("Recall", {"tokens": 200}, "recall/2x200"),
        ("Ledger", {"frame_length": 8000}, "ledger/2x8000"),
    ],
)
def test_every_family_names_its_parameters(name: str, parameters: dict[str, Any], levels: str) -> None:
    env = gym.make(f"o1nano/{name}-v0", **parameters).unwrapped
    assert isinstance(env, ArithmeticEnv)
    assert " ".join(map(str, env.config.levels)) == levels
    _, info = env.reset(seed=0)
    assert info["level"] in levels.split()


@pytest.mark.parametrize(
    ("operations", "parameter", "expected"),
    [
        (("addition",), "operands", "digits, second_digits"),
        (("addition",), "tokens", "digits, second_digits"),
        (("expression", "addition"), "numbers", "digits, operands, second_digits"),
        (("countdown",), "digits", "numbers, number_digits"),
        (("list_sum",), "second_digits", "digits, numbers"),
        (("recall",), "second_digits", "digits, tokens"),
        (("game_of_24",), "digits", "none"),
    ],
)
def test_a_parameter_that_no_family_has_is_refused(operations: Any, parameter: str, expected: str) -> None:
    message = f"keyword argument '{parameter}' is not one of {', '.join(operations)}; expected one of: {expected}"
    with pytest.raises(ConfigurationError, match=f"^{message}$"):
        ArithmeticEnv(operations=operations, **{parameter: 2})


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"operations": ("additions",)}, "'additions'"),
        ({"operations": "addition"}, "operations='addition'"),
        ({"operations": ()}, r"operations=\(\)"),
        ({"digits": 0}, "digits=0"),
        ({"digits": (3, 2)}, r"digits=\(3, 2\)"),
        ({"second_digits": 0}, "second_digits=0"),
        ({"phrasing": "french"}, "phrasing='french'"),
        ({"split": "valid"}, "split='valid'"),
        ({"thinking": False}, "call_stack=True with thinking=False"),
        ({"obs_dtype": "float64"}, "obs_dtype='float64'"),
        ({"digits": (3,)}, r"digits=\(3,\)"),
        ({"frame_length": 4}, "frame_length=4"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_tokens": None}, "max_tokens=None"),
        ({"frame_length": "128"}, "frame_length='128'"),
        ({"depth": 1.5}, "depth=1.5"),
        ({"digits": 1.5}, "digits=1.5"),
        ({"digits": "12"}, "digits='12'"),
        ({"digits": (1, 10**6)}, "digits=.1, 1000000"),
        ({"second_digits": "1"}, "second_digits='1'"),
    ],
)
def test_senseless_arguments_are_refused_by_name(kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*(accepted|expected)"):
        ArithmeticEnv(**kwargs)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"problme": "1+1"}, "'problme'"),
        ({"problem": 5}, "problem=5"),
        ({"level": "addition"}, "level 'addition'"),
        ({"level": Level("addtion", 3)}, "addtion"),
        ({"level": Level("addition", 0)}, "level 'addition/0'"),
    ],
)
def test_senseless_reset_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*(accepted|expected)"):
        ArithmeticEnv().reset(seed=0, options=options)


@pytest.mark.parametrize("level", ["addition/3", Level("addition", 3)])
def test_a_level_is_asked_for(level: Level | str) -> None:
    env = ArithmeticEnv()
    env.reset(seed=0, options={"level": level})
    assert env.episodes.problems[0] is not None and env.episodes.problems[0].level == Level("addition", 3)


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(ActionError, match="before the first reset; expected"):
        ArithmeticEnv().step(np.int64(0))


@pytest.mark.parametrize("text", ["gcd(48,36)", "make 24 from 4, 7, 8, 8", "3*x+4=19"])
def test_a_function_is_refused_where_its_tokens_are_not_legal(text: str) -> None:
    with pytest.raises(ProblemError, match=r"asks for a function.*expected"):
        ArithmeticEnv().reset(seed=0, options={"problem": text})
    ArithmeticEnv(operations=("gcd",)).reset(seed=0, options={"problem": text})


def test_numbers_of_numpy_are_numbers() -> None:
    envs = ArithmeticVectorEnv(3, digits=np.int64(2))
    first = envs.reset(seed=np.int64(3))[0]
    assert np.array_equal(first, ArithmeticVectorEnv(3, digits=2).reset(seed=3)[0])


@pytest.mark.parametrize("mask", [np.ones(2, bool), np.ones(4, bool), np.ones(3), np.zeros(3, bool), None])
def test_a_mask_of_resets_has_a_truth_value_for_each_environment(mask: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected 3 booleans"):
        ArithmeticVectorEnv(3).reset(seed=0, options={"reset_mask": mask})


@pytest.mark.parametrize("action", [-1, VOCAB_SIZE, 1000, 3.0, np.float32(3), np.array([3]), "3", None])
def test_an_action_outside_its_space_is_refused(action: Any) -> None:
    env = ArithmeticEnv()
    env.reset(seed=0)
    with pytest.raises(ActionError, match=f"expected one integer from 0 to {VOCAB_SIZE - 1}$"):
        env.step(action)
    with pytest.raises(ActionError, match=r"expected one integer from 0 to 1$"):
        OneHotWrapper(env, actions=["1", "<eos>"]).step(action)


def test_the_shape_of_an_action_is_named() -> None:
    env = ArithmeticEnv()
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"an action of shape \(1,\); expected one integer"):
        env.step(np.array([3]))  # type: ignore[arg-type]


@pytest.mark.parametrize("make_env", [ArithmeticEnv, ArithmeticVectorEnv])
def test_an_unknown_keyword_is_named_with_the_expected_ones(make_env: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"keyword argument 'digit'; expected one of .*digits"):
        make_env(digit=3)
    with pytest.raises(ConfigurationError, match="keyword argument 'digit'"):
        gym.make("o1nano/Arithmetic-v0", digit=3)


def test_a_set_of_operations_poses_the_same_problems_in_every_process() -> None:
    names = ["subtraction", "multiplication", "addition", "division"]
    for order in (names, names[::-1]):
        config = EnvConfig(operations=frozenset(order))
        assert config.operations == ("addition", "division", "multiplication", "subtraction")
    assert EnvConfig(operations=names).operations == tuple(names)  # of a sequence the order is kept
    assert EnvConfig(operations=iter(names)).operations == tuple(names)


@pytest.mark.parametrize("operations", [None, 5, "addition", [], [["addition"]], [5]])
def test_operations_that_are_not_families_are_refused(operations: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"operation.*expected"):
        ArithmeticEnv(operations=operations)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_an_environment_with_hundreds_of_operands_is_copied(again: Callable[[ArithmeticEnv], ArithmeticEnv]) -> None:
    env = ArithmeticEnv(frame_length=1024)
    env.reset(seed=0, options={"problem": "+".join("1" * 250)})
    copied = again(env)
    for token in ids("2 5 0 <eos>"):
        results = [one.step(np.int64(token))[1:] for one in (env, copied)]
        assert results[0] == results[1]
    assert results[0][0] == 1.0


def test_every_action_is_legal_where_none_counts() -> None:
    env = ArithmeticEnv()
    assert env.action_masks().all()
    env.reset(seed=0)
    assert not env.action_masks().all()
    env.step(np.int64(ids("<eos>")[0]))  # illegal here
    assert env.action_masks().all()
    env.reset()
    assert env.action_masks().any() and not env.action_masks().all()


def test_the_environments_need_neither_torch_nor_stable_baselines3() -> None:
    program = (
        "import sys, gymnasium, o1nano, o1nano.envs.wrappers, o1nano.envs.core.curriculum, o1nano.envs.problems.expert;"
        "gymnasium.make('o1nano/Arithmetic-v0').reset(seed=0);"
        "gymnasium.make_vec('o1nano/Arithmetic-v0', 2).reset(seed=0);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'stable_baselines3', 'envs'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [9, 10, 11, 99, 100, 101, 98765, 10**20])
def test_every_digit_of_a_problem_is_observed(number: int) -> None:
    observation, _ = ArithmeticEnv().reset(seed=0, options={"problem": f"{number}+{number}"})
    written = " ".join(str(number))
    assert spell(observation.astype(int)) == f"<problem> {written} + {written} ="


def test_different_problems_have_different_observations() -> None:
    env = ArithmeticEnv()
    observations = {env.reset(seed=0, options={"problem": f"{n}+{n}"})[0].tobytes() for n in range(0, 200, 7)}
    assert len(observations) == len(range(0, 200, 7))


@pytest.mark.parametrize(("answer", "reward"), [("1 4 3", 1.0), ("1 4 2", 0.0), ("3 4 1", 0.0), ("1 4", 0.0)])
def test_only_the_exact_answer_is_rewarded(answer: str, reward: float) -> None:
    assert play(f"{answer} <eos>", "58+85")[0] == reward


class BrokenSampler:
    """A level sampler with an error in every method."""

    def draw(self, rng: np.random.Generator) -> Level:
        raise ZeroDivisionError("draw")

    def record(self, level: Level, success: bool) -> None:
        raise ZeroDivisionError("record")


@pytest.mark.parametrize("make_env", [ArithmeticEnv, lambda: ArithmeticVectorEnv(2)])
def test_errors_are_raised_when_problems_are_drawn(make_env: Callable[[], Any]) -> None:
    env = make_env()
    env.episodes.level_sampler = BrokenSampler()
    with pytest.raises(ZeroDivisionError, match="draw"):
        env.reset(seed=0)


@pytest.mark.parametrize("count", [1, 2])
def test_errors_are_raised_when_results_are_recorded(count: int) -> None:
    envs = ArithmeticVectorEnv(count)
    envs.reset(seed=0)
    envs.episodes.level_sampler = BrokenSampler()
    with pytest.raises(ZeroDivisionError, match="record"):
        envs.step(np.full(count, PAD))


def test_errors_are_raised_when_an_answer_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bytes:
        raise ZeroDivisionError("verifier")

    env = ArithmeticEnv()
    env.reset(seed=0, options={"problem": "1+1"})
    env.step(np.int64(ids("2")[0]))
    monkeypatch.setattr(env.episodes.stacks, "answer", fail)
    with pytest.raises(ZeroDivisionError, match="verifier"):
        env.step(np.int64(EOS))


ENVS = Path(o1nano.__file__).resolve().parent.parent / "envs"


@pytest.mark.parametrize("path", sorted(ENVS.rglob("*.py")), ids=lambda path: str(path.relative_to(ENVS)))
def test_nothing_in_the_environment_catches_every_error(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"a bare except in line {node.lineno}"
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            assert not caught & {"Exception", "BaseException"}, f"line {node.lineno} catches everything"
