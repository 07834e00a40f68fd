"""The environment in whole turns of text: the expert is paid everywhere, attacks nowhere, and the limits hold."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ActionError, ConfigurationError, O1NanoError, ProblemError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level
from o1nano.envs.text import dataset
from o1nano.envs.text_env import ENDED, TextEnv, TextFrame, expert_turn

ALL: dict[str, Any] = {"operations": tuple(FAMILIES), "frame_length": 640, "depth": 64, "max_tokens": 16_384}


def play_expert(env: TextEnv, context: str) -> float:
    """Plays the expert as a language model: it sees text, and calls tools."""
    while context != ENDED:
        tool, argument = expert_turn(context)
        context = {"solve": env.solve, "answer": env.answer}[tool](argument)
    return env.get_reward()


def assert_the_expert_is_paid(family: str, problems: int) -> None:
    env = TextEnv(**ALL)
    for row in dataset(Level(family, 2), problems, "all", seed=5):
        assert play_expert(env, env.reset(problem=row["question"])) == 1.0, row["question"]
        assert env.info["is_success"] and env.info["answer"] == env.frames[-1].answer


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_is_paid(family: str) -> None:
    assert_the_expert_is_paid(family, 20)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_is_paid_always(family: str) -> None:
    assert_the_expert_is_paid(family, 500)


@pytest.mark.parametrize("level", ["multiplication/4", "division/5x2", "expression/2x4", "chain/1x6", "gcd/4"])
def test_the_expert_is_paid_on_longer_problems(level: str) -> None:
    env = TextEnv(**ALL)
    for seed in range(5):
        assert play_expert(env, env.reset(seed=seed, level=level)) == 1.0


def test_the_same_seed_poses_the_same_problem_as_in_the_token_environment() -> None:
    env, tokens = TextEnv(), ArithmeticEnv()
    for seed in (0, 1, None, None, 7):
        _, info = tokens.reset(seed=seed)
        assert env.reset(seed=seed) == f"Problem: {info['problem']}"


def test_a_subtask_by_hand() -> None:
    env = TextEnv()
    assert env.reset(problem="98+45+7") == "Problem: 98+45+7"
    assert env.solve("98 plus 45") == "Subtask: 98+45"
    assert env.solve("8+5") == "Subtask: 8+5"
    assert env.answer("13") == "Subtask: 98+45\n8+5 = 13"
    assert env.answer("143") == "Problem: 98+45+7\n98+45 = 143"
    assert env.get_reward() == 0.0 and not env.ended
    assert env.answer("150") == ENDED
    assert env.get_reward() == 1.0 and env.ended
    assert env.frames == [
        TextFrame(2, "Subtask: 8+5", "13"),
        TextFrame(1, "Subtask: 98+45\n8+5 = 13", "143"),
        TextFrame(0, "Problem: 98+45+7\n98+45 = 143", "150"),
    ]


def test_usage_is_that_of_the_same_tokens() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    env.solve("8+5")
    env.answer("13")
    env.answer("143")
    # 7 tokens of the prompt, then: <think> <call> 8+5 </call> (3 1 <eos>) 3 1 </think> 1 4 3 <eos>
    assert env.usage == Usage(
        reasoning_tokens=2, completion_tokens=8, subtask_tokens=4, subtasks=1, depth=2, longest_context=20, paths=1
    )


def test_open_frames_are_shown_too() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    env.solve("8+5")
    assert env.frames == [TextFrame(1, "Subtask: 8+5", None), TextFrame(0, "Problem: 98+45", None)]


def test_the_environment_computes_nothing() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    env.solve("98+45")
    assert env.answer("7") == "Problem: 98+45\n98+45 = 7"
    assert env.answer("143") == ENDED
    assert env.get_reward() == 1.0


@pytest.mark.parametrize(
    ("turns", "outcome"),
    [
        (["answer 144"], "answered"),
        (["answer -143"], "answered"),
        (["answer 0143"], "answered"),
        (["answer 143 R 0"], "answered"),
        (["answer 341"], "answered"),
        (["solve 98+45", "answer 143", "answer 144"], "answered"),
        (["solve 98+45", "answer 143", "answer 341"], "answered"),
        (["solve 98+45", "solve 98+45"], "self_call"),
        (["solve 98+45", "solve 98 plus 45"], "self_call"),
        (["solve 1+2", "solve 2+1", "solve 1+2", "solve 2+1"], "too_deep"),
        (["solve 1+2", "answer 3"] * 8, "frame_full"),
        (["solve 1+2", "answer " + "3" * 100], "frame_full"),
        (["answer " + "143" * 100], "frame_full"),
        (["solve 1+2", "solve 2+1", "answer 143", "answer 143", "answer 0"], "answered"),
    ],
)
def test_attacks_end_unpaid(turns: list[str], outcome: str) -> None:
    env = TextEnv(frame_length=48, depth=4)
    env.reset(problem="98+45")
    for turn in turns:
        tool, _, argument = turn.partition(" ")
        context = {"solve": env.solve, "answer": env.answer}[tool](argument)
        if env.ended:
            break
    assert context == ENDED
    assert (env.get_reward(), env.info["outcome"], env.info["is_success"]) == (0.0, outcome, False)


def test_tokens_run_out() -> None:
    env = TextEnv(max_tokens=12)
    env.reset(problem="98+45")
    env.solve("8+5")
    env.answer("13")
    assert env.answer("143") == ENDED
    assert (env.get_reward(), env.info["outcome"]) == (0.0, "out_of_tokens")


@pytest.mark.parametrize(
    ("tool", "argument"),
    [
        *(
            ("answer", text)
            for text in ("", "143 or 144", "98+", "one", "int('143')", "1 4 3", "<eos>", "143 <eos>", "(")
        ),
        *(("answer", text) for text in ("98+45", "_", "==", "143</think>", "9" * 10 + "x")),
        *(
            ("solve", text)
            for text in ("", "143", "98+", "import os", "98+45)", "<call>", "8/0+", "gcd(8, 4)", "a" * 999)
        ),
        ("solve", "1+" * 5000 + "1"),
        ("solve", "(" * 5000),
    ],
)
def test_what_cannot_be_read_is_refused_and_changes_nothing(tool: str, argument: str) -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    usage = env.usage
    with pytest.raises(O1NanoError) as refused:
        {"solve": env.solve, "answer": env.answer}[tool](argument)
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    assert (env.context, env.usage, env.ended) == ("Problem: 98+45", usage, False)
    env.answer("143")
    assert env.get_reward() == 1.0


def test_before_the_first_reset_there_is_nothing() -> None:
    env = TextEnv()
    assert (env.context, env.frames, env.usage, env.get_reward()) == (ENDED, [], Usage(), 0.0)


def test_no_turn_counts_before_a_reset_or_after_the_end() -> None:
    env = TextEnv()
    for _ in range(2):
        for tool in (env.solve, env.answer):
            with pytest.raises(ActionError, match="reset"):
                tool("1+1")
        assert env.get_reward() == 0.0
        env.reset(problem="98+45")
        env.answer("144")
    with pytest.raises(ActionError):
        env.answer("143")
    assert env.get_reward() == 0.0


def test_nothing_is_left_over_for_the_next_episode() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    env.answer("143")
    assert env.reset(problem="1+1") == "Problem: 1+1"
    assert env.get_reward() == 0.0
    assert env.frames == [TextFrame(0, "Problem: 1+1", None)]


def test_a_refused_reset_changes_nothing() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    for arguments, error in (
        ({"problem": "who"}, O1NanoError),
        ({"problem": "gcd(8, 4)"}, ProblemError),
        ({"level": "love/3"}, ConfigurationError),
        ({"problem": "1+" * 200 + "1"}, ConfigurationError),
    ):
        with pytest.raises(error):
            env.reset(**arguments)  # type: ignore[arg-type]
    assert env.context == "Problem: 98+45"
    env.answer("143")
    assert env.get_reward() == 1.0


def test_without_a_call_stack_there_are_no_subtasks() -> None:
    env = TextEnv(thinking=False, call_stack=False)
    env.reset(problem="9+4")
    with pytest.raises(ActionError, match="grammar"):
        env.solve("1+1")
    env.answer("13")
    assert env.get_reward() == 1.0


def test_functions_and_formulas_where_operations_have_them() -> None:
    env = TextEnv(operations=("countdown",))
    env.reset(problem="make 24 from 7, 7, 10, 13")
    assert env.solve("make(24, 1, 10, 13)") == "Subtask: make(24, 1, 10, 13)"
    assert env.answer("(10+13)+1") == "Problem: make 24 from 7, 7, 10, 13\nmake(24, 1, 10, 13) = (10+13)+1"
    env.answer("10 + 13 + 7 ÷ 7")
    assert env.get_reward() == 1.0


def test_the_public_methods_are_the_tools_and_have_what_their_schemas_need() -> None:
    methods = {name for name, _ in inspect.getmembers(TextEnv, inspect.isfunction) if name[0] != "_"}
    assert methods == {"reset", "get_reward", "solve", "answer"}
    for tool in (TextEnv.solve, TextEnv.answer):
        signature = inspect.signature(tool)
        assert all(name in str(inspect.getdoc(tool)) for name in list(signature.parameters)[1:])


def test_a_number_is_read_like_its_text() -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    env.answer(np.int64(143))  # type: ignore[arg-type]
    assert env.get_reward() == 1.0
