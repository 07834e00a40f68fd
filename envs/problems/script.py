"""The script of a frame, on which the expert of a family writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from o1nano.envs.language.expression import Task, render
from o1nano.envs.language.vocab import CALL, END_CALL, EQUALS, GOTO, STEP
from o1nano.envs.problems.registry import expected_answer


class Script:
    """One frame as the expert writes it: its tokens, which of them are the agent's, and the subtasks that it calls.

    Args:
        prompt: ``<problem> ... =`` or ``<subtask> ... =``.
        rng: Source of demonstrated mistakes; None for none.
        mistake_rate: Probability of a wrong first guess where a family can guess, so that revision is demonstrated.

    Attributes:
        tokens: The whole frame, prompt and injected answers included.
        emitted: For each token, whether an agent emits it (prompts and injected answers are not actions).
        mistakes: Indices of tokens that are wrong on purpose: to be repaired, not to be imitated.
        children: The subtasks in the order of their calls; a tail call is the last one.
    """

    def __init__(
        self, prompt: Sequence[int], rng: np.random.Generator | None = None, mistake_rate: float = 0.0
    ) -> None:
        # A prompt is the environment's: an agent emits none of it.
        self.tokens = list(prompt)
        self.emitted = [False] * len(prompt)
        self.mistakes: list[int] = []
        self.children: list[Task] = []
        self.rng = rng
        self.mistake_rate = mistake_rate

    def write(self, *tokens: int) -> None:
        """Emits tokens.

        Args:
            tokens: Token ids.
        """
        self.tokens += tokens
        self.emitted += [True] * len(tokens)

    def call(self, task: Task) -> list[int]:
        """Emits a call, after which its answer is injected.

        Args:
            task: The subtask.

        Returns:
            The injected answer, least significant digit first.
        """
        self.write(CALL, *render(task, least_first=True), END_CALL)
        self.children.append(task)

        # The environment writes the answer after "</call>", so it is not an action.
        answer = expected_answer(task, least_first=True)
        self.tokens += answer
        self.emitted += [False] * len(answer)
        return answer

    def step(self) -> None:
        """Emits the end of a step."""
        self.write(STEP)

    def tail_call(self, task: Task) -> None:
        """Emits a tail call, with which the frame ends.

        Args:
            task: The problem that replaces the frame's own.
        """
        self.write(GOTO, *render(task, least_first=True), EQUALS)
        self.children.append(task)

    def draw_mistake(self) -> bool:
        """Draws whether the expert makes a mistake now. Without a generator it never does."""
        return self.rng is not None and self.rng.random() < self.mistake_rate
