"""Outside agents train on the environment: the lines of docs/agents.md, and every algorithm on every kind of vector."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from sb3_contrib import QRDQN, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from benchmarks.agents.run import HERE, PAGE, PAGES, Block, blocks
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID, TOKENS
from o1nano.envs.wrappers import Alphabet, OneHotWrapper, VectorOneHotWrapper

DIRECT = "o1nano/Direct-v0"
BLOCKS = blocks(PAGE.read_text())
HERE_TOO = [block for block in BLOCKS if block.group == "sb3"]  # the others need environments of their own
STEPS = 200
ROLLOUT = {"n_steps": 32, "batch_size": 32}
REPLAY = {"buffer_size": 1000, "learning_starts": 50}
ALPHABET: dict[str, Any] = {"tokens": "0123456789+-=", "actions": [*"0123456789-", "<eos>"]}
ALGORITHMS: list[tuple[type[BaseAlgorithm], str, dict[str, Any]]] = [
    (PPO, "MlpPolicy", ROLLOUT),
    (A2C, "MlpPolicy", {}),
    (DQN, "MlpPolicy", REPLAY),
    (MaskablePPO, "MlpPolicy", ROLLOUT),
    (RecurrentPPO, "MlpLstmPolicy", {**ROLLOUT, "policy_kwargs": {"lstm_hidden_size": 16}}),
    (QRDQN, "MlpPolicy", REPLAY),
]


def one() -> VecEnv:
    """A single environment as it is registered: token ids as they are."""
    return DummyVecEnv([lambda: Monitor(gym.make(DIRECT))])


def side_by_side() -> VecEnv:
    return make_vec_env(DIRECT, 4, wrapper_class=OneHotWrapper, wrapper_kwargs=ALPHABET)


def native() -> VecEnv:
    envs = gym.make_vec(DIRECT, 4, autoreset_mode="SameStep")
    return VecMonitor(GymnasiumVecEnv(VectorOneHotWrapper(envs, **ALPHABET)))


# Every algorithm trains on the native vector in the fast tier, and on the two others in the second one.
WHOLE_RUNS = [pytest.param(make, marks=pytest.mark.integration, id=make.__name__) for make in (one, side_by_side)]


def predict(model: BaseAlgorithm, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
    masking = {"action_masks": masks} if isinstance(model, MaskablePPO) else {}
    actions: np.ndarray = model.predict(observations, deterministic=True, **masking)[0]
    return actions


def check_trained(model: BaseAlgorithm, path: Path, steps: int) -> None:
    """It has played and learned, acts within the space (and the mask), and does the same after saving and loading."""
    assert model.num_timesteps >= steps
    assert model.policy.optimizer.state_dict()["state"], "no update"
    assert model.ep_success_buffer is not None and len(model.ep_success_buffer) > 0
    env = model.get_env()
    assert env is not None
    observations, masks = env.reset(), np.stack(env.env_method("action_masks"))
    assert isinstance(observations, np.ndarray)
    actions = predict(model, observations, masks)
    assert all(env.action_space.contains(action) for action in actions)
    if isinstance(model, MaskablePPO):
        assert masks[np.arange(len(masks)), actions].all()
    model.save(path)
    again = type(model).load(path, device="cpu")
    assert np.array_equal(predict(again, observations, masks), actions)


@pytest.mark.parametrize("block", HERE_TOO, ids=[block.title for block in HERE_TOO])
def test_the_lines_of_the_page_train_an_agent(block: Block, tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": block.title}
    exec(compile(block.source, str(PAGE), "exec"), names)
    check_trained(names["model"], tmp_path / "model", STEPS)


@pytest.mark.parametrize("make", [native, *WHOLE_RUNS], ids=lambda make: make.__name__)
@pytest.mark.parametrize("algorithm, policy, settings", ALGORITHMS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_algorithm_trains_on_every_vector(
    algorithm: type[BaseAlgorithm],
    policy: str,
    settings: dict[str, Any],
    make: Callable[[], VecEnv],
    tmp_path: Path,
) -> None:
    model = algorithm(policy, make(), seed=0, device="cpu", **settings)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(STEPS)
    assert any(not value.equal(before[name]) for name, value in model.policy.state_dict().items())
    check_trained(model, tmp_path / "model", STEPS)


def test_the_wrapper_of_the_zoo_exists() -> None:
    # rl_zoo3 imports it by its path, which nothing else checks.
    settings = (HERE / "rl_zoo3.yml").read_text()
    (path,) = re.findall(r"^    - (o1nano\.[\w.]+):$", settings, re.MULTILINE)
    module, _, name = path.rpartition(".")
    assert getattr(import_module(module), name) is OneHotWrapper


def test_the_page_names_every_library_and_every_group_has_its_requirements() -> None:
    groups = {block.group for page in PAGES for block in blocks(page.read_text())}
    assert groups == {path.stem for path in HERE.glob("*.txt")}
    said = " ".join(block.title for block in BLOCKS)
    for name in (
        "PPO",
        "A2C",
        "DQN",
        "MaskablePPO",
        "RecurrentPPO",
        "QRDQN",
        "CleanRL",
        "rl_zoo3",
        "Tianshou",
        "RLlib",
    ):
        assert name in said
    assert (
        PAGE.read_text().count("```") == 2 * len(BLOCKS) + 4
    )  # and the command of the runner, and the lines for CleanRL


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_the_lines_for_cleanrl_find_every_return(mode: str) -> None:
    lines = PAGE.read_text().split("```python\n")[1].split("```")[0]
    single = [lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(DIRECT))] * 3
    envs, rng, found, ends = gym.vector.SyncVectorEnv(single, autoreset_mode=mode), np.random.default_rng(0), 0, 0
    envs.reset(seed=0)
    for _ in range(20):
        _, _, terminated, truncated, infos = envs.step(rng.choice([ID["1"], ID["<eos>"]], 3))
        names: dict[str, Any] = {"infos": infos}
        exec(lines, names)
        found += len(names["returns"])
        ends += (terminated | truncated).sum()
    assert found == ends > 10


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_masked_agents_have_a_legal_action_at_every_step(mode: str) -> None:
    kwargs = {"autoreset_mode": mode}
    vectors = [gym.make_vec(DIRECT, 2, **kwargs), gym.make_vec(DIRECT, 2, "sync", kwargs)]
    alone = gym.wrappers.Autoreset(gym.make(DIRECT))
    for envs in vectors:
        envs.reset(seed=0)
    alone.reset(seed=0)
    for token in [ID["1"], ID["<eos>"], ID["1"], ID["<eos>"], ID["<eos>"]]:
        for envs in vectors:
            envs.step(np.full(2, token))
            assert np.stack(envs.call("action_masks")).any(1).all()  # type: ignore[attr-defined]
        alone.step(np.int64(token))
        assert alone.get_wrapper_attr("action_masks")().any()


def test_only_blocks_with_a_group_are_run() -> None:
    page = "# Page\n```bash\nls\n```\n## First\n```python sb3\na = 1\n\nb = 2\n```\ntext\n```bash zoo\nls\n```\n"
    assert blocks(page) == [Block("First", "python", "sb3", "a = 1\n\nb = 2\n"), Block("First", "bash", "zoo", "ls\n")]


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.parametrize("arguments", [{}, ALPHABET, {"tokens": ["<eos>", "7"], "dtype": "uint8"}])
def test_the_wrapper_passes_both_checkers(arguments: dict[str, Any]) -> None:
    check_env(OneHotWrapper(gym.make(DIRECT).unwrapped, **arguments), skip_render_check=True)
    sb3_check_env(OneHotWrapper(gym.make(DIRECT).unwrapped, **arguments), warn=True)


def test_an_observation_by_hand() -> None:
    env = OneHotWrapper(gym.make(DIRECT), tokens=["7", "+", "<eos>"])
    observation, _ = env.reset(seed=0, options={"problem": "7+7"})  # <problem> 7 + 7 =
    hot = observation.reshape(16, 3)
    assert hot[:5].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert not hot[5:].any()
    whole, _ = OneHotWrapper(gym.make(DIRECT)).reset(seed=0, options={"problem": "7+7"})
    positions, tokens = np.divmod(np.flatnonzero(whole), len(TOKENS) - 1)
    assert positions.tolist() == [0, 1, 2, 3, 4]
    assert (tokens + 1).tolist() == [ID[token] for token in ("<problem>", "7", "+", "7", "=")]


def test_actions_by_hand() -> None:
    env = OneHotWrapper(gym.make(DIRECT), **ALPHABET)
    assert env.action_space == gym.spaces.Discrete(12)
    env.reset(seed=0, options={"problem": "3-7"})
    assert env.action_masks().tolist() == [True] * 11 + [False]
    env.step(np.int64(10))  # -
    assert env.action_masks().tolist() == [True] * 10 + [False] * 2
    env.step(np.int64(4))
    assert env.action_masks().tolist() == [True] * 10 + [False, True]
    _, reward, terminated, _, info = env.step(np.int64(11))  # <eos>
    assert (reward, terminated, info["answer"]) == (1.0, True, "-4")


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_the_vector_gives_what_the_tokens_say(mode: str) -> None:
    plain = gym.make_vec(DIRECT, 3, autoreset_mode=mode)
    envs = VectorOneHotWrapper(gym.make_vec(DIRECT, 3, autoreset_mode=mode), **ALPHABET)
    alphabet = Alphabet(plain.single_observation_space, **ALPHABET, dtype="float32")
    seen, expected = envs.reset(seed=3)[0], plain.reset(seed=3)[0]
    rng, ends = np.random.default_rng(0), 0
    for _ in range(30):
        assert envs.observation_space.contains(seen) and np.array_equal(seen, alphabet.one_hot(expected))
        masks = plain.unwrapped.action_masks()
        assert np.array_equal(envs.action_masks(), masks[:, alphabet.action_ids])
        actions = rng.choice([1, 11], 3)  # "1" and <eos>
        seen, *results, infos = envs.step(actions)
        expected, *plain_results, plain_infos = plain.step(np.where(actions == 1, ID["1"], ID["<eos>"]))
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(results, plain_results, strict=True))
        ends += results[1].sum()
        for index in np.flatnonzero(infos.get("_final_obs", [])):
            assert np.array_equal(infos["final_obs"][index], alphabet.one_hot(plain_infos["final_obs"][index]))
            assert infos["final_obs"][index].any()
    assert ends > 5


def test_a_specification_with_the_wrapper_survives_json() -> None:
    env = OneHotWrapper(gym.make(DIRECT), **ALPHABET, dtype="uint8")
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, OneHotWrapper)
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)


@pytest.mark.parametrize("wrap, make", [(OneHotWrapper, gym.make), (VectorOneHotWrapper, gym.make_vec)])
@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"dtype": "float64"}, "dtype='float64'"),
        ({"tokens": "0a"}, "'a' in tokens"),
        ({"tokens": ["<pad>"]}, "'<pad>' in tokens"),
        ({"actions": ["1", ""]}, "'' in actions"),
    ],
)
def test_senseless_arguments_are_refused_by_name(wrap: Any, make: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*expected"):
        wrap(make(DIRECT), **arguments)


def test_other_observations_are_refused() -> None:
    for env in (OneHotWrapper(gym.make(DIRECT)), gym.make("CartPole-v1")):
        with pytest.raises(ConfigurationError, match="expected a Box"):
            OneHotWrapper(env)
