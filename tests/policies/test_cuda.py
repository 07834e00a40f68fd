"""The same code on a GPU: what is learned on it is what is learned on a CPU, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import Logger

from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.policies.actor_critic import ReasoningPolicy
from tests.helpers.frames import CollectingPPO, like_structure
from tests.helpers.runs import SMALL_RUN
from tests.helpers.tiny import TINY, shake, vec_env
from train_rl import train

# On a CPU these test the tests.
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not th.cuda.is_available(), reason="no GPU here"))]


def ppo(device: str, bf16: bool = False) -> CollectingPPO:
    """The same model on any device: its actions are drawn on the CPU."""
    model = CollectingPPO(
        ReasoningPolicy,
        vec_env(6),
        n_steps=48,
        batch_size=150,
        n_epochs=2,
        gamma=1.0,
        seed=0,
        device=device,
        policy_kwargs={
            "transformer": TINY,
            "bf16": bf16,
            "optimizer_class": th.optim.SGD,
        },
        learning_rate=0.1,
    )
    model.set_logger(Logger(None, []))
    for name, value in twin().items():
        model.policy.state_dict()[name].copy_(value)
    return model


def twin() -> dict[str, th.Tensor]:
    """Weights that are the same whatever the device's generator draws."""
    with th.random.fork_rng():
        th.manual_seed(0)
        env = vec_env(1)
        policy = ReasoningPolicy(env.observation_space, env.action_space, lambda _: 0.1, transformer=TINY)
    shake(policy, size=0.15)
    like_structure(policy)
    return policy.state_dict()


def collect(model: CollectingPPO) -> list[Any]:
    model.begin()
    return model.collect()


@pytest.mark.parametrize("device", DEVICES)
def test_rollout_and_update_are_those_of_a_cpu(device: str) -> None:
    reference, model = ppo("cpu"), ppo(device)
    assert {parameter.device.type for parameter in model.policy.parameters()} == {device}
    for expected, frame in zip(collect(reference), collect(model), strict=True):
        assert np.array_equal(expected.tokens, frame.tokens)
        assert np.allclose(expected.log_probs, frame.log_probs, atol=1e-4)
        assert np.allclose(expected.values, frame.values, atol=1e-4)
    reference.train()
    model.train()
    for name, expected in reference.policy.state_dict().items():
        assert th.allclose(model.policy.state_dict()[name].cpu(), expected, atol=1e-4), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bf16, tolerance", [(False, 1e-4), (True, 0.1)])
def test_the_first_minibatch_has_ratio_one(device: str, bf16: bool, tolerance: float) -> None:
    model = ppo(device, bf16)
    collect(model)
    batch = next(model.rollout_buffer.get())
    for tensor in (*batch.observations[0], batch.actions, batch.old_log_prob, batch.advantages):
        assert tensor.device.type == device
    with th.no_grad():
        _, log_probs, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    assert (log_probs - batch.old_log_prob).abs().max() < tolerance


@pytest.mark.integration
@pytest.mark.parametrize("device", DEVICES)
def test_a_whole_run_is_cut_and_resumed(tmp_path: Path, device: str) -> None:
    folder = tmp_path / "run"
    run = Run(prepare(replace(SMALL_RUN, name="run", device=device)), folder, Display(quiet=True))
    original = run.pause

    def pause(done: int) -> None:
        run.stopping = run.current_phase == "ppo"
        original(done)

    run.pause = pause  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(run)
    resumed = Run.resume(folder, Display(quiet=True))
    assert resumed.network.heads.value[0].weight.device.type == device
    train(resumed)
    assert (folder / "results.json").is_file()
