"""The environment in whole turns of text, for language models: the same call stacks, driven by two tools.

A turn is a call of ``solve`` or ``answer``. It becomes tokens of ``ArithmeticEnv``, so problems, limits, usage, the
verifier and the reward are those of the token environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.call_stack import Ended
from o1nano.envs.core.usage import EPISODE_USAGE, Usage
from o1nano.envs.errors import ActionError, ProblemError
from o1nano.envs.language.answers import read_value
from o1nano.envs.language.expression import Binary, Task, render
from o1nano.envs.language.templates import say
from o1nano.envs.language.vocab import (
    CALL,
    END_CALL,
    END_THINK,
    EOS,
    EQUALS,
    PROBLEM,
    QUOTIENT_DIGIT,
    SUBTASK,
    THINK,
    TOKENS,
    answer_text,
    is_digit,
    problem_text,
    tokenize,
    tokenize_answer,
    without_leading_zeros,
)
from o1nano.envs.problems.expert import write_frame
from o1nano.envs.problems.registry import expected_answer, family_of, read_task

ENDED = "The episode has ended."


class TextFrame(NamedTuple):
    """One frame as text.

    Attributes:
        depth: 0 for the problem, 1 for its subtasks, and so on.
        context: What the frame shows: see ``TextEnv``.
        answer: What it answered; None if it has not.
    """

    depth: int
    context: str
    answer: str | None


class TextEnv:
    """Solve arithmetic by calling two tools.

    An episode is one problem. The model sees the *context* of one frame: the question, and the subtasks that this frame
    has had solved. ``solve`` opens a frame for a subtask, whose context has nothing of its caller's; ``answer`` closes
    the frame, and its value becomes a line of the caller's context. The environment never computes for the model: the
    model itself answers its subtasks. Every tool returns the context of the frame that is open then::

        env = TextEnv()
        env.reset(problem="98+45+7")  # "Problem: 98+45+7"
        env.solve("98+45")            # "Subtask: 98+45"
        env.answer("143")             # "Problem: 98+45+7\n98+45 = 143"
        env.answer("150")             # "The episode has ended."
        env.get_reward()              # 1.0

    A tool raises an error, and changes nothing, if its argument cannot be read. As in the token environment, a subtask
    that is its caller's own question ends the episode, and so do the limits. All public methods but ``reset`` and
    ``get_reward`` are tools, and their docstrings are written for the model.

    Args:
        **config: The arguments of ``ArithmeticEnv``: ``operations``, ``digits``, ``split``, ``depth`` and so on.

    Raises:
        ConfigurationError: If there is no such argument, or a value makes no sense.
    """

    def __init__(self, **config: Any) -> None:
        self._env = ArithmeticEnv(**config)
        self._stacks = self._env.episodes.stacks
        self._trace: list[Ended] = []
        self._stacks.trace = self._trace
        self._info: dict[str, Any] = {}
        self._reward = 0.0

    def reset(self, seed: int | None = None, problem: str | None = None, level: str | None = None) -> str:
        """Poses a new problem. If it raises, nothing has changed.

        Args:
            seed: Begins a new random stream: the problem is the token environment's for the same seed and arguments.
                None continues the current stream.
            problem: A problem to pose, in symbols or in words.
            level: A level to draw the problem from, such as ``"multiplication/3"``.

        Returns:
            The context of the problem: ``Problem: 98+45``.

        Raises:
            ConfigurationError: If there is no such level, or the problem is too long for the frame.
            ProblemError: If the text is no problem, or cannot be posed here.
        """
        options = {}
        if problem is not None:
            options["problem"] = problem
        if level is not None:
            options["level"] = level
        _, self._info = self._env.reset(seed=seed, options=options)
        self._trace.clear()
        self._reward = 0.0
        return self.context

    def solve(self, expression: str) -> str:
        """Opens a subtask. You answer it yourself with `answer`; its value is then shown with your problem.

        Args:
            expression: The subtask, smaller than your problem, such as "98+45" or "gcd(48, 36)".

        Returns:
            The subtask to answer.
        """
        self._require_open()
        task = _read_task(expression)
        question = render(task, least_first=True)

        # The first call of a frame also opens its thinking; later ones find it open.
        if self._stacks.masks()[0, THINK]:
            turn = [THINK, CALL, *question, END_CALL]
        else:
            turn = [CALL, *question, END_CALL]
        return self._emit(turn, "subtask", expression)

    def answer(self, value: str) -> str:
        """Answers the problem or subtask that you see.

        Args:
            value: The exact value, such as "143", "-19", "139 R 18" or "(7-8/8)*4".

        Returns:
            What you see next.
        """
        self._require_open()
        text = read_value(str(value))
        if text is None:
            raise ActionError(f"answer {str(value)[:60]!r}; expected a value such as '143', '-19' or '139 R 18'")

        # A subtask is answered with the least significant digit first.
        tokens = tokenize_answer(text)
        if self._stacks.depth[0] > 0:
            tokens = _reversed_numbers(tokens)

        # Thinking is open if the frame has called something.
        if self._stacks.masks()[0, END_THINK]:
            tokens = [END_THINK, *tokens]
        return self._emit([*tokens, EOS], "answer", str(value))

    def get_reward(self) -> float:
        """Returns what the episode was paid up to now: 1.0 once the problem has been answered exactly."""
        return self._reward

    @property
    def context(self) -> str:
        """What the model sees: the open frame's question, and a line for each of its subtasks that was answered."""
        return ENDED if self.ended else _context(self._stacks.frame(0).tolist())

    @property
    def ended(self) -> bool:
        """Whether the episode has ended; also before the first reset."""
        return bool(self._env.episodes.over[0])

    @property
    def info(self) -> dict[str, Any]:
        """The info of ``ArithmeticEnv``: ``problem``, ``level``, ``outcome``, ``is_success``, ``expected`` and more."""
        return dict(self._info)

    @property
    def usage(self) -> Usage:
        """Tokens and frames of the episode, in tokens of the environment: what the model thinks is not counted."""
        if not self._info:
            return Usage()
        counts = {name: self._info[name] for name in EPISODE_USAGE}
        return Usage(**counts, paths=1)

    @property
    def frames(self) -> list[TextFrame]:
        """All frames of the episode, subtasks before the frame that asked for them; the open ones last, root last."""
        closed = [_text_frame(ended.depth, list(ended.tokens)) for ended in self._trace]
        if not self._info or self._info["outcome"] == "answered":
            return closed

        # A limit leaves the whole stack open; in a running episode it is open anyway.
        still_open = []
        for depth, frame in enumerate(self._stacks.open_frames(0)):
            still_open.append(_text_frame(depth, frame.tolist()))
        return [*closed, *reversed(still_open)]

    def _require_open(self) -> None:
        if self.ended:
            raise ActionError("a turn after the end of the episode, or before the first; expected reset() first")

    def _emit(self, tokens: Sequence[int], what: str, text: str) -> str:
        """Emits the tokens of a turn, all legal, and returns the context after it."""
        # The whole turn is checked before its first token: a turn that is refused must change nothing.
        grammar = self._stacks.grammar
        state = int(self._stacks.state[0])
        for token in tokens:
            if not grammar.legal[state, token]:
                raise ActionError(f"{what} {text[:60]!r}; expected one that this environment's grammar has tokens for")
            state = int(grammar.successor[state, token])

        for token in tokens:
            _, reward, ended, _, self._info = self._env.step(np.int64(token))
            self._reward += reward
            if ended:
                break  # the answer, or a limit
        return self.context


