"""Causal attention, seen through the output heads: what follows a frame depends on nothing that comes later."""

from __future__ import annotations

import pytest
import torch as th

from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from tests.helpers.tiny import TINY, ids, padded, shake

LENGTH = 48


@pytest.mark.parametrize(
    ("channel", "frame"),
    [
        ("completion", "<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1"),
        ("reasoning", "<subtask> 5 0 5 \\ 4 6 = <think> 8 <wrong> <revise> 7 <ok>"),
        ("subtask", "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4"),
    ],
)
@th.no_grad()
def test_one_pass_over_a_frame_agrees_with_token_by_token(channel: str, frame: str) -> None:
    env = ArithmeticVectorEnv(1, frame_length=LENGTH)
    th.manual_seed(0)
    policy = ReasoningPolicy(
        env.single_observation_space,
        env.single_action_space,
        lambda _: 1e-3,
        transformer=TINY,
        grammar=env.config.grammar,
    )
    shake(policy, size=0.2)
    policy.set_training_mode(False)

    tokens = ids(frame)
    prompt = ids("=")[0]
    prefixes = [tokens[:end] for end in range(tokens.index(prompt) + 1, len(tokens) + 1)]
    rows = th.from_numpy(padded(prefixes, LENGTH))

    # With the cache the keys of a token are computed before the tokens after it exist. In one pass over a frame all are
    # there, so keys and hidden states would differ if a token attended to a later one.
    log_probs, values = policy.evaluate(rows)
    for row, observation in enumerate(rows):
        actions, value, log_prob = policy(observation[None], deterministic=True)
        assert actions.item() == log_probs[row].argmax().item()
        assert log_prob.item() == pytest.approx(log_probs[row].max().item(), abs=1e-4)
        assert value.item() == pytest.approx(values[row].item(), abs=1e-4)

    # Not because every prefix got the same value.
    assert values.std() > 1e-3
