"""Incremental decoding gives what a full pass gives, and computes nothing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch as th

from o1nano.envs.core.call_stack import CallStacks, Outcome
from o1nano.envs.core.config import Limits
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import read
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import (
    SMALL_ENV,
    TINY,
    TOLERANCE,
    assert_same,
    full_pass,
    ids,
    padded,
    random_legal,
    shake,
    tiny_network,
)

# Everything that says what tokens know of each other, in every combination that decodes by other code.
NETWORKS: dict[str, dict[str, Any]] = {
    "places": {"positions": "places"},
    "coupled": {"positions": "coupled"},
    "aligned": {"positions": "aligned"},
    "none": {"positions": "none", "roles": False},
    "rotary": {"positions": "rotary", "rotary_base": 500.0},
    "sinusoidal": {"positions": "sinusoidal"},
    "local": {"positions": "local", "windows": (5, 0)},
    "local places": {"positions": "local_places", "windows": (0, 7), "log_length": 16},
    "heads of 10": {"embedding": 40},
}
BACKENDS = [pytest.param(True, id="compiled"), pytest.param(False, id="torch")]


def play(
    network: ReasoningNetwork,
    steps: int,
    rows: int = 6,
    swap: bool = False,
    tolerance: float = TOLERANCE,
    decoding: dict[str, Any] | None = None,
    **changes: Any,
) -> list[str]:
    """Plays half of the environments with the expert and half at random, comparing at every step."""
    env = ArithmeticVectorEnv(rows, autoreset_mode="SameStep", **{**SMALL_ENV, **changes})
    decoder = Decoder(network, rows, env.config.frame_length, **decoding or {})
    expert = ExpertPolicy(env)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    outcomes: list[str] = []
    for step in range(steps):
        order = rng.permutation(rows) if swap and step % 3 == 0 else np.arange(rows)
        shown = observations[order]
        assert_same(decoder.step(shown), full_pass(network, shown), tolerance)
        random = random_legal(env.action_masks(), rng)
        actions = np.concatenate((expert.predict(observations[: rows // 2]), random[rows // 2 :]))
        observations, _, done, _, infos = env.step(actions)
        outcomes += [infos["final_info"]["outcome"][index] for index in np.flatnonzero(done)]
    return outcomes


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("compiled", BACKENDS)
def test_cached_is_uncached_through_calls_returns_and_episode_ends(name: str, compiled: bool) -> None:
    outcomes = play(tiny_network(**NETWORKS[name]), 100, decoding={"compiled": compiled})
    assert outcomes.count("answered") >= 4  # the expert's
    assert len(set(outcomes)) >= 2  # and a random one that ended otherwise


@pytest.mark.parametrize("name", NETWORKS)
def test_many_rows_are_decoded_like_few(name: str) -> None:
    assert "answered" in play(tiny_network(**NETWORKS[name]), 40, rows=24)


@pytest.mark.parametrize("compiled", BACKENDS)
def test_cached_is_uncached_with_tail_calls(compiled: bool) -> None:
    decoding = {"compiled": compiled}
    assert "answered" in play(tiny_network(), 150, operations=("expression",), digits=1, decoding=decoding)


@pytest.mark.parametrize("half", [{"half": True}, {"bf16": True}, {"bf16": True, "half": True}])
@pytest.mark.parametrize("rows", [2, 24])
@pytest.mark.parametrize("compiled", BACKENDS)
def test_sixteen_bits_change_roundings_only(half: dict[str, bool], rows: int, compiled: bool) -> None:
    outcomes = play(tiny_network(), 40, rows=rows, tolerance=0.1, decoding={**half, "compiled": compiled})
    assert outcomes  # every step was compared, and episodes ended in between


def test_long_prompts_are_computed_in_parts() -> None:
    network = tiny_network(windows=(20, 0), positions="local", grammar=Grammar(functions=True))
    outcomes = play(network, 40, operations=("recall",), digits=1, frame_length=140, decoding={"tokens": 50})
    assert outcomes  # every step was compared, and random agents began a second prompt


def test_cached_is_uncached_without_thinking() -> None:
    outcomes = play(tiny_network(grammar=Grammar(False, False)), 40, thinking=False, call_stack=False)
    assert "answered" in outcomes


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_may_be_swapped_between_steps(name: str) -> None:
    assert "answered" in play(tiny_network(**NETWORKS[name]), 60, swap=True)


def test_the_policy_decodes_what_it_evaluates() -> None:
    env = ArithmeticVectorEnv(4, autoreset_mode="SameStep", **SMALL_ENV)
    policy = ReasoningPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, transformer=TINY)
    policy.set_training_mode(False)
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


def train(policy: ReasoningPolicy) -> None:
    policy.set_training_mode(True)
    policy.evaluate_actions(*some_rows())[1].sum().backward()
    policy.optimizer.step()
    policy.set_training_mode(False)


def load(policy: ReasoningPolicy) -> None:
    policy.load_state_dict({name: 1.5 * weight for name, weight in policy.state_dict().items()})


def change_and_say_so(policy: ReasoningPolicy) -> None:
    with th.no_grad():
        policy.network.trunk.blocks[0].attention.qkv_proj.weight += 3.0
    policy.clear_cache()


def some_rows() -> tuple[th.Tensor, th.Tensor]:
    rows = padded([ids("<subtask> 8 9 + 5 4 = <think> 3 1")], 48)
    return th.from_numpy(rows), th.tensor(ids("4"))


@pytest.mark.parametrize("change", [train, load, change_and_say_so])
def test_a_policy_with_other_weights_decodes_with_those(change: Any) -> None:
    env = ArithmeticVectorEnv(1, **SMALL_ENV)
    space, actions = env.single_observation_space, env.single_action_space
    policy = ReasoningPolicy(space, actions, lambda _: 0.05, transformer=TINY)
    shake(policy)
    policy.set_training_mode(False)
    rows, action = some_rows()
    before = policy.predict_values(rows), policy.get_distribution(rows).log_prob(action)
    change(policy)
    log_prob = policy.get_distribution(rows).log_prob(action)
    assert (policy.predict_values(rows) - policy.evaluate_actions(rows, action)[0]).abs().max() < TOLERANCE
    assert (log_prob - before[1]).abs().max() > 1e-3


def test_in_training_mode_nothing_is_kept() -> None:
    env = ArithmeticVectorEnv(1, **SMALL_ENV)
    space, actions = env.single_observation_space, env.single_action_space
    policy = ReasoningPolicy(space, actions, lambda _: 0.05, transformer=TINY)
    rows, _ = some_rows()
    policy.set_training_mode(True)
    policy.predict_values(rows)
    shake(policy)
    assert (policy.predict_values(rows) - policy.evaluate_actions(*some_rows())[0]).abs().max() < TOLERANCE


def test_a_decoder_reads_the_weights_when_it_is_told_to() -> None:
    network = tiny_network()
    decoder, rows = Decoder(network, 1, 16), padded([ids("<subtask> 8 9 + 5 4 = <think> 3 1")], 16)
    decoder.step(rows)
    network.load_state_dict(tiny_network(seed=5).state_dict())
    decoder.reload()
    assert_same(decoder.step(rows), full_pass(network, rows))


def expert_steps(text: str) -> list[tuple[npt.NDArray[np.uint8], int]]:
    """The observation and the depth before every step of the expert on a problem."""
    stacks, expert = CallStacks(1, Limits(96, 8, 4096), Grammar()), ExpertPolicy(Grammar())
    stacks.pose([0], [read(text).prompt])
    steps, outcome = [], Outcome.RUNNING
    while outcome == Outcome.RUNNING:
        steps.append((stacks.observe(), int(stacks.depth[0])))
        outcome = Outcome(stacks.step(expert.predict(steps[-1][0]))[0])
    assert outcome == Outcome.ANSWERED
    return steps


@pytest.mark.parametrize("text", ["98+45", "34-53", "74*68", "91/64", "(12+7)*5-8/2"])
def test_suspended_parents_resume_without_recomputation(text: str) -> None:
    decoder = Decoder(tiny_network(), 1, 96)
    for observation, _ in expert_steps(text):
        decoder.step(observation)
    # Every token of every frame runs once, or is shared; the last one of a frame is never shown again.
    frames = sum(len(frame.tokens) - 1 for frame in demonstrate(read(text)))
    assert decoder.computed + decoder.shared == frames


def test_a_step_without_a_new_token_computes_nothing() -> None:
    network, rows = tiny_network(), padded([ids("<subtask> 8 9 + 5 4 = <think> 3 1")], 16)
    decoder = Decoder(network, 1, 16)
    first = decoder.step(rows)
    computed = decoder.computed
    assert_same(decoder.step(rows), first, 1e-9)
    assert decoder.computed == computed


def test_frames_shown_out_of_order_are_computed_again() -> None:
    network = tiny_network()
    decoder, rng = Decoder(network, 2, 96), np.random.default_rng(0)
    steps = [observation[0] for observation, _ in expert_steps("91/64")]
    for _ in range(60):
        rows = np.stack([steps[index] for index in rng.integers(len(steps), size=2)])
        assert_same(decoder.step(rows), full_pass(network, rows))


def test_a_prompt_that_grows_is_read_again() -> None:
    """Its places count down from an end that has moved."""
    network = tiny_network()
    decoder, frame = Decoder(network, 1, 48), ids("<problem> 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 + 9 5 = <think>")
    for length in range(1, len(frame) + 1):
        rows = padded([frame[:length]], 48)
        assert_same(decoder.step(rows), full_pass(network, rows))


def test_a_full_frame_is_no_error() -> None:
    network = tiny_network()
    rows = padded([ids("<subtask> 8 9 + 5 4 = <think>") + ids("3") * 8], 16)
    assert_same(Decoder(network, 1, 16).step(rows), full_pass(network, rows))


def test_an_empty_row_costs_nothing() -> None:
    network = tiny_network()
    decoder, frame = Decoder(network, 2, 16), ids("<subtask> 8 9 + 5 4 = <think>")
    log_probs, _ = decoder.step(padded([frame, []], 16))
    assert_same((log_probs[:1], th.zeros(1)), (full_pass(network, padded([frame], 16))[0], th.zeros(1)))
    assert decoder.computed == len(frame)


def test_an_interrupted_step_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows = tiny_network(), padded([ids("<subtask> 8 9 + 5 4 = <think> 3 1")] * 12, 16)
    decoder = Decoder(network, 12, 16)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(th, "mm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.step(rows)
    assert_same(decoder.step(rows), full_pass(network, rows))