def expert_turn(context: str) -> tuple[str, str]:
    """Returns the expert's next turn: what it does when it is shown a context.

    It decomposes problems as the frames of the token environment do. A tail call becomes a subtask whose value is the
    frame's answer; single quotient digits, which have no text form, it guesses without a subtask.

    Args:
        context: What ``TextEnv`` returned.

    Returns:
        The name of a tool, and its argument.

    Raises:
        ProblemError: If the context asks nothing.
    """
    question, *solved = context.splitlines()
    kind, _, text = question.partition(": ")
    task = _read_task(text)
    is_subtask = kind == "Subtask"

    # The subtasks of the expert's own frame, without those that have no text form.
    root = None if is_subtask else [PROBLEM, *tokenize(text), EQUALS]
    asked = []
    for child in write_frame(task, root).children:
        if not (isinstance(child, Binary) and child.op == QUOTIENT_DIGIT):
            asked.append(child)

    # Each line below the question is a subtask that was solved, in the expert's order.
    if len(solved) < len(asked):
        return "solve", _task_text(asked[len(solved)])
    return "answer", _answer_text(expected_answer(task, least_first=is_subtask), is_subtask)


def _read_task(text: str) -> Task:
    """Reads what a model asks for as a subtask."""
    tokens = tokenize(without_leading_zeros(text))
    task = read_task(tokens, least_first=False)
    if isinstance(task, int):
        raise ProblemError(f"nothing to compute in {text[:60]!r}; expected an expression such as '98+45'")
    return task


