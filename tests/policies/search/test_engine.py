"""The engine: answers that depend on the model and the problem only, with their usage and their frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.agents.evaluation.transcripts import in_call_order, transcript, tree
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.call_stack import CallStacks, Ended
from o1nano.envs.core.config import EnvConfig, Limits
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import spell
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Problem, read
from o1nano.policies.decoding.compiled_forward import CompiledForward
from o1nano.policies.search import engine
from o1nano.policies.search.answers import Answer, solve
from tests.helpers.search import CONFIG, caller, some_problems
from tests.helpers.tiny import ids, random_legal, tiny_network


def same(one: list[Answer], other: list[Answer]) -> bool:
    return all(replace(a, frames=()) == replace(b, frames=()) for a, b in zip(one, other, strict=True))


def test_greedy_answers_do_not_depend_on_the_batch() -> None:
    network, problems = caller(2), some_problems()
    whole = solve(network, problems, CONFIG)
    assert len({(answer.text, answer.outcome, answer.tokens) for answer in whole}) >= 3
    for batch in (1, 5):
        assert same(solve(network, problems, CONFIG, batch=batch), whole)
    backwards = solve(network, problems[::-1], CONFIG, batch=3)
    assert same(backwards[::-1], whole)


def test_long_frames_are_decoded_alike_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = caller(), some_problems()
    config = EnvConfig(digits=(1, 2), frame_length=48, depth=4, max_tokens=120)
    short = solve(network, asked, config)
    monkeypatch.setattr(engine, "LONG_FRAME", 40)
    assert same(short, solve(network, asked, config))


def test_answers_stand_in_the_order_of_their_problems() -> None:
    problems = some_problems()
    assert [answer.problem for answer in solve(caller(), problems, CONFIG, batch=4)] == problems


def test_samples_are_reproducible_by_seed_and_vary() -> None:
    network, problems = caller(), some_problems(6)
    one, again, other = (solve(network, problems, CONFIG, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_the_temperature_sharpens() -> None:
    network, problems = caller(), some_problems(6)
    assert same(solve(network, problems, CONFIG, temperature=1e-4), solve(network, problems, CONFIG))


def replay(problem: Problem, config: EnvConfig, actions: list[int]) -> dict[str, Any]:
    """The terminal info of the environment when it is fed an answer's tokens."""
    env = ArithmeticEnv(**config.__dict__)
    env.reset(options={"problem": problem.text})
    for action in actions:
        _, _, terminated, _, info = env.step(np.int64(action))
    assert terminated
    return info


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_usage_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, temperature: float) -> None:
    network, emitted = caller(1), []
    step = CallStacks.step

    def spy(self: CallStacks, actions: np.ndarray) -> np.ndarray:
        emitted.append(int(actions[0]))
        return step(self, actions)

    for problem in some_problems(8):
        emitted.clear()
        with monkeypatch.context() as patch:
            patch.setattr(CallStacks, "step", spy)
            (answer,) = solve(network, [problem], CONFIG, temperature=temperature)
        info = replay(problem, CONFIG, emitted)
        for name in (
            "reasoning_tokens",
            "completion_tokens",
            "subtask_tokens",
            "subtasks",
            "depth",
            "longest_context",
            "revisions",
        ):
            assert getattr(answer.usage, name) == info[name]
        assert (answer.text, answer.outcome) == (info["answer"], info["outcome"])
        assert answer.correct == info["is_success"]
        assert answer.tokens == len(emitted)


def test_frames_are_kept_only_if_asked_for() -> None:
    network, problems = caller(seed=3), some_problems()
    assert not any(answer.frames for answer in solve(network, problems, CONFIG))
    kept = solve(network, problems, CONFIG, batch=5, keep_frames=True)
    assert same(kept, solve(network, problems, CONFIG))
    ended = [answer for answer in kept if answer.outcome == "answered"]
    assert ended
    for answer in ended:
        root = answer.frames[-1]
        assert root.depth == 0
        assert root.tokens[: len(answer.problem.prompt)] == bytes(answer.problem.prompt)


