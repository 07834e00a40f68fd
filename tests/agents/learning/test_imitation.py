"""The supervised warm start: the loss falls, and only the expert's own tokens are in it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, repeat
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.imitation import WarmStart, WarmStartConfig
from o1nano.agents.learning.packing import TrainingFrame
from o1nano.envs.core.curriculum import UniformLevels
from o1nano.envs.language.vocab import END_THINK, EQUALS, VOCAB_SIZE
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import read, sizes
from o1nano.envs.problems.verifier import frame_answer
from o1nano.policies.network.frame_batch import pack_frames
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import tiny_network

CONFIG = WarmStartConfig(steps=120, learning_rate=1e-2)


def expert_frames(*texts: str) -> list[TrainingFrame]:
    """The expert's frames of some problems, sorted by length."""
    out = []
    for text in texts:
        for frame in demonstrate(read(text)):
            positions = np.flatnonzero(frame.emitted) - 1
            ones = np.ones(len(positions))
            tokens = np.array(frame.tokens, dtype=np.uint8)
            out.append(TrainingFrame(tokens, positions, imitate=ones.astype(bool), returns=ones.astype(np.float32)))
    return sorted(out, key=lambda frame: len(frame.tokens))


def trainer(network: ReasoningNetwork, config: WarmStartConfig = CONFIG) -> WarmStart:
    return WarmStart(network, config, False)


def all_log_probs(network: ReasoningNetwork, frame: list[int]) -> th.Tensor:
    """Log-probabilities ``[T - 1, V]`` of the next token at every position of a frame, whoever wrote it."""
    tokens = np.array(frame[:-1], dtype=np.uint8)
    return network(pack_frames([tokens], [np.arange(len(tokens))], network.grammar, "cpu"))[0]


def test_the_loss_is_the_mean_over_the_experts_tokens_alone() -> None:
    network = tiny_network()
    frames = expert_frames("98+45", "91/64")
    terms = []
    for frame in [frame for text in ("98+45", "91/64") for frame in demonstrate(read(text))]:
        log_probs = all_log_probs(network, frame.tokens)
        terms += [-log_probs[i - 1, frame.tokens[i]].item() for i, emitted in enumerate(frame.emitted) if emitted]
    losses = trainer(network).step(frames)
    assert losses["loss"] == pytest.approx(float(np.mean(terms)), rel=1e-4)


def gradients(network: ReasoningNetwork, frames: list[TrainingFrame]) -> th.Tensor:
    """The gradient of one step, flat; the weights are put back."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainer(network).step(frames)
    out = th.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
    network.load_state_dict(before)
    return out


def test_what_is_not_imitated_has_no_influence_on_the_policys_loss() -> None:
    network, (frame,) = tiny_network(), expert_frames("3+4")[:1]
    frame.imitate[-1] = False
    other = replace_last(frame)
    config = replace(CONFIG, value_coef=0.0)
    losses = []
    for variant in (frame, other):
        copy = tiny_network()
        losses.append(trainer(copy, config).step([variant])["loss"])
    assert losses[0] == losses[1]
    assert th.equal(gradients(network, [frame]), gradients(network, [other]))


def replace_last(frame: TrainingFrame) -> TrainingFrame:
    """The same demonstration with another last token, which is a target only and never an input."""
    tokens = frame.tokens.copy()
    tokens[-1] = tokens[-1] % (VOCAB_SIZE - 1) + 1
    return TrainingFrame(tokens, frame.positions, imitate=frame.imitate, returns=frame.returns)


def test_an_imitated_last_token_has_influence() -> None:
    (frame,) = expert_frames("3+4")[:1]
    variants = (frame, replace_last(frame))
    one, other = (trainer(tiny_network()).step([variant])["loss"] for variant in variants)
    assert one != other


def test_the_loss_on_a_fixed_batch_falls() -> None:
    frames = expert_frames("98+45", "34-53")
    start = trainer(tiny_network())
    first = start.step(frames)
    history: list[float] = []

    def should_stop(done: int, losses: dict[str, float]) -> bool:
        history.append(losses["loss"])
        return False

    start.run(repeat(frames), should_stop)
    assert start.done == CONFIG.steps
    assert history[-1] < 0.2 * first["loss"]
    assert start.tokens == CONFIG.steps * sum(len(frame.tokens) for frame in frames)


def test_the_critic_learns_the_returns() -> None:
    frames = expert_frames("98+45")
    for frame in frames:
        frame.returns[: len(frame.returns) // 2] = 0.25
    start = trainer(tiny_network(), replace(CONFIG, value_coef=1.0))
    losses = [start.step(frames)["value_loss"] for _ in range(80)]
    assert losses[-1] < 0.1 * losses[0]


def test_it_stops_when_it_should() -> None:
    start = trainer(tiny_network())
    start.run(repeat(expert_frames("3+4")), lambda done, losses: done == 3)
    assert start.done == 3


def test_padding_changes_no_loss() -> None:
    """Frames that are padded together must not change each other's loss."""
    frames = sorted(expert_frames("98+45", "74*68", "914/64") * 4, key=lambda frame: len(frame.tokens))
    actions = [len(frame.positions) for frame in frames]
    alone = [trainer(tiny_network()).step([frame])["loss"] for frame in frames]
    together = trainer(tiny_network()).step(frames)["loss"]
    assert together == pytest.approx(float(np.average(alone, weights=actions)), rel=1e-4)


def test_equal_networks_train_alike() -> None:
    frames = expert_frames("98+45")
    trainers = [trainer(tiny_network(seed)) for seed in (0, 0, 1)]
    one, same, other = ([start.step(frames)["loss"] for _ in range(3)] for start in trainers)
    assert one == same != other


def test_the_learning_rate_rises_and_falls() -> None:
    start = trainer(tiny_network(), WarmStartConfig(steps=1000, learning_rate=1.0))
    rates = []
    for done in (0, 49, 99, 500, 999):
        start.done = done
        start.step(expert_frames("1+2"))
        rates.append(start.optimizers[1].param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.5 * 0.951, 0.901, 0.5, 0.001])


def test_targets_are_the_experts_and_nothing_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_dropout_is_on() -> None:
    network = tiny_network(dropout=0.5)
    levels = UniformLevels(sizes(("addition",), (1, 1)))
    batch = next(iter(DemonstrationStream(levels, np.random.default_rng(0), 64, pool=2)))
    WarmStart(network, WarmStartConfig(steps=5), False).step(batch)
    assert network.training
