"""The expert: its reference frames, token by token, and their replay through the rules."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

import o1nano  # noqa: F401  registers the ids
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.call_stack import CallStacks, Outcome
from o1nano.envs.core.config import Limits
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar, State
from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.vocab import CALL, EOS, EQUALS, REVISE, SUBTASK, spell
from o1nano.envs.problems.expert import Frame, demonstrate, flatten
from o1nano.envs.problems.problem import Problem, read
from o1nano.envs.problems.registry import expected_answer, read_task
from o1nano.envs.problems.verifier import frame_answer
from o1nano.envs.vector import ArithmeticVectorEnv
from tests.helpers.expressions import expert_script
from tests.helpers.play import ids, problems

REFERENCE = [
    "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> «3 4 1» </think> 1 4 3 <eos>",
    "<problem> what is 9 8 plus 4 5 ? = <think> <call> 8 9 + 5 4 </call> «3 4 1» </think> 1 4 3 <eos>",
    "<problem> 8 9 1 4 / 6 4 = <think> <call> 4 1 9 8 / 4 6 </call> «9 3 1 R 8 1» </think> 1 3 9 R 1 8 <eos>",
    "<problem> 8 / 4 = <think> <call> 8 / 4 </call> «2 R 0» </think> 2 <eos>",
    "<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1 <eos>",
    "<subtask> 9 9 + 1 = <think> 0 1 0 1 </think> 0 0 1 <eos>",
    "<subtask> 3 5 - 4 3 = <think> 9 1 1 0 </think> 9 1 <eos>",
    "<subtask> 4 3 - 3 5 = <think> 1 0 8 1 <call> 3 5 - 4 3 </call> «9 1» </think> - 9 1 <eos>",
    "<subtask> 7 4 * 6 = <think> 2 4 8 2 </think> 2 8 2 <eos>",
    "<subtask> 7 4 * 6 8 = <think> <call> 7 4 * 6 </call> «2 8 2» ; <call> 7 4 * 8 </call> «6 7 3» ; "
    "<call> 8 2 + 6 7 3 </call> «4 0 4» </think> 2 4 0 4 <eos>",
    "<subtask> 4 1 9 8 / 4 6 = <think> <call> 1 9 8 / 4 6 </call> «3 1 R 9 5» ; "
    r"<call> 4 9 5 \ 4 6 </call> «9 R 8 1» </think> 9 3 1 R 8 1 <eos>",
    r"<subtask> 8 / 4 6 = <think> <call> 8 \ 4 6 </call> «0 R 8» </think> 0 R 8 <eos>",
    r"<subtask> 8 \ 4 6 = <think> 0 <ok> </think> 0 R 8 <eos>",
    r"<subtask> 5 0 5 \ 4 6 = <think> 7 <call> 4 6 * 7 </call> «8 4 4» <call> 5 0 5 - 8 4 4 </call> «7 5» "
    "; 3 0 9 1 <ok> </think> 7 R 7 5 <eos>",
    "<subtask> ( 2 1 + 7 ) * 5 - 8 / 2 = <think> <call> 2 1 + 7 </call> «9 1» ; <goto> 9 1 * 5 - 8 / 2 =",
    "<subtask> 9 1 * 5 - 8 / 2 = <think> <call> 9 1 * 5 </call> «5 9» ; <goto> 5 9 - 8 / 2 =",
    "<subtask> 5 9 - 8 / 2 = <think> <call> 8 / 2 </call> «4 R 0» ; <goto> 5 9 - 4 =",
    "<subtask> - 3 - 3 = <think> <call> 3 + 3 </call> «6» </think> - 6 <eos>",
    "<subtask> - 3 + 5 = <think> <call> 5 - 3 </call> «2» </think> 2 <eos>",
    "<subtask> 3 + - 5 = <think> <call> 3 - 5 </call> «- 2» </think> - 2 <eos>",
    "<subtask> 3 - - 5 = <think> <call> 3 + 5 </call> «8» </think> 8 <eos>",
    "<subtask> - 3 * 4 = <think> <call> 3 * 4 </call> «2 1» </think> - 2 1 <eos>",
    "<subtask> - 8 / - 2 = <think> <call> 8 / 2 </call> «4 R 0» </think> 4 R 0 <eos>",
    "<problem> gcd ( 4 8 , 3 6 ) = <think> <call> gcd 8 4 , 6 3 </call> «2 1» </think> 1 2 <eos>",
    "<subtask> gcd 8 4 , 6 3 = <think> <call> 8 4 / 6 3 </call> «1 R 2 1» ; <goto> gcd 6 3 , 2 1 =",
    "<subtask> gcd 2 1 , 0 = <think> </think> 2 1 <eos>",
    "<subtask> mod 2 1 + 4 3 , 7 = <think> <call> 2 1 + 4 3 </call> «6 4» ; <goto> mod 6 4 , 7 =",
    "<subtask> mod 6 4 , 7 = <think> <call> 6 4 / 7 </call> «6 R 4» </think> 4 <eos>",
    "<subtask> mod - 6 4 , 7 = <think> <call> 6 4 / 7 </call> «6 R 4» ; <call> 7 - 4 </call> «3» </think> 3 <eos>",
    "<subtask> mod - 4 1 , 7 = <think> <call> 4 1 / 7 </call> «2 R 0» </think> 0 <eos>",
    "<subtask> total 3 , 4 1 , 5 1 = <think> <call> 3 + 4 1 </call> «7 1» ; <goto> total 7 1 , 5 1 =",
    "<subtask> total 7 1 , 5 1 = <think> <call> 7 1 + 5 1 </call> «2 3» </think> 2 3 <eos>",
    "<subtask> compare 3 2 1 , 3 2 = <think> == == > </think> > <eos>",
    "<subtask> compare 1 2 , 2 1 = <think> < > </think> > <eos>",
    "<subtask> compare 2 1 , 3 1 = <think> < < </think> < <eos>",
    "<subtask> compare - 5 , - 3 = <think> <call> compare 3 , 5 </call> «<» </think> < <eos>",
    "<subtask> compare - 5 , 3 = <think> </think> < <eos>",
    "<subtask> max 3 , 4 1 , 5 = <think> <call> compare 3 , 4 1 </call> «<» ; <goto> max 4 1 , 5 =",
    "<subtask> max 4 1 , 5 = <think> <call> compare 4 1 , 5 </call> «>» </think> 4 1 <eos>",
    "<problem> 3 * x - 4 equals 1 1 = <think> <call> solve 3 , - 4 , 1 1 </call> «5» </think> 5 <eos>",
    "<subtask> solve 3 , - 4 , 1 1 = <think> <call> 1 1 - - 4 </call> «5 1» ; <call> 5 1 / 3 </call> «5 R 0» </think> "
    "5 <eos>",
    "<subtask> 3 * 6 5 4 = <think> <call> 6 5 4 * 3 </call> «8 6 3 1» </think> 8 6 3 1 <eos>",
    "<subtask> make 4 2 , 3 , 8 = <think> <call> 8 + 3 </call> «1 1» ; 7 <wrong> "
    "<revise> <call> 8 * 3 </call> «4 2» ; 0 0 <ok> </think> 8 * 3 <eos>",
    "<subtask> make 4 2 , 1 , 4 , 5 = <think> <call> 4 2 / 4 </call> «6 R 0» <call> make 6 , 1 , 5 </call> «5 + 1» "
    "<ok> </think> 4 * ( 5 + 1 ) <eos>",
    "<subtask> make 4 2 , 2 1 = <think> </think> _ <eos>",
    "<subtask> make 0 1 , 2 , 3 = <think> <call> 3 + 2 </call> «5» ; 5 <wrong> "
    "<revise> <call> 3 * 2 </call> «6» ; 6 <wrong> </think> _ <eos>",
    "<subtask> make 4 2 , 3 , 3 , 8 , 8 = <think> </think> 8 / ( 3 - ( 8 / 3 ) ) <eos>",
]
REVISED = (
    r"<subtask> 5 0 5 \ 4 6 = <think> 8 <call> 4 6 * 8 </call> «2 1 5» <call> 5 0 5 - 2 1 5 </call> «- 7» <wrong> "
    "<revise> 7 <call> 4 6 * 7 </call> «8 4 4» <call> 5 0 5 - 8 4 4 </call> «7 5» ; 3 0 9 1 <ok> "
    "</think> 7 R 7 5 <eos>"
)


def marked(tokens: list[int], emitted: list[bool]) -> str:
    """Spells a frame with its injected tokens in «»."""
    text, inside, prompt_end = "", False, tokens.index(EQUALS)
    for position, (token, own) in enumerate(zip(tokens, emitted, strict=True)):
        injected = not own and position > prompt_end
        text += "»" * (inside and not injected) + " " + "«" * (injected and not inside) + spell([token])
        inside = injected
    return text.strip()


def prompt_of(reference: str) -> list[int]:
    tokens = ids(reference.replace("«", "").replace("»", ""))
    return tokens[: tokens.index(EQUALS) + 1]


@pytest.mark.parametrize("reference", REFERENCE)
def test_reference_frames(reference: str) -> None:
    script = expert_script(prompt_of(reference))
    assert marked(script.tokens, script.emitted) == reference


def test_demonstrated_mistakes_are_found_and_revised() -> None:
    scripts = [expert_script(prompt_of(REVISED), np.random.default_rng(seed), mistake_rate=0.5) for seed in range(40)]
    frames = {marked(script.tokens, script.emitted) for script in scripts}
    assert REVISED in frames
    assert all(frame.endswith("7 R 7 5 <eos>") for frame in frames)


def test_without_a_generator_there_are_no_mistakes() -> None:
    assert REVISE not in expert_script(prompt_of(REVISED), None, mistake_rate=1.0).tokens


def test_without_thinking_the_answer_follows_at_once() -> None:
    script = expert_script(ids("<problem> 9 8 + 4 5 ="), thinking=False)
    assert spell(script.tokens) == "<problem> 9 8 + 4 5 = 1 4 3 <eos>"


@pytest.mark.parametrize("prompt", ["<subtask> 1 + =", "<subtask> 1 / 0 =", "<subtask> 7 / 2 + 1 =", "<problem> 1 2 ="])
def test_what_is_no_problem_has_no_frame(prompt: str) -> None:
    with pytest.raises(ProblemError):
        ExpertPolicy(Grammar()).predict([ids(prompt)])


def test_demonstration_has_every_frame_root_first_in_the_order_of_calls() -> None:
    frames = [spell(frame.tokens).split(" = ")[0] for frame in demonstrate(read("47*86"))]
    root, product, last_sum = "<problem> 4 7 * 8 6", "<subtask> 7 4 * 6 8", "<subtask> 8 2 + 6 7 3"
    assert frames == [root, product, "<subtask> 7 4 * 6", "<subtask> 7 4 * 8", last_sum]


def count_emitted(frames: list[Frame]) -> tuple[int, int]:
    return sum(sum(frame.emitted) for frame in frames), max(len(frame.tokens) for frame in frames)


def test_cost_of_a_sum_by_hand() -> None:
    # Root 1 + 1 + 6 + 1 + 4, child 1 + 4 + 1 + 4 emitted; see test_rules for the same problem run by the rules.
    assert count_emitted(demonstrate(read("98+45"))) == (13 + 10, 23)


@given(problems(), st.sampled_from((0.0, 0.5, 1.0)), st.integers(0, 2**32 - 1))
def test_every_frame_answers_its_own_prompt(problem: Problem, mistake_rate: float, seed: int) -> None:
    for frame in demonstrate(problem, np.random.default_rng(seed), mistake_rate):
        if frame.tokens[-1] == EOS:
            given_ = frame_answer(bytes(frame.tokens[: frame.tokens.index(EQUALS) + 1]))
            assert given_ and spell(frame.tokens).endswith(f"{spell(given_)} <eos>")
        else:  # a tail call asks for something of the same value
            assert value(frame.tokens[frame.tokens.index(EQUALS) - len(frame.tokens) :]) == value(frame.tokens)


def value(tokens: list[int]) -> str:
    """The answer to the expression before the first ``=`` (of a prompt) or after the last ``<goto>``."""
    goto = ids("<goto>")[0]
    start = len(tokens) - tokens[::-1].index(goto) if tokens[0] != SUBTASK else 1
    task = read_task(tokens[start : tokens.index(EQUALS, start)], least_first=True)
    return spell(expected_answer(task, least_first=False))


@given(problems(), st.sampled_from((0.0, 1.0)), st.integers(0, 2**32 - 1))
def test_demonstrations_replayed_through_the_rules_are_what_the_rules_make(
    problem: Problem, mistake_rate: float, seed: int
) -> None:
    frames = demonstrate(problem, np.random.default_rng(seed), mistake_rate)
    stacks = CallStacks(1, Limits(frame_length=256, max_tokens=10**6), Grammar(functions=True))
    stacks.pose([0], [problem.prompt])
    stacks.trace = []
    scripts = {bytes(frame.tokens[: frame.tokens.index(EQUALS) + 1]): frame.tokens for frame in frames}
    outcome, steps = Outcome.RUNNING, 0
    while outcome == Outcome.RUNNING:
        shown = stacks.open_frames(0)[-1].tolist()
        outcome = Outcome(stacks.step(np.array([scripts[bytes(shown[: shown.index(EQUALS) + 1])][len(shown)]]))[0])
        steps += 1
    assert outcome == Outcome.ANSWERED
    assert stacks.answer(0) == problem.answer
    # Equal prompts may have been answered with different mistakes: the frames that ran are among the demonstrated ones.
    assert {ended.tokens for ended in stacks.trace} <= {bytes(frame.tokens) for frame in frames}
    assert len(stacks.trace) == len(frames) or mistake_rate > 0
    assert steps == count_emitted(frames)[0] or mistake_rate > 0


FLAT = (
    "<problem> 4 * 8 = <think> <call> 4 * 8 <think> 2 3 </call> 2 3 </think> 3 2 <eos>",
    "<problem> ( 1 + 2 ) * 3 = <think> <call> ( 1 + 2 ) * 3 <think> <call> 1 + 2 <think> 3 0 </call> 3 ; "
    "<call> 3 * 3 <think> 9 0 </call> 9 </call> 9 </think> 9 <eos>",
)


@pytest.mark.parametrize("reference", FLAT)
def test_a_solution_in_one_frame(reference: str) -> None:
    (frame,) = demonstrate(read(reference.partition("= <think>")[0].removeprefix("<problem>")), call_stack=False)
    assert spell(frame.tokens) == reference
    assert frame.emitted == [index >= frame.tokens.index(EQUALS) + 1 for index in range(len(frame.tokens))]


@given(problems(), st.integers(0, 2**32 - 1))
def test_one_frame_holds_what_was_thought_in_all_of_them_mistakes_included(problem: Problem, seed: int) -> None:
    frames, grammar = demonstrate(problem, np.random.default_rng(seed), mistake_rate=0.5), Grammar(True, False, True)
    flat, state = flatten(frames), State.EMPTY
    for token, emitted in zip(flat.tokens, flat.emitted, strict=True):
        assert not emitted or grammar.legal[state, token], spell(flat.tokens)
        state = grammar.run([token], state)
    assert state == State.DONE
    assert flat.tokens.count(CALL) == len(frames) - 1
    mistakes = [frame.tokens[index] for frame in frames for index in frame.mistakes]
    assert sorted(flat.tokens[index] for index in flat.mistakes) == sorted(mistakes)


@settings(max_examples=25)
@given(problems(), st.sampled_from(((True, True), (True, False), (False, False))))
def test_the_expert_policy_solves_every_problem_from_observations_alone(
    problem: Problem, modes: tuple[bool, bool]
) -> None:
    assert problem.level is not None
    thinking, call_stack = modes
    limits = {"frame_length": 256} if call_stack else {"frame_length": 4096, "max_tokens": 4096}
    env = ArithmeticEnv(operations=(problem.level.family,), thinking=thinking, call_stack=call_stack, **limits)
    observation, _ = env.reset(seed=0)
    env.episodes.pose([0], [problem])
    observation, expert, terminated = env.episodes.stacks.observe()[0], ExpertPolicy(env), False
    while not terminated:
        observation, reward, terminated, _, info = env.step(expert.predict(observation[None])[0])
    assert (reward, info["outcome"]) == (1.0, "answered")
    assert info["answer"] == info["expected"] == problem.answer_text


MODES = ({}, {"thinking": False, "call_stack": False}, {"call_stack": False, "frame_length": 512})


@pytest.mark.parametrize("mode", MODES)
def test_the_expert_takes_what_it_needs_from_the_environment(mode: dict[str, Any]) -> None:
    given = {"operations": ("addition",), "digits": 1, "obs_dtype": "uint8", **mode}
    name = "o1nano/Arithmetic-v0"
    single = gym.make(name, **given)
    synchronous = gym.make_vec(name, num_envs=2, vectorization_mode="sync", **given)
    native = ArithmeticVectorEnv(2, autoreset_mode="SameStep", **given)
    for env in (single, synchronous, native, DummyVecEnv([lambda: gym.make(name, **given)]), GymnasiumVecEnv(native)):
        expert = ExpertPolicy(env)
        assert expert.thinking == mode.get("thinking", True) and expert.call_stack == mode.get("call_stack", True)
    observation, _ = single.reset(seed=0)
    expert, reward, terminated = ExpertPolicy(single), 0.0, False
    while not terminated:
        observation, reward, terminated, _, _ = single.step(expert.predict(observation[None])[0])
    assert reward == 1.0


def test_the_expert_acts_in_our_environments_only() -> None:
    for env in (gym.make("CartPole-v1"), gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"), None):
        with pytest.raises(ConfigurationError, match="expected one of o1nano, or its grammar"):
            ExpertPolicy(env)


def test_a_quotient_that_is_no_digit_cannot_be_demonstrated() -> None:
    """The grammar lets an agent ask for it; the expert must not answer with a token that there is not."""
    shown = np.array([ids("<subtask> 9 9 9 9 \\ 1 = <think>")], dtype=np.uint8)
    with pytest.raises(ProblemError, match=r"9999\\1 is not a digit; expected a quotient from 0 to 9"):
        ExpertPolicy(Grammar()).predict(shown)