def test_correct_means_exactly_the_right_answer() -> None:
    network = tiny_network(grammar=Grammar(False, False))
    config = EnvConfig(thinking=False, call_stack=False, frame_length=16)
    with th.no_grad():
        for weight in (network.heads.completion.weight, network.heads.completion.bias):
            weight.zero_()
        network.heads.completion.bias[ids("7 <eos>")] = th.tensor([5.0, 4.0])
    texts = {"3+4": False, "70+7": False, "77777+0": False}
    for answer in solve(network, [read(text) for text in texts], config):
        assert answer.outcome == "frame_full" and not answer.correct and answer.text == ""
    with th.no_grad():  # the first answer token is 7 and then <eos>: the bias decides by what is legal
        network.heads.completion.bias[ids("7 <eos>")] = th.tensor([4.0, 5.0])
    answers = solve(network, [read(text) for text in ("3+4", "70+7", "3-4", "7+0")], config)
    assert [answer.text for answer in answers] == ["7"] * 4
    assert [answer.correct for answer in answers] == [True, False, False, True]


def test_no_problems_no_answers() -> None:
    assert solve(tiny_network(), [], CONFIG) == []


def test_progress_is_reported() -> None:
    done: list[int] = []
    solve(caller(), some_problems(7), CONFIG, batch=3, progress=done.append)
    assert done == list(range(1, 8))


def test_a_problem_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="frame_length=48"):
        solve(tiny_network(), [read("1" * 30 + "+" + "2" * 30)], CONFIG)


def ended_frames(text: str) -> list[Ended]:
    """The expert's frames in the order in which they end."""
    stacks, expert = CallStacks(1, Limits(96, 8, 4096), Grammar()), ExpertPolicy(Grammar())
    stacks.trace = []
    stacks.pose([0], [read(text).prompt])
    while not stacks.step(expert.predict(stacks.observe()))[0]:
        pass
    return stacks.trace


@pytest.mark.parametrize("text", ["98+45", "34-53", "74*68", "914/64", "(12+7)*5-8/2"])
def test_transcripts_are_in_call_order(text: str) -> None:
    ended = ended_frames(text)
    ordered = in_call_order(ended)
    assert [list(frame.tokens) for frame in ordered] == [frame.tokens for frame in demonstrate(read(text))]
    assert ordered != ended or len(ended) == 1


def test_the_call_order_of_an_answer_that_broke_off() -> None:
    # Two calls of the root have returned, the second had called one itself; the root never ended.
    ended = [Ended(0, 1, b"a"), Ended(0, 2, b"c"), Ended(0, 1, b"b")]
    assert [frame.tokens for frame in in_call_order(ended)] == [b"a", b"b", b"c"]


def test_a_transcript_shows_problem_tree_and_verdict() -> None:
    problem = read("98+45")
    frames = tuple(ended_frames("98+45"))
    answer = Answer(problem, "143", True, "answered", Usage(6, 4, 7), frames)
    lines = transcript(answer).splitlines()
    assert lines[0] == "98+45"
    assert lines[1].startswith("<problem> 9 8 + 4 5 = <think>")
    assert lines[2].startswith("  <subtask> 8 9 + 5 4 = <think>")
    assert lines[3] == "143  (right, 17 tokens)"
    wrong = transcript(replace(answer, text="144", correct=False))
    assert wrong.endswith("144  (wrong, 143 is right, 17 tokens)")
    assert spell(frames[-1].tokens) in wrong


def test_every_channel_of_a_tree_has_its_colour() -> None:
    answer = Answer(read("98+45"), "143", True, "answered", Usage(6, 4, 7), tuple(ended_frames("98+45")))
    styles = {str(span.style) for span in tree(answer).spans}
    assert len(styles) == 5 and "bold" in styles


def test_a_transcript_does_not_use_up_the_frames() -> None:
    frames = ended_frames("74*68")
    count = len(frames)
    in_call_order(frames)
    assert len(frames) == count


def test_random_play_is_what_the_helpers_say() -> None:
    masks = np.zeros((2, len(Grammar().legal[0])), dtype=bool)
    masks[0, 3] = masks[1, 5] = True
    assert random_legal(masks, np.random.default_rng(0)).tolist() == [3, 5]


def test_an_error_in_the_model_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a fault in the model")

    monkeypatch.setattr(CompiledForward, "__call__", broken)
    with pytest.raises(ZeroDivisionError, match="a fault in the model"):
        solve(network, [read("98+45")], EnvConfig())


def test_every_problem_has_an_answer() -> None:
    problems = [read(f"{a}+{b}") for a in range(4) for b in range(4)]
    answers = solve(tiny_network(), problems, EnvConfig(max_tokens=40), batch=5)
    assert [answer.problem for answer in answers] == problems
    assert all(answer.outcome != "running" for answer in answers)
