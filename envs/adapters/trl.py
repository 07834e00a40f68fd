"""TRL: an environment for ``environment_factory``, and a reward function for rows. Neither imports TRL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.text import ANSWER_FORMAT, Row, score
from o1nano.envs.text_env import TextEnv

TOOL_INSTRUCTIONS = (
    "Solve the problem with your tools. Call solve(expression) to work on a smaller problem first, and answer(value) "
    f"to answer what you see. {ANSWER_FORMAT}"
)
"""The prompt of a model that acts through the tools of ``TextEnv``."""


class RowEnv(TextEnv):
    """``TextEnv`` whose problem comes from the row of the data set: ``GRPOTrainer(environment_factory=RowEnv)``.

    The rollouts of a group must be attempts at one problem. TRL resets each of them with the columns of their common
    row, and says nothing of the group. An environment that drew its own problem would compare attempts at different
    ones, so a reset without a problem or a seed in the row is an error.

    Args:
        **config: The arguments of ``ArithmeticEnv``; by default problems of every family can be posed.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**{"operations": tuple(FAMILIES), **config})

    def reset(
        self,
        seed: int | None = None,
        problem: str | None = None,
        level: str | None = None,
        question: str | None = None,
        **columns: Any,
    ) -> str:
        """Poses the problem of a row.

        Args:
            seed: With neither ``question`` nor ``problem``, draws the problem; equal seeds draw equal ones.
            problem: Another name for ``question``.
            level: The level to draw from.
            question: What is asked, as in the rows of ``o1nano.envs.text.dataset``.
            **columns: Other columns; they are not read.

        Returns:
            The context of the problem. TRL appends it to the last message of the prompt.

        Raises:
            ConfigurationError: If the row has neither a question nor a seed.
            ProblemError: If the question is no problem.
        """
        given = question if problem is None else problem
        if given is None and seed is None:
            raise ConfigurationError(
                f"a row with {', '.join(columns) or 'no columns'}; expected a column 'question' or 'seed', "
                "so that all rollouts of a group are posed the same problem"
            )

        # A level beside a question is that of the row, not one to draw from.
        return super().reset(seed=seed, problem=given, level=level if given is None else None)


def tool_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns rows with a prompt for a model that calls tools; ``RowEnv`` adds the problem to it.

    Args:
        rows: Rows of ``o1nano.envs.text.dataset``.
    """
    return [{"prompt": _user(f"{TOOL_INSTRUCTIONS}\n\n"), "question": row["question"]} for row in rows]


def answer_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns rows with a prompt for a model that answers in one message; ``answer_reward`` pays it.

    Args:
        rows: Rows of ``o1nano.envs.text.dataset``.
    """
    prepared = []
    for row in rows:
        # The question stands in the prompt for the model, and beside it for the reward.
        prompt = _user(f"{ANSWER_FORMAT}\n\nProblem: {row['question']}")
        prepared.append({"prompt": prompt, "question": row["question"]})
    return prepared


def answer_reward(completions: Sequence[Any], question: Sequence[str], **columns: Any) -> list[float]:
    """Pays completions with ``o1nano.envs.text.score``: ``GRPOTrainer(reward_funcs=answer_reward)``.

    Args:
        completions: Texts, or conversations, of which the last message counts.
        question: The question of each.
        **columns: What TRL passes besides; it is not read.

    Returns:
        1.0 or 0.0 for each completion.
    """
    rewards = []
    for completion, asked in zip(completions, question, strict=True):
        rewards.append(score(_text(completion), {"question": asked}))
    return rewards


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def _text(completion: Any) -> str | None:
    """Returns the text of a completion; None if its last message is not the model's, or has none."""
    if isinstance(completion, str):
        return completion

    # A conversation that ends with a tool's message has no answer: the model was cut off.
    last: Mapping[str, Any] = completion[-1] if completion else {}
    content = last.get("content") if last.get("role") == "assistant" else None
    if isinstance(content, list):  # parts, of which some may be pictures
        return "".join(part.get("text", "") for part in content)
    return content
