"""One update: the loss is that of Stable-Baselines3 where the two must agree, and what is added is what it says."""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.imitation import imitation_losses
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.rollout_buffer import FrameRolloutBuffer
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.core.curriculum import UniformLevels
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import sizes
from o1nano.envs.wrappers import VectorOneHotWrapper
from o1nano.policies.actor_critic import ReasoningPolicy, kl_divergence
from tests.helpers.frames import Recorder, frame_ppo, rollouts, rows_of
from tests.helpers.tiny import TINY, ids, padded, shake, vec_env


def test_it_learns_and_saves_through_stock_sb3(tmp_path: Any) -> None:
    model = frame_ppo()
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(2 * 8 * 48)
    assert any(not th.equal(old, new) for old, new in zip(before, model.policy.parameters(), strict=True))
    model.save(tmp_path / "model")
    loaded = FramePPO.load(tmp_path / "model", env=model.env, device="cpu")
    assert (loaded.credit, loaded.critic_epochs) == ("frame", 4)
    assert isinstance(loaded.rollout_buffer, FrameRolloutBuffer)
    rows = th.from_numpy(padded([ids("<problem> 3 + 4 =")], 48))
    assert th.equal(loaded.policy.predict_values(rows), model.policy.predict_values(rows))
    loaded.set_logger(Logger(None, []))
    loaded.learn(8 * 48)


def test_a_rollout_in_which_no_frame_ends_is_no_error() -> None:
    model = frame_ppo(2, 2, env={"digits": 2})
    with th.no_grad():  # it thinks for ever
        model.policy.network.heads.completion.bias[ids("<think>")] += 50
        model.policy.network.heads.reasoning.bias[ids("<ok>")] += 50
    model.learn(4)
    assert model.num_timesteps == 4


def policy_parameters(model: PPO) -> dict[str, th.Tensor]:
    """All parameters but the value head's, which FramePPO fits apart."""
    return {name: p.detach().clone() for name, p in model.policy.named_parameters() if ".value." not in name}


def updates(model: PPO) -> int:
    """How many passes over rollouts a model has made."""
    return int(model.logger.name_to_value["train/n_updates"])


def assert_same_update(ours: FramePPO, stock: PPO, tolerance: float) -> None:
    """Updates two models with the same weights, and compares parameters and logs."""
    before = policy_parameters(ours)
    assert all(th.equal(value, before[name]) for name, value in policy_parameters(stock).items())
    stock.vf_coef = 0.0
    ours.train()
    PPO.train(stock)

    moved = policy_parameters(ours)
    expected = policy_parameters(stock)
    assert max(float((moved[name] - before[name]).abs().max()) for name in before) > 1e-2
    for name in before:
        assert (moved[name] - expected[name]).abs().max() < tolerance, name
    for name in ("policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction", "loss", "explained_variance"):
        values = [model.logger.name_to_value[f"train/{name}"] for model in (ours, stock)]
        assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6), name
    assert ours.logger.name_to_value["train/clip_fraction"] > 0
    assert updates(ours) == updates(stock)


SGD: dict[str, Any] = {"learning_rate": 1.0, "ent_coef": 0.02, "clip_range": 0.1, "max_grad_norm": 0.3}


@pytest.mark.parametrize(("target_kl", "passes"), [(None, 3), (1e-4, 1)])
def test_an_update_is_that_of_stable_baselines3(target_kl: float | None, passes: int) -> None:
    """On the same packed minibatches, several of them: the largest difference seen was 2.4e-7 of 0.07."""
    ours, stock = (
        frame_ppo(8, 48, n_epochs=3, target_kl=target_kl, policy_kwargs={"optimizer_class": th.optim.SGD}, **SGD)
        for _ in range(2)
    )
    rollouts(ours)
    rollouts(stock)
    assert_same_update(ours, stock, tolerance=1e-6)
    assert updates(ours) == passes


