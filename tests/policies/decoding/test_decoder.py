"""Incremental decoding gives what a full pass gives, and computes nothing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch as th

from o1nano.envs.core.call_stack import CallStacks, Outcome
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.core.stacks import Limits
from o1nano.envs.problems.expert import ExpertPolicy, demonstrate
from o1nano.envs.problems.problem import read
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.decoding import captured
from o1nano.policies.decoding import decoder as decoding
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.decoding.kv_cache import FrameCache
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import SMALL_ENV, TINY, full_pass, ids, padded, random_legal, shake, tiny_network

TOLERANCE = 2e-5


def assert_same(out: tuple[th.Tensor, th.Tensor], expected: tuple[th.Tensor, th.Tensor]) -> None:
    legal = expected[0].isfinite()
    assert th.equal(out[0].isfinite(), legal)
    assert (out[0] - expected[0])[legal].abs().max() < TOLERANCE
    assert (out[1] - expected[1]).abs().max() < TOLERANCE


def play(network: ReasoningNetwork, steps: int, swap: bool = False, **changes: Any) -> list[str]:
    """Plays half of the environments with the expert and half at random, comparing at every step."""
    env = ArithmeticVectorEnv(6, autoreset_mode="SameStep", **{**SMALL_ENV, **changes})
    decoder, expert = Decoder(network, 6, env.config.frame_length), ExpertPolicy(env.config.thinking)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    outcomes: list[str] = []
    for step in range(steps):
        order = rng.permutation(6) if swap and step % 3 == 0 else np.arange(6)
        assert_same(decoder.step(observations[order]), full_pass(network, observations[order]))
        random = random_legal(env.action_masks(), rng)
        actions = np.concatenate((expert.predict(observations[:3]), random[3:]))
        observations, _, done, _, infos = env.step(actions)
        outcomes += [infos["final_info"]["outcome"][index] for index in np.flatnonzero(done)]
    return outcomes


@pytest.mark.parametrize("positions", ["none", "rotary", "coupled"])
def test_cached_is_uncached_through_calls_returns_and_episode_ends(positions: str) -> None:
    outcomes = play(tiny_network(positions=positions), 200)
    assert outcomes.count("answered") >= 8  # the expert's
    assert len(set(outcomes)) >= 2  # and a random one that ended otherwise


def test_cached_is_uncached_with_tail_calls() -> None:
    assert "answered" in play(tiny_network(), 150, operations=("expression",), digits=1)


def test_cached_is_uncached_with_windows() -> None:
    assert "answered" in play(tiny_network(windows=(4, 0), positions="local"), 60)


@pytest.mark.parametrize("scores", [1, 20_000])
def test_long_prompts_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    monkeypatch.setattr(decoding, "SCORES", scores)
    network = tiny_network(windows=(20, 0), positions="local", grammar=Grammar(functions=True))
    view, parts = FrameCache.view, [0]

    def counted(*args: Any) -> Any:
        parts[0] += len(args) == 3  # without the last tokens of the rows
        return view(*args)

    monkeypatch.setattr(FrameCache, "view", counted)
    play(network, 40, operations=("recall",), digits=1, frame_length=140)
    assert parts[0] > 6


def test_cached_is_uncached_without_thinking() -> None:
    outcomes = play(tiny_network(grammar=Grammar(False, False)), 40, thinking=False, call_stack=False)
    assert "answered" in outcomes


@pytest.mark.parametrize("positions", ["none", "rotary", "coupled"])
def test_rows_may_be_swapped_between_steps(positions: str) -> None:
    assert "answered" in play(tiny_network(positions=positions), 80, swap=True)


def test_the_policy_decodes_what_it_evaluates() -> None:
    env = ArithmeticVectorEnv(4, autoreset_mode="SameStep", **SMALL_ENV)
    policy = ReasoningPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, transformer=TINY)
    shake(policy)
    observations, _ = env.reset(seed=3)
    for _ in range(60):
        rows = th.from_numpy(observations)
        actions, values, log_probs = policy(rows)
        assert (policy.predict_values(rows) - values).abs().max() < TOLERANCE
        assert (policy.get_distribution(rows).log_prob(actions) - log_probs).abs().max() < TOLERANCE
        evaluated = policy.evaluate_actions(rows, actions)
        assert (evaluated[0] - values).abs().max() < TOLERANCE
        assert (evaluated[1] - log_probs).abs().max() < TOLERANCE
        observations = env.step(actions.numpy())[0]


def change_by_optimizer(network: ReasoningNetwork) -> None:
    optimizer = th.optim.AdamW(network.parameters(), 0.5)
    sum(parameter.square().sum() for parameter in network.parameters()).backward()
    optimizer.step()


def change_by_fused_optimizer(network: ReasoningNetwork) -> None:
    """Which leaves the versions of the parameters as they were."""
    optimizer = th.optim.AdamW(network.parameters(), 0.5, fused=True)
    sum(parameter.square().sum() for parameter in network.parameters()).backward()
    optimizer.step()


def change_by_loading(network: ReasoningNetwork) -> None:
    network.load_state_dict(tiny_network(seed=5).state_dict())


def change_one_weight_in_place(network: ReasoningNetwork) -> None:
    with th.no_grad():
        network.trunk.blocks[0].attention.inputs.weight += 3.0


@pytest.mark.parametrize(
    "change", [change_by_optimizer, change_by_fused_optimizer, change_by_loading, change_one_weight_in_place]
)
def test_the_cache_notices_changed_weights(change: Any) -> None:
    network = tiny_network()
    decoder = Decoder(network, 1, 16)
    frame = ids("<subtask> 8 9 + 5 4 = <think> 3 1")
    stale = decoder.step(padded([frame[:-1]], 16))
    change(network)
    rows = padded([frame], 16)
    assert_same(decoder.step(rows), full_pass(network, rows))
    assert (full_pass(network, padded([frame[:-1]], 16))[1] - stale[1]).abs().max() > 1e-3


class Ledger:
    """Counts the tokens that a network embeds."""

    def __init__(self, network: ReasoningNetwork) -> None:
        self.tokens = 0
        network.trunk.tokens.register_forward_pre_hook(self._count)

    def _count(self, _: th.nn.Module, args: tuple[th.Tensor, ...]) -> None:
        self.tokens += args[0].numel()


def expert_steps(text: str) -> list[tuple[npt.NDArray[np.uint8], int]]:
    """The observation and the depth before every step of the expert on a problem."""
    stacks, expert = CallStacks(1, Limits(96, 8, 4096), Grammar()), ExpertPolicy()
    stacks.pose([0], [read(text).prompt])
    steps, outcome = [], Outcome.RUNNING
    while outcome == Outcome.RUNNING:
        steps.append((stacks.observe(), int(stacks.depth[0])))
        outcome = Outcome(stacks.step(expert.predict(steps[-1][0]))[0])
    assert outcome == Outcome.ANSWERED
    return steps


@pytest.mark.parametrize("text", ["98+45", "34-53", "74*68", "91/64", "(12+7)*5-8/2"])
def test_suspended_parents_resume_without_recomputation(text: str) -> None:
    network = tiny_network()
    ledger, decoder = Ledger(network), Decoder(network, 1, 96)
    for observation, depth in expert_steps(text):
        decoder.step(observation)
        assert len(decoder.cache.suspended[0]) == depth
    # Every token of every frame runs once; the last one of a frame is never shown again.
    assert ledger.tokens == sum(len(frame.tokens) - 1 for frame in demonstrate(read(text)))


def test_a_new_episode_forgets_the_suspended_frames_of_the_last() -> None:
    decoder = Decoder(tiny_network(), 1, 96)
    for observation, depth in expert_steps("74*68"):
        decoder.step(observation)
        if depth == 2:
            break
    decoder.step(padded([list(read("1+2").prompt)], 96))
    assert decoder.cache.suspended == [[]]


def test_frames_shown_out_of_order_are_computed_anew() -> None:
    network = tiny_network()
    decoder, rng = Decoder(network, 2, 96), np.random.default_rng(0)
    steps = [observation[0] for observation, _ in expert_steps("91/64")]
    for _ in range(60):
        rows = np.stack([steps[index] for index in rng.integers(len(steps), size=2)])
        assert_same(decoder.step(rows), full_pass(network, rows))


def test_a_full_frame_and_an_empty_row_are_no_error() -> None:
    network = tiny_network()
    full = ids("<subtask> 8 9 + 5 4 = <think>") + ids("3") * 8
    rows = padded([full, []], 16)
    assert_same(Decoder(network, 2, 16).step(rows), full_pass(network, rows))


@pytest.mark.parametrize("windows", [(), (8, 0)])
def test_the_step_that_a_gpu_captures_is_the_same(monkeypatch: pytest.MonkeyPatch, windows: tuple[int, ...]) -> None:
    monkeypatch.setattr(captured, "SPAN", 16)
    network = tiny_network(windows=windows)
    env, expert = ArithmeticVectorEnv(6, autoreset_mode="SameStep", **SMALL_ENV), ExpertPolicy()
    usual, decoder = (Decoder(network, 6, env.config.frame_length, captured=fixed) for fixed in (False, True))
    observations, _ = env.reset(seed=0)
    for _ in range(120):
        assert_same(decoder.step(observations), usual.step(observations))
        observations, *_ = env.step(expert.predict(observations))
