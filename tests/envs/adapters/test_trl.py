"""The adapter to TRL, as TRL uses it: reset with the columns of a row, tools by name, rewards by keyword."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from o1nano.envs.adapters.trl import RowEnv, answer_reward, answer_rows, tool_rows
from o1nano.envs.errors import ConfigurationError, O1NanoError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level
from o1nano.envs.text import dataset


@pytest.mark.parametrize("family", FAMILIES)
def test_the_problem_comes_from_the_row(family: str) -> None:
    rows = dataset(Level(family, 2), 3, "all")
    for row, columns in zip(rows, tool_rows(rows), strict=True):
        env = RowEnv(frame_length=256)
        assert env.reset(**columns) == f"Problem: {row['question']}"
        env.answer(row["answer"])
        assert env.get_reward() == 1.0


def test_rollouts_with_one_seed_are_posed_one_problem() -> None:
    group = [RowEnv() for _ in range(4)]
    assert len({env.reset(prompt=[], seed=3, level="addition/3") for env in group}) == 1
    assert group[0].reset(prompt=[], seed=4, level="addition/3") != group[1].context


@pytest.mark.parametrize("columns", [{}, {"prompt": [{"role": "user", "content": ""}]}, {"level": "addition/1"}])
def test_a_row_without_a_problem_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="expected a column 'question' or 'seed'"):
        RowEnv().reset(**columns)


def test_the_tools_are_solve_and_answer() -> None:
    methods = {name for name, _ in inspect.getmembers(RowEnv, inspect.isfunction) if name[0] != "_"}
    assert methods - {"reset", "get_reward"} == {"solve", "answer"}


def test_a_rollout_that_never_answers_is_paid_nothing_and_the_next_begins_afresh() -> None:
    env = RowEnv()
    env.reset(question="98+45")
    env.solve("8+5")
    assert env.get_reward() == 0.0
    env.reset(question="1+1")
    env.answer("2")
    assert env.get_reward() == 1.0
    env.reset(question="98+45")
    assert env.get_reward() == 0.0


def test_completions_are_paid_exactly() -> None:
    completions: list[Any] = [
        "The answer is 143.",
        [{"role": "assistant", "content": "\\boxed{143}"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "143"}]}],
        [{"role": "assistant", "content": "143 or 144"}],
        [{"role": "assistant", "content": "143"}, {"role": "tool", "content": "143"}],
        [{"role": "user", "content": "143"}],
        [{"role": "assistant", "content": None}],
        [],
        "",
    ]
    paid = answer_reward(completions=completions, question=["98+45"] * len(completions), prompts=[], trainer_state=None)
    assert paid == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_prompts_are_conversations_that_do_not_give_the_answer_away() -> None:
    rows = dataset("multiplication/4", 5, phrasing="symbolic")
    for row, answered, tooled in zip(rows, answer_rows(rows), tool_rows(rows), strict=True):
        for columns in (answered, tooled):
            assert [message["role"] for message in columns["prompt"]] == ["user"]
            assert row["answer"] not in columns["prompt"][0]["content"]
            assert set(columns) == {"prompt", "question"}
        assert row["question"] in answered["prompt"][0]["content"]


def test_an_unreadable_turn_is_an_error_that_trl_shows_the_model() -> None:
    env = RowEnv()
    env.reset(question="98+45")
    with pytest.raises(O1NanoError):
        env.answer("143 or 144")
    assert not env.ended