def test_an_update_is_that_of_stable_baselines3_on_single_rows() -> None:
    """Its own buffer, one row an action, all in one minibatch: the largest difference seen was 1.2e-7 of 0.04."""
    ours = frame_ppo(8, 48, n_epochs=3, batch_size=10**6, policy_kwargs={"optimizer_class": th.optim.SGD}, **SGD)
    rollouts(ours)
    frames = ours.rollout_buffer.frames
    rows = rows_of(frames)
    stock = PPO(
        ReasoningPolicy,
        vec_env(1),
        n_steps=len(rows),
        batch_size=len(rows),
        n_epochs=3,
        device="cpu",
        policy_kwargs={"transformer": TINY, "optimizer_class": th.optim.SGD},
        **SGD,
    )
    stock.set_logger(Logger(None, []))
    stock.policy.load_state_dict(ours.policy.state_dict())
    buffer = stock.rollout_buffer
    assert type(buffer) is RolloutBuffer
    buffer.observations[:, 0] = rows
    buffer.actions[:, 0, 0] = np.concatenate([frame.actions for frame in frames])
    for name in ("values", "log_probs", "advantages", "returns"):
        getattr(buffer, name)[:, 0] = np.concatenate([getattr(frame, name) for frame in frames])
    buffer.full = True
    assert_same_update(ours, stock, tolerance=1e-6)


def test_the_clipped_surrogate_by_hand() -> None:
    model = frame_ppo(8, 48, n_epochs=1, batch_size=10**6, normalize_advantage=False, clip_range=0.2)
    rollouts(model)
    model.rollout_buffer.frames = frames = model.rollout_buffer.frames[:4]
    # A ratio of 1.5 is cut at 1.2 where that is worse for a good action, and one of 0.5 at 0.8 for a bad one.
    cases = [(1.0, 1.5, 1.2), (-1.0, 1.5, -1.5), (1.0, 0.5, 0.5), (-1.0, 0.5, -0.8)]
    for frame, (advantage, ratio, _) in zip(frames, cases, strict=True):
        with th.no_grad():
            now = model.policy.evaluate_actions(*attrgetter("observations", "actions")(buffer_samples(model, frame)))[1]
        frame.log_probs = now.numpy() - np.float32(np.log(ratio))
        frame.advantages = np.full_like(frame.advantages, advantage)
    model.train()
    counts = [len(frame.positions) for frame in frames]
    logged = model.logger.name_to_value
    surrogate = sum(count * case[2] for count, case in zip(counts, cases, strict=True)) / sum(counts)
    assert logged["train/policy_gradient_loss"] == pytest.approx(-surrogate, abs=1e-5)
    assert logged["train/clip_fraction"] == 1.0
    kl = sum(count * (ratio - 1 - np.log(ratio)) for count, (_, ratio, _) in zip(counts, cases, strict=True))
    assert logged["train/approx_kl"] == pytest.approx(kl / sum(counts), abs=1e-5)
    ratios = sum(count * ratio for count, (_, ratio, _) in zip(counts, cases, strict=True))
    assert logged["train/first_ratio"] == pytest.approx(ratios / sum(counts), abs=1e-5)


def buffer_samples(model: FramePPO, frame: Any) -> Any:
    return model.rollout_buffer.samples([frame])


def test_divergence_by_hand() -> None:
    """Of (1/2, 1/2) from (1/4, 3/4): (ln 2 + ln 2/3) / 2. An illegal token adds nothing."""
    log_probs = th.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    reference = th.tensor([[0.25, 0.75, 0.0], [0.5, 0.5, 0.0]]).log()
    assert kl_divergence(log_probs, reference).tolist() == pytest.approx([0.1438410, np.log(2)], abs=1e-6)
    assert kl_divergence(log_probs, log_probs).tolist() == [0, 0]


