"""The policy under stock Stable-Baselines3: PPO, save and load, masks, seeds."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO

from o1nano.agents.learning.ppo import FramePPO
from o1nano.envs.core.grammar import Channel, Grammar
from o1nano.envs.language.vocab import ID, VOCAB_SIZE
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.network.frame_batch import pack_frames
from tests.helpers.tiny import TINY, ids, padded, random_legal, shake, vec_env

DIRECT: dict[str, Any] = {"transformer": TINY, "grammar": Grammar(thinking=False, calls=False)}


def direct_ppo(env: Any = None, **policy_kwargs: Any) -> PPO:
    return PPO(
        ReasoningPolicy,
        env or gym.make("o1nano/Direct-v0"),
        n_steps=16,
        batch_size=16,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={**DIRECT, **policy_kwargs},
    )


def small_policy(seed: int = 0, **kwargs: Any) -> ReasoningPolicy:
    """A shaken policy for frames that think and call."""
    th.manual_seed(seed)
    env = ArithmeticVectorEnv(1, frame_length=48)
    policy = ReasoningPolicy(
        env.single_observation_space, env.single_action_space, lambda _: 1e-3, **{"transformer": TINY, **kwargs}
    )
    shake(policy, seed)
    return policy


ROWS = th.from_numpy(
    padded(
        [
            ids("<problem> 9 8 + 4 5 ="),
            ids("<subtask> 8 9 + 5 4 = <think> 3"),
            ids("<subtask> 8 9 + 5 4 = <think> <call> 8"),
            ids("<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think>"),
            ids("<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3"),
        ],
        48,
    )
)


def test_it_trains_under_stock_ppo() -> None:
    model = direct_ppo()
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(32)
    changed = [not th.equal(old, new) for old, new in zip(before, model.policy.parameters(), strict=True)]
    # The decoders of thoughts and subtasks have nothing to do here; everything else has learned.
    assert sum(changed) >= len(changed) - 4
    assert model.num_timesteps == 32


# Stable-Baselines3 asks gym.make for render_mode="rgb_array" first and falls back on a TypeError only.
@pytest.mark.filterwarnings("ignore:.*render_mode='rgb_array'")
def test_it_trains_under_stock_ppo_by_environment_id() -> None:
    assert direct_ppo("o1nano/Direct-v0").learn(16).num_timesteps == 16


def test_it_trains_under_stock_ppo_on_a_vector() -> None:
    vector = vec_env(4, operations=("addition",), digits=1, thinking=False, call_stack=False, frame_length=16)
    assert direct_ppo(vector).learn(64).num_timesteps == 64


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    model = direct_ppo()
    shake(model.policy)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", device="cpu")
    rows = th.from_numpy(padded([ids("<problem> 3 + 4 ="), ids("<problem> 3 - 4 = -")], 16))
    expected, logits = (m.policy.get_distribution(rows).distribution.logits for m in (model, loaded))
    assert th.equal(logits, expected)
    assert th.equal(model.policy.predict_values(rows), loaded.policy.predict_values(rows))
    assert loaded.policy.grammar == Grammar(thinking=False, calls=False)


def test_a_saved_policy_gives_the_same_logits(tmp_path: Path) -> None:
    policy = small_policy(grammar=Grammar(calls=False))
    policy.save(str(tmp_path / "policy.pth"))
    loaded = ReasoningPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert loaded.grammar == policy.grammar and loaded.transformer == TINY
    expected = policy.get_distribution(ROWS).distribution.logits
    assert th.equal(loaded.get_distribution(ROWS).distribution.logits, expected)


def test_every_constructor_argument_is_saved(tmp_path: Path) -> None:
    arguments = set(inspect.signature(ReasoningPolicy.__init__).parameters) - {"self"}
    small_policy().save(str(tmp_path / "policy.pth"))
    assert set(th.load(tmp_path / "policy.pth", weights_only=False)["data"]) == arguments


def test_saved_constructor_arguments_have_the_values_given(tmp_path: Path) -> None:
    given = {"grammar": Grammar(calls=False), "bf16": True, "optimizer_class": th.optim.SGD}
    small_policy(**given, optimizer_kwargs={"momentum": 0.5}).save(str(tmp_path / "policy.pth"))
    saved = th.load(tmp_path / "policy.pth", weights_only=False)["data"]
    assert {key: saved[key] for key in given} == given
    assert saved["optimizer_kwargs"] == {"momentum": 0.5}
    assert saved["transformer"] == TINY


def test_the_optimizer_has_every_parameter() -> None:
    policy = small_policy()
    optimized = {id(parameter) for group in policy.optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in policy.parameters()}
    assert len(optimized) == len(list(policy.network.parameters()))


@pytest.mark.parametrize("thinking, call_stack", [(True, True), (True, False), (False, False)])
def test_illegal_tokens_have_probability_zero_and_legal_ones_have_not(thinking: bool, call_stack: bool) -> None:
    env = ArithmeticVectorEnv(8, autoreset_mode="SameStep", thinking=thinking, call_stack=call_stack, frame_length=48)
    policy, rng = small_policy(grammar=env.config.grammar), np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    for _ in range(40):
        probs = policy.get_distribution(th.from_numpy(observations)).distribution.probs.detach().numpy()
        assert np.array_equal(probs > 0, env.action_masks())
        assert np.allclose(probs.sum(1), 1, atol=1e-5)
        actions, _, _ = policy(th.from_numpy(observations))
        assert env.action_masks()[np.arange(8), actions].all()
        observations = env.step(random_legal(env.action_masks(), rng))[0]


def sampled(policy: ReasoningPolicy, n: int = 20) -> list[list[int]]:
    return [policy(ROWS)[0].tolist() for _ in range(n)]


def test_sampling_is_reproducible_by_seed() -> None:
    first = sampled(small_policy(seed=1))
    assert sampled(small_policy(seed=1)) == first
    assert sampled(small_policy(seed=2)) != first


def test_other_random_numbers_do_not_disturb_sampling() -> None:
    policy, other = small_policy(seed=1), small_policy(seed=1)
    th.rand(7)
    assert sampled(policy) == sampled(other)


def test_samples_follow_the_probabilities() -> None:
    policy = small_policy()
    rows = ROWS[:1].repeat(4000, 1)
    counts = np.bincount(policy(rows)[0].numpy(), minlength=VOCAB_SIZE) / 4000
    probs = policy.get_distribution(ROWS[:1]).distribution.probs[0].detach().numpy()
    assert np.abs(counts - probs).max() < 4 * np.sqrt(0.25 / 4000)


def test_deterministic_actions_are_the_most_likely_ones() -> None:
    policy = small_policy()
    best = policy.get_distribution(ROWS).distribution.probs.argmax(1).tolist()
    assert policy(ROWS, deterministic=True)[0].tolist() == best
    assert policy.predict(ROWS.numpy(), deterministic=True)[0].tolist() == best


def test_one_observation_is_predicted_like_a_row() -> None:
    policy = small_policy()
    rows, _ = policy.predict(ROWS.numpy(), deterministic=True)
    alone = [int(policy.predict(row.numpy(), deterministic=True)[0]) for row in ROWS]
    assert alone == rows.tolist()


def test_entropy_is_that_of_the_distribution() -> None:
    policy = small_policy()
    probs = policy.get_distribution(ROWS).distribution.probs.detach()
    expected = -(probs * probs.clamp(min=1e-30).log()).sum(1)
    actions = policy(ROWS, deterministic=True)[0]
    entropy = policy.evaluate_actions(ROWS, actions)[2]
    assert entropy is not None
    assert th.allclose(entropy, expected, atol=1e-5)


def test_gradients_are_finite_although_masked_tokens_are_minus_infinity() -> None:
    policy = small_policy()
    values, log_probs, entropy = policy.evaluate_actions(ROWS, policy(ROWS)[0])
    assert entropy is not None
    (values.sum() + log_probs.sum() + entropy.sum()).backward()
    assert all(parameter.grad is None or bool(parameter.grad.isfinite().all()) for parameter in policy.parameters())


@pytest.mark.parametrize("row, channel", [(0, "completion"), (1, "reasoning"), (2, "subtask"), (3, "completion")])
def test_the_decoder_of_the_channel_writes_the_token(row: int, channel: str) -> None:
    policy = small_policy()
    before = policy.get_distribution(ROWS).distribution.logits.detach()
    with th.no_grad():
        getattr(policy.network.heads, channel).bias += th.linspace(0, 5, VOCAB_SIZE)
    changed = (policy.get_distribution(ROWS).distribution.probs - before.exp()).abs().amax(1) > 1e-3
    assert changed[row]
    state = policy.grammar.run(ROWS[row][ROWS[row] > 0].tolist())
    assert Channel(int(policy.grammar.channel[state])).name.lower() == channel
    for other in range(5):
        state = policy.grammar.run(ROWS[other][ROWS[other] > 0].tolist())
        assert changed[other] == (Channel(int(policy.grammar.channel[state])).name.lower() == channel)


def test_a_frame_that_has_ended_still_has_a_distribution() -> None:
    policy = small_policy()
    rows = th.from_numpy(padded([ids("<subtask> 1 + 1 = <think> 2 0 </think> 2 <eos>"), []], 48))
    assert policy.get_distribution(rows).distribution.probs.isfinite().all()


def test_bfloat16_is_close_to_single_precision() -> None:
    policy, rough = small_policy(), small_policy(bf16=True)
    actions = policy(ROWS, deterministic=True)[0]
    exact, rounded = (p.evaluate_actions(ROWS, actions)[1] for p in (policy, rough))
    assert rounded.dtype == th.float32
    assert th.allclose(exact, rounded, atol=0.05)
    assert not th.equal(exact, rounded)


def test_rows_and_frames_are_evaluated_by_one_network() -> None:
    policy = small_policy()
    frames = [row[row != 0].astype(np.uint8) for row in ROWS.numpy()]
    last = [np.array([len(frame) - 1]) for frame in frames]
    log_probs, values = policy.network(pack_frames(frames, last, policy.grammar, "cpu"))
    assert th.allclose(policy.predict_values(ROWS).flatten(), values, atol=1e-6)
    assert th.allclose(policy.get_distribution(ROWS).distribution.probs, log_probs.exp(), atol=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_is_off_in_ppo(mode: bool) -> None:
    transformer = {**TINY.__dict__, "dropout": 0.5}
    model = FramePPO(
        ReasoningPolicy,
        vec_env(4),
        n_steps=16,
        batch_size=32,
        seed=0,
        device="cpu",
        credit="episode",
        policy_kwargs={"transformer": transformer},
    )
    shake(model.policy)
    model.policy.set_training_mode(mode)  # train() does so before it evaluates actions
    rows = th.from_numpy(padded([ids("<problem> 9 8 + 4 5 =")], 48))
    actions = th.tensor([ID["<think>"]])
    first, second = (model.policy.evaluate_actions(rows, actions)[1] for _ in range(2))
    assert th.equal(first, second)
    model.learn(4 * 16 * 2)
    assert model.policy.network.training is False
    assert not any(module.training for module in model.policy.network.modules())
