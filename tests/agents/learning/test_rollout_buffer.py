"""The rollout buffer of whole frames: exact, complete, and fair to callers and children."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.agents.learning.packing import TrainingFrame
from o1nano.agents.learning.rollout_buffer import FrameRolloutBuffer
from o1nano.agents.run.build import warm_up_and_decay
from o1nano.envs.language.vocab import EQUALS, GOTO, spell
from o1nano.envs.vector import ArithmeticVectorEnv
from tests.helpers.frames import CollectingPPO, frame_ppo, rollouts, rows_of
from tests.helpers.scripted import CALL, CHILD, RIGHT_CHILD, ROOT, WRONG_CHILD
from tests.helpers.tiny import ids

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def collected() -> CollectingPPO:
    """A model after its first rollout."""
    model = frame_ppo(16, 64)
    rollouts(model)
    kinds = {spell(frame.tokens[:1]) for frame in model.rollout_buffer.frames}
    assert kinds == {"<problem>", "<subtask>"}
    return model


def test_the_first_minibatches_have_ratio_one(collected: CollectingPPO) -> None:
    collected.policy.set_training_mode(True)
    actions = 0
    for batch in collected.rollout_buffer.get(96):
        values, log_probs, _ = collected.policy.evaluate_actions(batch.observations, batch.actions)
        assert (log_probs - batch.old_log_prob).abs().max() < TOLERANCE
        assert (values.flatten() - batch.old_values).abs().max() < TOLERANCE
        assert ((log_probs - batch.old_log_prob).exp() - 1).abs().max() < TOLERANCE
        actions += len(log_probs)
    assert actions == sum(len(frame.positions) for frame in collected.rollout_buffer.frames) > 200


def test_ratios_are_one_again_after_an_update() -> None:
    """Open frames keep the old policy's log-probabilities; what is emitted after the update is the new policy's."""
    model = frame_ppo(16, 32, learning_rate=1e-2)
    model.begin()
    for _ in range(2):
        model.collect()
        model.train()
    model.collect()
    new = old = 0
    buffer = model.rollout_buffer
    for frame in buffer.frames:
        (batch,) = [buffer.samples([frame])]
        with th.no_grad():
            _, log_probs, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
        fresh = th.from_numpy(frame.times >= 64)
        difference = (log_probs - batch.old_log_prob).abs()
        if fresh.any():
            assert difference[fresh].max() < TOLERANCE
        new, old = new + int(fresh.sum()), old + int((difference[~fresh] > 1e-3).sum())
    assert new > 50 and old > 5


def test_packed_is_row_by_row(collected: CollectingPPO) -> None:
    policy, buffer = collected.policy, collected.rollout_buffer
    frames = sorted(buffer.frames[:60], key=lambda frame: len(frame.tokens))
    batch, rows = buffer.samples(frames), rows_of(frames)
    weights = th.randn((3, len(batch.actions)), generator=th.Generator().manual_seed(0))
    results, gradients = [], []
    for observations in (batch.observations, rows):
        values, log_probs, entropy = policy.evaluate_actions(observations, batch.actions)
        assert entropy is not None
        out = th.stack((values.flatten(), log_probs, entropy))
        policy.zero_grad()
        (out * weights).mean().backward()
        results.append(out.detach())
        gradients.append(th.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    assert (results[0] - results[1]).abs().max() < TOLERANCE
    assert gradients[0].norm() > 1e-3
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 1e-4


@pytest.mark.parametrize("batch_size", [1, 7, 96, 10**6, None])
def test_every_action_appears_in_exactly_one_minibatch(collected: CollectingPPO, batch_size: int | None) -> None:
    buffer, serial = collected.rollout_buffer, 0
    kept = [frame.values for frame in buffer.frames]
    for frame in buffer.frames:
        frame.values = np.arange(serial, serial + len(frame.positions), dtype=np.float32)
        serial += len(frame.positions)
    batches = list(buffer.get(batch_size))
    seen = np.concatenate([batch.old_values.numpy() for batch in batches])
    assert np.sort(seen).tolist() == list(range(serial))
    by_serial, returns = (np.concatenate([getattr(f, name) for f in buffer.frames]) for name in ("actions", "returns"))
    for batch in batches:
        serials = batch.old_values.numpy().astype(int)
        assert batch.actions.tolist() == by_serial[serials].tolist()
        assert batch.returns.tolist() == returns[serials].tolist()
    for frame, values in zip(buffer.frames, kept, strict=True):
        frame.values = values


def test_minibatches_have_about_the_size_asked_for(collected: CollectingPPO) -> None:
    sizes = [len(batch.actions) for batch in collected.rollout_buffer.get(96)]
    assert abs(np.mean(sizes) - 96) < 20
    assert max(sizes) <= 96 + 48  # frames are not cut


@pytest.mark.parametrize("n_steps", [5, 16])
def test_frames_across_rollouts_are_yielded_once_and_later(n_steps: int) -> None:
    """With credit="episode" every action of an ended episode is learned from, so the books must balance exactly."""
    recorder, collected = rollouts(frame_ppo(8, n_steps, credit="episode"), 160 // n_steps)
    seen: dict[tuple[int, int], tuple[int, float, float]] = {}
    crossing = 0
    for rollout, frames in enumerate(collected):
        for frame in frames:
            crossing += frame.times[0] < rollout * n_steps
            for time, *action in zip(frame.times, frame.actions, frame.log_probs, frame.values, strict=True):
                key = frame.episode % 8, int(time)
                assert key not in seen
                seen[key] = (int(action[0]), float(action[1]), float(action[2]))
    # The buffer learns of an end with the next step, so one at the very last step is still to come.
    last = {env: time for env, time in recorder.ends if time < recorder.time - 1}
    expected = {key: action for key, action in recorder.actions.items() if key[1] <= last.get(key[0], -1)}
    assert seen == expected
    assert crossing > 5 and len(seen) > 500


def test_explained_variance_by_hand() -> None:
    buffer = frame_ppo(2, 4).rollout_buffer
    # Errors 0, 0, 1 and 1 have a variance of 1/4, as the returns have.
    buffer.returns = np.array([0, 0, 1, 1], dtype=np.float32)
    buffer.values = np.zeros(4, dtype=np.float32)
    assert buffer.explained_variance() == 0.0
    buffer.values = np.array([0, 0, 0.5, 0.5], dtype=np.float32)
    assert buffer.explained_variance() == 0.75
    assert buffer.explained_variance(np.array([True, False, True, False])) == 0.75


def test_nothing_is_explained_if_returns_differ_by_rounding_only() -> None:
    buffer = frame_ppo(2, 4).rollout_buffer
    buffer.returns = np.array([1, 1, np.nextafter(np.float32(1), 2)], dtype=np.float32)
    buffer.values = np.array([0, 1, 0], dtype=np.float32)
    assert np.isnan(buffer.explained_variance())


def test_diagnostics_of_sb3_see_the_values_of_the_frames(collected: CollectingPPO) -> None:
    buffer = collected.rollout_buffer
    assert np.array_equal(buffer.values, np.concatenate([frame.values for frame in buffer.frames]))
    advantages = np.concatenate([frame.advantages for frame in buffer.frames])
    assert np.allclose(buffer.returns - buffer.values, advantages, atol=1e-6)


# Credit on scripted episodes.

VALUE = 0.01  # of the action at time t: t / 100


def learned(credit: Any, problem: str, script: str, lam: float = 1.0, **config: Any) -> dict[str, TrainingFrame]:
    """Plays a script against a problem; returns the frames to learn from by their prompts."""
    env = ArithmeticVectorEnv(1, autoreset_mode="SameStep", obs_dtype="uint8", **{"frame_length": 64, **config})
    buffer = FrameRolloutBuffer(
        100, env.single_observation_space, env.single_action_space, "cpu", lam, 1.0, 1, env.config.grammar, 32, credit
    )
    observation, _ = env.reset(seed=0, options={"problem": problem})
    start, done = np.array([True]), np.array([False])
    for time, action in enumerate(ids(script)):
        assert not done[0], "the script continues after the end of the episode"
        following, reward, done, _, _ = env.step(np.array([action]))
        buffer.add(observation, np.array([[action]]), reward, start, th.tensor([VALUE * time]), th.tensor([-1.0]))
        observation, start = following, done
    assert done[0], "the script leaves the episode unfinished"
    # The next episode's first step shows the buffer that this one has ended.
    buffer.add(observation, np.array([[ids("<think>")[0]]]), np.zeros(1), start, th.zeros(1), th.zeros(1))
    buffer.compute_returns_and_advantage(th.zeros(1), start)
    frames = buffer.frames
    by_prompt = {spell(frame.tokens[1 : frame.tokens.tolist().index(EQUALS)]): frame for frame in frames}
    assert len(by_prompt) == len(frames)
    return by_prompt


def outcomes(frames: dict[str, TrainingFrame]) -> dict[str, float]:
    """The reward of each frame; only its last action may have one."""
    assert all((frame.rewards[:-1] == 0).all() for frame in frames.values())
    return {prompt: float(frame.rewards[-1]) for prompt, frame in frames.items()}


@pytest.mark.parametrize(
    "credit, script, expected",
    [
        # All frames are right.
        ("frame", CALL + RIGHT_CHILD + "</think> 1 4 3 <eos>", {ROOT: 1, CHILD: 1}),
        ("blame", CALL + RIGHT_CHILD + "</think> 1 4 3 <eos>", {ROOT: 1, CHILD: 1}),
        # The child is right, the parent is wrong.
        ("frame", CALL + RIGHT_CHILD + "</think> 1 4 4 <eos>", {ROOT: 0, CHILD: 1}),
        ("blame", CALL + RIGHT_CHILD + "</think> 1 4 4 <eos>", {ROOT: 0, CHILD: 1}),
        # The child answers a useful subtask wrongly, and the parent repeats its answer.
        ("frame", CALL + WRONG_CHILD + "</think> 2 4 3 <eos>", {ROOT: 0, CHILD: 0}),
        ("blame", CALL + WRONG_CHILD + "</think> 2 4 3 <eos>", {CHILD: 0}),
        # The child ends the episode with an illegal token: its parent has answered nothing.
        ("frame", CALL + "<think> 3 <eos>", {CHILD: 0}),
        ("blame", CALL + "<think> 3 <eos>", {CHILD: 0}),
        # A wrong question: the child is right, the parent is not.
        ("blame", "<think> <call> 8 9 + 5 5 </call> <think> </think> 3 5 1 <eos> </think> 1 5 3 <eos>",
         {ROOT: 0, "8 9 + 5 5": 1}),
        # A question without an answer is the parent's fault, whatever the child says.
        ("frame", "<think> <call> 8 / 0 </call> <think> </think> 0 <eos> </think> 1 <eos>", {ROOT: 0}),
        ("blame", "<think> <call> 8 / 0 </call> <think> </think> 0 <eos> </think> 1 <eos>", {ROOT: 0}),
        # Without any call.
        ("blame", "<think> 1 </think> 1 4 3 <eos>", {ROOT: 1}),
        ("blame", "1 4 2 <eos>", {ROOT: 0}),
        ("blame", "<eos>", {ROOT: 0}),
        # A second call is answered rightly, the first one was not: the parent was misled all the same.
        ("blame", CALL + WRONG_CHILD + "; <call> 1 + 1 </call> 2 <eos> </think> 1 4 3 <eos>", {CHILD: 0, "1 + 1": 1}),
    ],
)  # fmt: skip
def test_rewards_by_hand(credit: str, script: str, expected: dict[str, float]) -> None:
    assert outcomes(learned(credit, "98+45", script)) == expected


REDUCE = "<think> <call> 1 + 2 + 4 </call> <think> <call> 1 + 2 </call> <think> 3 0 </think> 3 <eos> ; "


def test_a_tail_call_that_keeps_the_answer_is_right() -> None:
    script = REDUCE + "<goto> 3 + 4 = <think> 7 0 </think> 7 <eos> </think> 7 <eos>"
    assert outcomes(learned("blame", "4+2+1", script)) == {"4 + 2 + 1": 1, "1 + 2 + 4": 1, "1 + 2": 1, "3 + 4": 1}


def test_a_tail_call_with_another_answer_misleads_the_caller() -> None:
    script = REDUCE + "<goto> 3 + 5 = <think> 8 0 </think> 8 <eos> </think> 8 <eos>"
    # The first frame handed on the wrong problem, the second solved what it was given.
    wrong = {"1 + 2 + 4": 0, "1 + 2": 1, "3 + 5": 1}
    assert outcomes(learned("blame", "4+2+1", script)) == wrong
    assert outcomes(learned("frame", "4+2+1", script)) == {**wrong, "4 + 2 + 1": 0}


def test_a_frame_that_calls_itself_by_a_tail_call_is_wrong() -> None:
    script = "<think> <call> 1 + 2 </call> <think> <goto> 1 + 2 ="
    frames = learned("frame", "3+4", script)
    assert outcomes(frames) == {"1 + 2": 0}
    assert GOTO in frames["1 + 2"].tokens


def test_a_call_that_repeats_its_own_frame_is_the_callers_fault() -> None:
    assert outcomes(learned("blame", "98+45", CALL + f"<think> <call> {CHILD} </call>")) == {CHILD: 0}


def test_prompts_and_injected_answers_are_no_actions() -> None:
    root = learned("frame", "98+45", CALL + RIGHT_CHILD + "</think> 1 4 3 <eos>")[ROOT]
    assert spell(root.tokens) == f"<problem> {ROOT} = <think> <call> {CHILD} </call> 3 4 1 </think> 1 4 3 <eos>"
    assert spell(root.actions) == f"<think> <call> {CHILD} </call> </think> 1 4 3 <eos>"
    assert root.times.tolist() == [*range(8), *range(18, 23)]  # the child acted from 8 to 17
    assert root.values == pytest.approx(root.times * VALUE)


def test_without_a_call_stack_an_episode_is_one_frame() -> None:
    script = f"<think> <call> {CHILD} <think> 3 1 4 1 </call> 3 4 1 </think> 1 4 3 <eos>"
    for credit in ("frame", "blame", "episode"):
        frames = learned(credit, "98+45", script, call_stack=False)
        assert outcomes(frames) == {ROOT: 1}
        assert spell(frames[ROOT].actions) == script


def test_advantages_of_frames_by_hand() -> None:
    frames = learned("frame", "98+45", CALL + RIGHT_CHILD + "</think> 1 4 3 <eos>")
    for frame in frames.values():  # lambda 1: the frame's reward minus the value
        assert frame.advantages == pytest.approx(1 - frame.values)
    child = learned("frame", "98+45", CALL + WRONG_CHILD + "<eos>", 0.0)[CHILD]  # lambda 0
    assert child.advantages == pytest.approx([VALUE] * (len(child.values) - 1) + [-child.values[-1]])


def test_episode_credit_rewards_the_roots_answer_along_the_whole_episode() -> None:
    script = CALL + WRONG_CHILD + "</think> 1 4 3 <eos>"  # the root saved it
    frames = learned("episode", "98+45", script)
    assert outcomes(frames) == {ROOT: 1, CHILD: 0}
    for frame in frames.values():
        assert frame.advantages == pytest.approx(1 - frame.values)


def test_episode_credit_chains_actions_in_time_across_frames() -> None:
    frames = learned("episode", "98+45", CALL + RIGHT_CHILD + "</think> 1 4 3 <eos>", lam=0.0)
    last = max(frame.times[-1] for frame in frames.values())
    for frame in frames.values():  # lambda 0: the next value in time minus this one, wherever the next action was
        expected = np.where(frame.times == last, 1 - VALUE * last, VALUE)
        assert frame.advantages == pytest.approx(expected, abs=1e-6)


def test_episode_credit_includes_the_frames_that_were_still_waiting() -> None:
    frames = learned("episode", "98+45", CALL + "<think> 3 <eos>")
    assert outcomes(frames) == {ROOT: 0, CHILD: 0}
    assert spell(frames[ROOT].actions) == f"<think> <call> {CHILD} </call>"
    assert spell(frames[CHILD].actions) == "<think> 3 <eos>"


ASKS_USELESS = "<think> <call> 4 2 / 2 </call> <think> <call> 4 2 - - 1 </call> "


def test_a_useless_subtask_does_not_excuse_the_caller() -> None:
    script = ASKS_USELESS + "<think> </think> 9 <eos> </think> 9 R 0 <eos> </think> 9 <eos>"
    # 24 / 2 asked 24 - (-1), was told 9, and answered 9: its own fault. The root asked rightly and is left out.
    assert outcomes(learned("blame", "24/2", script)) == {"4 2 / 2": 0, "4 2 - - 1": 0}
    useful = script.replace("4 2 - - 1", "2 / 2")
    assert outcomes(learned("blame", "24/2", useful)) == {"2 / 2": 0}


def test_a_tail_call_does_not_change_what_the_caller_asked() -> None:
    handed_on = "<think> <call> 4 2 / 2 </call> <think> <call> ( 4 - 2 ) - 3 </call> <think> <goto> 2 - 3 = "
    script = handed_on + "<think> </think> 9 <eos> </think> 9 R 0 <eos> </think> 9 <eos>"
    # 24 / 2 has no use for (4 - 2) - 3; that the answer came from a useful 2 - 3 is no excuse.
    assert outcomes(learned("blame", "24/2", script))["4 2 / 2"] == 0


def test_a_limit_blames_a_caller_that_waits_for_a_useless_answer() -> None:
    script = ASKS_USELESS + "<think> <ok> <ok>"
    emitted = len(script.split())
    assert outcomes(learned("blame", "24/2", script, max_tokens=emitted)) == {"4 2 / 2": 0, "4 2 - - 1": 0}
    useful = script.replace("4 2 - - 1", "2 / 2")
    assert outcomes(learned("blame", "24/2", useful, max_tokens=len(useful.split()))) == {"2 / 2": 0}


def test_every_iteration_learns_the_last_one_too() -> None:
    """Stable-Baselines3 asks for the rate after each rollout, when 1 - 1/E, ..., 0 of a run of E iterations remain."""
    for iterations, expected in ((1, [1.0]), (4, [1.0, 0.75, 0.5, 0.25])):
        rate = warm_up_and_decay(1.0, iterations)
        assert [rate(1 - (done + 1) / iterations) for done in range(iterations)] == pytest.approx(expected)
    long = warm_up_and_decay(2.0, 100)
    assert [long(1 - done / 100) for done in (1, 2, 100)] == pytest.approx([1.0, 1.98, 0.02])  # up in two, then down