def test_the_divergence_from_the_reference_is_penalised() -> None:
    model = frame_ppo(8, 32, kl_coef=0.5, n_epochs=1, batch_size=10**6)
    model.set_reference()
    rollouts(model)
    model.train()
    logged = model.logger.name_to_value
    assert logged["train/reference_kl"] == 0
    assert logged["train/loss"] == pytest.approx(logged["train/policy_gradient_loss"])

    assert model.reference is not None
    shake(model.reference, seed=9)
    rows = rows_of(model.rollout_buffer.frames)
    with th.no_grad():
        mine, _ = model.policy.evaluate(rows)
        others, _ = model.policy.evaluate(rows, model.reference)
    expected = float((mine.exp() * (mine - others).nan_to_num()).sum(1).mean())
    model.train()
    assert expected > 0.01
    assert logged["train/reference_kl"] == pytest.approx(expected, rel=1e-3)
    assert logged["train/loss"] == pytest.approx(logged["train/policy_gradient_loss"] + 0.5 * expected, rel=1e-3)


def test_a_penalty_without_a_reference_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"kl_coef=0.1 without a reference; expected a call of set_reference"):
        frame_ppo(2, 8, kl_coef=0.1).learn(16)


def demonstrations() -> DemonstrationStream:
    return DemonstrationStream(UniformLevels(sizes(("addition",), (1, 2))), np.random.default_rng(0), 256, pool=2)


def test_demonstrations_join_every_minibatch() -> None:
    model = frame_ppo(8, 32, imitation_coef=0.5, n_epochs=1, batch_size=10**6)
    batch = next(iter(demonstrations()))
    model.set_demonstrations(repeat(batch))
    rollouts(model)
    with th.no_grad():
        expected, _ = imitation_losses(model.policy.network, batch, bf16=False)

    model.train()
    logged = model.logger.name_to_value
    assert logged["train/imitation_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert logged["train/loss"] == pytest.approx(logged["train/policy_gradient_loss"] + 0.5 * float(expected), rel=1e-4)
    assert imitation_losses(model.policy.network, batch, bf16=False)[0] < expected


def test_imitation_without_demonstrations_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="imitation_coef=1 without demonstrations"):
        frame_ppo(2, 8, imitation_coef=1).learn(16)


def test_a_large_weight_of_the_divergence_holds_the_policy() -> None:
    moved = []
    for weight in (0.0, 100.0):
        model = frame_ppo(8, 32, kl_coef=weight, learning_rate=1e-3)
        model.set_reference()
        model.learn(5 * 8 * 32)
        rows = rows_of(model.rollout_buffer.frames[:20])
        with th.no_grad():
            divergence = kl_divergence(model.policy.evaluate(rows)[0], model.policy.evaluate(rows, model.reference)[0])
        moved.append(float(divergence.mean()))
    assert moved[1] < 0.3 * moved[0]


