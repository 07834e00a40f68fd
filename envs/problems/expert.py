"""The expert: writes the reference frames of any problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Task, render
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EOS, EQUALS, GOTO, SUBTASK, THINK
from o1nano.envs.problems.problem import Level, Problem, draw
from o1nano.envs.problems.registry import expected_answer, family_of
from o1nano.envs.problems.script import Script
from o1nano.envs.seeding import stream


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame.

    Attributes:
        tokens: Prompt, thinking with injected answers, answer.
        emitted: For each token, whether an agent emits it.
        mistakes: Indices of the tokens that are wrong on purpose.
    """

    tokens: list[int]
    emitted: list[bool]
    mistakes: list[int]


def subtask_prompt(task: Task) -> list[int]:
    """Returns ``<subtask> ... =``.

    Args:
        task: The problem.
    """
    return [SUBTASK, *render(task, least_first=True), EQUALS]


def write_frame(
    task: Task,
    root: Sequence[int] | None = None,
    rng: np.random.Generator | None = None,
    mistake_rate: float = 0.0,
    thinking: bool = True,
) -> Script:
    """Writes the expert's frame for a problem.

    Args:
        task: The problem.
        root: Prompt of a root frame, ``<problem> ... =``; None for a subtask, whose prompt has one form.
        rng: Source of demonstrated mistakes; None for none.
        mistake_rate: Share of guesses that are wrong at first and then revised.
        thinking: Whether frames think; without thinking the answer follows at once.

    Raises:
        ProblemError: If the problem has no answer.
    """
    prompt = subtask_prompt(task) if root is None else root
    script = Script(prompt, rng, mistake_rate)

    # Roots answer with the most significant digit first, subtasks with the least significant.
    if not thinking:
        script.write(*expected_answer(task, least_first=root is None), EOS)
    elif root is None:
        _write_subtask(task, script)
    else:
        _write_root(task, script)
    return script


def _write_subtask(task: Task, script: Script) -> None:
    """Writes the frame of a subtask. If the family's thinking ends with a tail call, so does the frame."""
    script.write(THINK)
    answer = family_of(task).think(task, script)
    if answer is not None:
        script.write(END_THINK, *answer, EOS)


def _write_root(task: Task, script: Script) -> None:
    """Writes a root frame: it hands its problem on with reversed numbers, and reverses the answer.

    A problem that fills the frame is solved in place.
    """
    family = family_of(task)
    # Handing on a problem that fills the frame would take the same length again.
    script.write(THINK)
    if family.solved_in_place:
        family.think(task, script)
    else:
        script.call(task)
    script.write(END_THINK, *expected_answer(task, least_first=False), EOS)


def demonstrate(
    problem: Problem, rng: np.random.Generator | None = None, mistake_rate: float = 0.0, call_stack: bool = True
) -> list[Frame]:
    """Returns the frames of a problem's solution, root first.

    Args:
        problem: The problem.
        rng: Source of demonstrated mistakes; None for none.
        mistake_rate: Share of guesses that are wrong at first and then revised.
        call_stack: Whether there are calls. Without calls, one frame holds the whole solution: see ``flatten``.
    """
    frames = write_solution(problem.expr, problem.prompt, rng, mistake_rate)
    return frames if call_stack else [flatten(frames)]


def write_solution(
    task: Task,
    root: Sequence[int] | None = None,
    rng: np.random.Generator | None = None,
    mistake_rate: float = 0.0,
) -> list[Frame]:
    """Writes the frame of a problem and of everything that it calls, callers before what they call.

    Args:
        task: The problem.
        root: Prompt of a root frame; None for a subtask.
        rng: Source of demonstrated mistakes; None for none.
        mistake_rate: Share of guesses that are wrong at first and then revised.
    """
    script = write_frame(task, root, rng, mistake_rate)
    frames = [Frame(script.tokens, script.emitted, script.mistakes)]

    # A stack of subtasks, the next one last: depth first, as the environment runs them.
    waiting = script.children[::-1]
    while waiting:
        script = write_frame(waiting.pop(), None, rng, mistake_rate)
        frames.append(Frame(script.tokens, script.emitted, script.mistakes))
        waiting += script.children[::-1]
    return frames


def depth_of(frames: Sequence[Frame]) -> int:
    """Returns the largest number of frames of a solution that are open at the same time.

    Args:
        frames: The frames, root first.
    """
    deepest = 0

    # The depths of the frames that follow, the next one last. A tail call replaces its frame, so it is no deeper.
    waiting = [1]
    for frame in frames:
        depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [depth] * frame.tokens.count(GOTO)
        waiting += [depth + 1] * frame.tokens.count(CALL)
    return deepest