def _task_text(task: Task) -> str:
    return problem_text(say(family_of(task).symbolic, task))


def _answer_text(tokens: Sequence[int], is_subtask: bool) -> str:
    return answer_text(_reversed_numbers(tokens) if is_subtask else tokens)


def _reversed_numbers(tokens: Sequence[int]) -> list[int]:
    """Turns the digits of every number round: subtasks have the least significant digit first."""
    turned: list[int] = []
    for digits, group in groupby(tokens, is_digit):
        # Signs, R and parentheses keep their places: "- 9 1" becomes "- 1 9".
        run = list(group)
        turned += reversed(run) if digits else run
    return turned


def _context(tokens: Sequence[int]) -> str:
    """Returns the text of a frame that has not answered."""
    return _text_frame(0, tokens).context


def _text_frame(depth: int, tokens: Sequence[int]) -> TextFrame:
    """Reads the tokens of a frame: ``prompt = <think> <call> question </call> value ... </think> answer <eos>``."""
    prompt_end = tokens.index(EQUALS)
    is_subtask = tokens[0] == SUBTASK
    question = _question_text(tokens[1:prompt_end]) if is_subtask else problem_text(tokens[1:prompt_end])
    lines = [f"{'Subtask' if is_subtask else 'Problem'}: {question}"]

    # Each piece after a <call> is ``question </call> value``; the last value ends where the answer of the frame begins.
    written = list(tokens[prompt_end + 1 :])
    given = None
    if written and written[-1] == EOS:
        # A frame without thinking consists of its answer alone.
        start = written.index(END_THINK) + 1 if END_THINK in written else 0
        given = _answer_text(written[start:-1], is_subtask)
        written = written[: max(start - 1, 0)]
    while CALL in written:
        written = written[written.index(CALL) + 1 :]
        # The call is still being written, or a limit has cut it.
        if END_CALL not in written:
            break
        end = written.index(END_CALL)
        stop = written.index(CALL) if CALL in written else len(written)
        value = written[end + 1 : stop]
        # A subtask without a value is still open, in the frame above.
        if value:
            lines.append(f"{_question_text(written[:end])} = {_answer_text(value, True)}")
    return TextFrame(depth, "\n".join(lines), given)


def _question_text(question: Sequence[int]) -> str:
    """Returns the text of what a subtask asks, whose numbers have the least significant digit first."""
    task = read_task(question, least_first=True)
    if isinstance(task, int):
        return "".join(map(TOKENS.__getitem__, question))
    return _task_text(task)