@pytest.mark.parametrize("normalize", [True, False])
def test_frames_without_advantage_are_left_out_and_change_nothing(
    normalize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients are the same, to rounding, and so are the weights after several minibatches."""
    results, evaluated = [], []
    for skips in (True, False):
        model = frame_ppo(
            8,
            48,
            advantage="group",
            normalize_advantage=normalize,
            learning_rate=0.2,
            policy_kwargs={"optimizer_class": th.optim.SGD},
        )
        rollouts(model)
        buffer = model.rollout_buffer
        for index, frame in enumerate(buffer.frames):  # one in three has one, so some minibatches have none at all
            frame.advantages = np.full(len(frame.positions), (index % 3 == 0) * (1.0 + index % 2), np.float32)
        original = buffer.get
        monkeypatch.setattr(
            buffer, "get", lambda size, norm, skip, get=original, does=skips: get(size, norm, skip and does)
        )
        forward = model.policy.evaluate
        seen: list[int] = []

        def counted(batch: Any, forward: Any = forward, seen: list[int] = seen) -> Any:
            out = forward(batch)
            seen.append(len(out[0]))
            return out

        monkeypatch.setattr(model.policy, "evaluate", counted)
        model.train()
        results.append(policy_parameters(model))
        evaluated.append(sum(seen))
    assert evaluated[0] < 0.6 * evaluated[1]
    for name, value in results[0].items():
        assert (value - results[1][name]).abs().max() < 1e-6, name


def test_a_minibatch_without_any_advantage_moves_nothing() -> None:
    model = frame_ppo(8, 32, advantage="group", policy_kwargs={"optimizer_class": th.optim.SGD})
    rollouts(model)
    for frame in model.rollout_buffer.frames:
        frame.advantages = np.zeros_like(frame.advantages)
    before = policy_parameters(model)
    model.train()
    assert all(th.equal(value, before[name]) for name, value in policy_parameters(model).items())


def test_the_critic_learns_what_it_can_without_moving_the_policy() -> None:
    model = frame_ppo(8, 32, critic_epochs=50, learning_rate=0.0, n_epochs=1)
    rollouts(model)
    buffer, value = model.rollout_buffer, model.policy.network.heads.value
    error = np.mean((buffer.returns - buffer.values) ** 2)
    before = {name: tensor.clone() for name, tensor in model.policy.network.state_dict().items()}
    model.train()
    samples = next(buffer.get())
    with th.no_grad():
        values = model.policy.evaluate_actions(samples.observations, samples.actions)[0].squeeze(1)
    assert (samples.returns - values).square().mean() < 0.5 * error
    changed = {name for name, tensor in model.policy.network.state_dict().items() if not th.equal(tensor, before[name])}
    assert changed == {f"heads.value.{name}" for name, _ in value.named_parameters()}


def one_hot(envs: GymnasiumVecEnv) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(VectorOneHotWrapper(envs.env))


def cart_pole(envs: GymnasiumVecEnv) -> GymnasiumVecEnv:
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return GymnasiumVecEnv(gym.make_vec("CartPole-v1", 2, "sync", vector_kwargs=mode))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"policy": "MlpPolicy"}, "policy='MlpPolicy'; expected ReasoningPolicy"),
        ({"wrap": lambda envs: VecFrameStack(envs, 2)}, r"observations Box\(.*\(96,\), uint8\) .*; expected token ids"),
        ({"wrap": VecNormalize}, "VecNormalize with norm_obs=True; expected token ids"),
        ({"wrap": one_hot}, r"observations Box\(.*float32\) .*; expected token ids"),
        ({"wrap": cart_pole}, "expected one of o1nano's"),
        (
            {"policy_kwargs": {"grammar": Grammar(functions=True)}},
            "functions=True.* of the policy; expected .*functions=False",
        ),
        ({"vf_coef": 0.5}, "vf_coef=0.5; expected critic_epochs and critic_learning_rate instead"),
        ({"critic_epochs": 0}, "critic_epochs=0; expected at least 1"),
        ({"max_grad_norm": 0}, "max_grad_norm=0; expected None, which is off, or a number above 0"),
        ({"target_kl": 0.0}, "target_kl=0.0; expected None, which is off, or a number above 0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_at_construction(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        frame_ppo(2, 8, **changes)


def test_set_env_refuses_what_cannot_be_learned_from() -> None:
    model = frame_ppo(2, 8)
    before = model.env
    with pytest.raises(ConfigurationError, match="norm_obs=True"):
        model.set_env(VecNormalize(vec_env(2)))
    assert model.env is before
    with pytest.raises(ConfigurationError, match=r"functions=True.* of the environment; expected the policy's"):
        model.set_env(vec_env(2, operations=("gcd",)))
    with pytest.raises(ConfigurationError, match="depth=9 of the environment; expected at most 4"):
        model.set_env(vec_env(2, depth=9))
    assert model.env is before
    model.set_env(VecNormalize(vec_env(2), norm_obs=False))


@pytest.mark.parametrize("changes", [{}, {"operations": ("gcd",)}, {"call_stack": False}, {"depth": 7}])
def test_grammar_and_depth_are_the_environments(changes: dict[str, Any], tmp_path: Any) -> None:
    model = frame_ppo(4, 32, env=changes)
    config = model.env.get_attr("config")[0]
    assert model.policy.grammar == model.rollout_buffer.grammar == model.policy.network.grammar == config.grammar
    assert model.depth == config.depth
    model.learn(4 * 32)
    model.save(tmp_path / "model")
    assert FramePPO.load(tmp_path / "model", device="cpu").policy.grammar == config.grammar
    assert FramePPO.load(tmp_path / "model", env=model.env, device="cpu").policy.grammar == config.grammar


@pytest.mark.parametrize("limit", [None, 1e-6])
def test_none_does_not_limit_the_gradient(limit: float | None) -> None:
    model = frame_ppo(8, 32, max_grad_norm=limit, n_epochs=1, batch_size=10**6)
    rollouts(model)
    model.train()
    trained = [p for name, p in model.policy.named_parameters() if "heads.value" not in name and p.grad is not None]
    norm = th.stack([parameter.grad.norm() for parameter in trained if parameter.grad is not None]).norm()
    assert norm > 1e-3 if limit is None else norm == pytest.approx(limit, rel=0.01)


def test_a_reset_from_outside_drops_open_frames() -> None:
    """A second ``learn`` resets the environment: what was open then never ended, so nothing can be learned from it."""
    for credit in ("frame", "blame", "episode"):
        model = frame_ppo(16, 16, credit=credit)
        model.begin()
        model.collect()
        recorder = Recorder()
        model.begin(recorder)
        for _ in range(5):
            for frame in model.collect():
                assert frame.times[0] >= 16, "begun before the reset"
        assert recorder.ends


def test_open_frames_are_kept_where_learning_continues() -> None:
    model = frame_ppo(16, 16)
    model.learn(16 * 16)
    model.learn(16 * 16, reset_num_timesteps=False)
    assert any(frame.times[0] < 16 <= frame.times[-1] for frame in model.rollout_buffer.frames)


def test_a_saved_model_keeps_its_reference_and_both_optimizers(tmp_path: Any) -> None:
    model = frame_ppo(8, 32, kl_coef=0.1)
    model.set_reference()
    model.learn(8 * 32)
    shake(model.policy.network, seed=3, size=0.05)
    model.learn(8 * 32)
    model.save(tmp_path / "model")
    loaded = FramePPO.load(tmp_path / "model", env=model.env, device="cpu")

    assert model.reference is not None and loaded.reference is not None
    rows = rows_of(model.rollout_buffer.frames[:20])
    with th.no_grad():
        before, after = (m.policy.evaluate(rows, m.reference)[0] for m in (model, loaded))
    assert th.equal(before, after)
    assert not th.equal(before, model.policy.evaluate(rows)[0])
    assert loaded.kl_coef == 0.1
    for name in ("critic_optimizer", "policy.optimizer"):
        states = [attrgetter(name)(m).state_dict()["state"] for m in (model, loaded)]
        assert states[0].keys() == states[1].keys() and states[0]
        for one, other in zip(*(state.values() for state in states), strict=True):
            assert all(th.equal(th.as_tensor(one[key]), th.as_tensor(other[key])) for key in one)
    assert all(not parameter.requires_grad for parameter in loaded.reference.parameters())


def test_a_saved_model_without_a_reference_has_none(tmp_path: Any) -> None:
    model = frame_ppo(2, 8)
    model.save(tmp_path / "model")
    loaded = FramePPO.load(tmp_path / "model", device="cpu")
    assert loaded.reference is None
    loaded.set_env(model.env)
    loaded.set_logger(Logger(None, []))
    loaded.learn(16)


def test_neighbouring_seeds_are_other_experiments() -> None:
    """Environment i of a vector has the seed s + i: taken as it is, seeds 0 and 1 would share all problems but one."""
    posed = []
    for seed in (0, 1):
        model = frame_ppo(16, env={"digits": (4, 4)})
        model.set_random_seed(seed)
        assert model.env is not None
        posed.append({row.tobytes() for row in np.asarray(model.env.reset())})
    assert len(posed[0]) == len(posed[1]) == 16 and not posed[0] & posed[1]
