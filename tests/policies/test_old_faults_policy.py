"""The faults of the code base of the same name, on the side of the policy: each by name, so that none comes back."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.imitation import WarmStart, WarmStartConfig
from o1nano.agents.learning.ppo import FramePPO
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import UniformLevels
from o1nano.envs.language.vocab import END_THINK, EQUALS, ID, NINE, PAD, REVISE, VOCAB_SIZE, ZERO
from o1nano.envs.problems.problem import read, sizes
from o1nano.envs.problems.verifier import frame_answer
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.decoding.compiled_forward import CompiledForward
from o1nano.policies.network.frame_batch import pack_frames
from o1nano.policies.search.answers import solve
from tests.helpers.tiny import TINY, full_pass, ids, padded, shake, tiny_network, vec_env


def test_numbers_above_9_were_read_as_padding() -> None:
    prompt = read("98+1045").prompt
    assert PAD not in prompt
    assert [token for token in prompt if ZERO <= token <= NINE] == ids("9 8 1 0 4 5")
    # And every digit of them reaches the model: changing one changes what follows.
    network, rows = tiny_network(), padded([list(prompt)] * 7)
    digits = [index for index, token in enumerate(prompt) if ZERO <= token <= NINE]
    for row, at in enumerate(digits, start=1):
        rows[row, at] = ZERO + (rows[row, at] - ZERO + 1) % 10
    values = full_pass(network, rows)[1]
    assert len(set(values.tolist())) == 7


@th.no_grad()
def test_attention_was_not_causal() -> None:
    """Teacher forcing is honest only if the model cannot see the token it is asked for."""
    network = tiny_network()
    frame = np.array(ids("<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1"), dtype=np.uint8)
    batch = pack_frames([frame], [np.arange(len(frame))], network.grammar, "cpu")
    log_probs, values = network(batch)
    for at in range(7, len(frame)):
        other = frame.copy()
        other[at] = frame[at] % (VOCAB_SIZE - 1) + 1
        # The same states, so that what is legal does not change.
        changed = network(
            pack_frames([other], [np.arange(len(frame))], network.grammar, "cpu")._replace(states=batch.states)
        )
        assert th.allclose(changed[1][:at], values[:at], atol=1e-5)
        assert th.allclose(changed[0][:at].exp(), log_probs[:at].exp(), atol=1e-5)
        assert (changed[1][at] - values[at]).abs() > 1e-5


def test_supervised_targets_were_the_models_own_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets come from the expert and are right; the model is not asked to decode anything."""

    def forbidden(*_: Any) -> None:
        raise AssertionError("the warm start sampled from the model")

    monkeypatch.setattr(th, "multinomial", forbidden)
    monkeypatch.setattr("o1nano.policies.decoding.decoder.Decoder.step", forbidden)
    levels = UniformLevels(sizes(("addition", "multiplication"), (1, 2)))
    batches = list(islice(DemonstrationStream(levels, np.random.default_rng(0), 256, corruption_rate=0.0, pool=2), 2))
    for frame in (frame for batch in batches for frame in batch):
        tokens = bytes(frame.tokens)
        prompt = tokens[: tokens.index(EQUALS) + 1]
        assert tokens[tokens.rindex(END_THINK) + 1 : -1] == frame_answer(prompt)
    trainer = WarmStart(tiny_network(), WarmStartConfig(steps=5), False)
    before = [bytes(frame.tokens) for frame in batches[0]]
    trainer.step(batches[0])
    assert [bytes(frame.tokens) for frame in batches[0]] == before


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_was_on_during_ppo(mode: bool) -> None:
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
    model.policy.set_training_mode(mode)  # PPO.train() does so before it evaluates
    rows = th.from_numpy(padded([ids("<problem> 9 8 + 4 5 =")], 48))
    actions = th.tensor([ID["<think>"]])
    first, second = (model.policy.evaluate_actions(rows, actions)[1] for _ in range(2))
    assert th.equal(first, second)
    model.learn(4 * 16 * 2)
    assert model.policy.network.training is False
    assert not any(module.training for module in model.policy.network.modules())


def test_dropout_is_on_during_the_warm_start() -> None:
    network = tiny_network(dropout=0.5)
    levels = UniformLevels(sizes(("addition",), (1, 1)))
    batch = next(iter(DemonstrationStream(levels, np.random.default_rng(0), 64, pool=2)))
    WarmStart(network, WarmStartConfig(steps=5), False).step(batch)
    assert network.training


@th.no_grad()
@pytest.mark.parametrize("positions", ["none", "rotary", "sinusoidal"])
def test_positions_stopped_at_5000(positions: str) -> None:
    network = tiny_network(positions=positions, embedding=8, heads=1, layers=1, feed_forward=16)
    assert network.config.max_context == 128_000
    frame = ids("<subtask> 8 9 + 5 4 = <think>") + ids("<ok> 7") * 2600
    rows = padded([frame, [*frame[:-1], ids("8")[0]]])
    values = full_pass(network, rows)[1]
    assert values.isfinite().all()
    assert values[0] != values[1]


def test_evaluation_swallowed_a_crash_in_every_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a fault in the model")

    monkeypatch.setattr(CompiledForward, "__call__", broken)
    with pytest.raises(ZeroDivisionError, match="a fault in the model"):
        solve(tiny_network(), [read("98+45")], EnvConfig())


def test_every_problem_of_an_evaluation_has_an_answer() -> None:
    problems = [read(f"{a}+{b}") for a in range(4) for b in range(4)]
    answers = solve(tiny_network(), problems, EnvConfig(max_tokens=40), batch=5)
    assert [answer.problem for answer in answers] == problems
    assert all(answer.outcome != "running" for answer in answers)


def test_revision_deleted_random_tokens() -> None:
    """A revision is a token like any other: everything before it stays, and the same thing happens every time."""
    env = ArithmeticEnv(frame_length=48)
    for seed in (0, 1):
        before, _ = env.reset(seed=seed, options={"problem": "98+45"})
        for token in ids("<think> 3 2 <wrong> <revise> 3 1 4 1"):
            after, *_ = env.step(np.int64(token))
            length = int((before > 0).sum())
            assert np.array_equal(after[:length], before[:length])
            assert after[length] == token and (after[length + 1 :] == PAD).all()
            before = after
    assert REVISE in before