def flatten(frames: Sequence[Frame]) -> Frame:
    """Writes the frames of a solution as one, in which the thinking about a question follows it.

    ``<call> 1 + 2 </call> 3`` becomes ``<call> 1 + 2 <think> ... </call> 3``. A tail call becomes a call, whose answer
    is the frame's. Nothing is injected, so an agent emits everything but the prompt.

    Args:
        frames: The frames, root first.
    """
    tokens: list[int] = []
    mistakes: list[int] = []
    _flatten_next(iter(frames), tokens, mistakes)
    # The prompt ends with the first "=".
    prompt = tokens.index(EQUALS) + 1
    emitted = [False] * prompt + [True] * (len(tokens) - prompt)
    return Frame(tokens, emitted, mistakes)


def _flatten_next(frames: Iterator[Frame], tokens: list[int], mistakes: list[int]) -> None:
    """Takes the next frame and those that it calls, and adds their tokens.

    Args:
        frames: The frames that follow, callers before what they call.
        tokens: Receives the tokens of the frame, with the thinking of the subtasks in between.
        mistakes: Receives the indices of tokens that are wrong on purpose.
    """
    frame = next(frames)
    for index, token in enumerate(frame.tokens):
        # What a call asks is answered by the next frame, whose thinking comes before "</call>".
        if token == END_CALL:
            _flatten_child(frames, tokens, mistakes)
        elif token == EQUALS and GOTO in frame.tokens[:index]:
            # The "=" after a tail call, with which the frame ends: what follows is the answer of the child, as a
            # call's and as the frame's own.
            answer = _flatten_child(frames, tokens, mistakes)
            tokens += [END_CALL, *answer, END_THINK, *answer, EOS]
            return

        # Mistakes move with their tokens.
        if index in frame.mistakes:
            mistakes.append(len(tokens))
        tokens.append(CALL if token == GOTO else token)


def _flatten_child(frames: Iterator[Frame], tokens: list[int], mistakes: list[int]) -> list[int]:
    """Takes the next frame and those that it calls, adds their thinking, and returns the frame's answer."""
    child: list[int] = []
    child_mistakes: list[int] = []
    _flatten_next(frames, child, child_mistakes)

    # "<subtask> 1 + 2 = <think> 3 0 </think> 3 <eos>": the thinking is "<think> 3 0", the answer "3".
    begin = child.index(THINK)
    end = child.index(END_THINK)
    mistakes += [index - begin + len(tokens) for index in child_mistakes]
    tokens += child[begin:end]
    return child[end + 1 : -1]


class Requirements(NamedTuple):
    """What the expert's solutions take.

    Attributes:
        frame: Tokens of the longest frame.
        tokens: Emitted tokens of a solution.
        depth: Frames that are open at the same time.
    """

    frame: int
    tokens: int
    depth: int


def check_demonstrable(level: Level, frame_length: int, call_stack: bool = True, mistake_rate: float = 0.5) -> None:
    """Checks that the expert's frames of a level fit in a frame.

    Args:
        level: The level.
        frame_length: Tokens of a frame.
        call_stack: Whether there are calls.
        mistake_rate: Share of guesses that are wrong at first and then revised.

    Raises:
        ConfigurationError: If they do not fit.
    """
    longest = expert_requirements(level, frame_length, call_stack, mistake_rate).frame
    if longest > frame_length:
        raise ConfigurationError(f"level {level} with frame_length={frame_length}; expected at least {longest} for it")


def expert_requirements(
    level: Level, frame_length: int, call_stack: bool = True, mistake_rate: float = 0.5, problems: int = 8
) -> Requirements:
    """Returns the most that the expert's solutions take, measured on a few problems.

    It stops at the first solution that does not fit in a frame.

    Args:
        level: The level.
        frame_length: Tokens of a frame.
        call_stack: Whether there are calls.
        mistake_rate: Share of guesses that are wrong at first and then revised.
        problems: How many problems are solved.
    """
    rng = stream("demonstrable", level)

    # No frame of a level is shorter than its size, nor than the frame that a long problem fills.
    most = Requirements(max(level.size, level.extra or 0), 0, 0)
    for _ in range(problems):
        if most.frame > frame_length:
            break

        frames = demonstrate(draw(level, rng), rng, mistake_rate, call_stack)
        longest = max(len(frame.tokens) for frame in frames)
        emitted = sum(sum(frame.emitted) for frame in frames)
        most = Requirements(max(most.frame, longest), max(most.tokens, emitted), max(most.depth, depth_of(frames)))
    return most
