"""The expert: writes the reference frames of any problem, and plays them through the environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Task, answer, render
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EOS, EQUALS, GOTO, SUBTASK, THINK, spell
from o1nano.envs.problems import family_of
from o1nano.envs.problems.family import Script
from o1nano.envs.problems.problem import Level, Problem, draw, stream


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame.

    Attributes:
        tokens: Prompt, thinking with injected answers, answer.
        emitted: For each token, whether it is the agent's.
        slipped: Indices of the agent's tokens that are wrong on purpose.
    """

    tokens: list[int]
    emitted: list[bool]
    slipped: list[int]


def write_frame(
    prompt: Sequence[int], rng: np.random.Generator | None = None, slip_rate: float = 0.0, thinking: bool = True
) -> Script:
    """Writes the expert's frame for a prompt.

    Args:
        prompt: ``<problem> ... =`` or ``<subtask> ... =``.
        rng: Source of demonstrated mistakes; None makes none.
        slip_rate: Share of guesses that are wrong at first and then revised.
        thinking: Whether frames think; without it the answer follows at once.

    Raises:
        ProblemError: If the prompt is no problem.
    """
    least_first = prompt[0] == SUBTASK
    task = parse(prompt[1:-1], least_first)
    if isinstance(task, int):
        raise ProblemError(f"nothing to compute in {spell(prompt)!r}; accepted: a prompt with an operator")
    script = Script(prompt, rng, slip_rate)
    if not thinking:
        script.write(*answer(task, least_first), EOS)
    elif least_first:
        script.run(family_of(task), task)
    else:
        _write_root(task, script)
    return script


def _write_root(task: Task, script: Script) -> None:
    """A root hands its problem on, numbers reversed, and reverses the answer; a long problem it solves in place."""
    script.write(THINK)
    family = family_of(task)
    if family.long:
        family.think(task, script)
    else:
        script.call(task)
    script.write(END_THINK, *answer(task, least_first=False), EOS)


def demonstrate(
    problem: Problem, rng: np.random.Generator | None = None, slip_rate: float = 0.0, call_stack: bool = True
) -> list[Frame]:
    """Returns every frame of a problem's solution, root first; without a call stack the one that holds them all."""
    frames = _demonstrate(problem.prompt, rng, slip_rate)
    return frames if call_stack else [flatten(frames)]


def _demonstrate(prompt: Sequence[int], rng: np.random.Generator | None = None, slip_rate: float = 0.0) -> list[Frame]:
    frames: list[Frame] = []
    prompts: list[list[int]] = [list(prompt)]
    while prompts:
        script = write_frame(prompts.pop(), rng, slip_rate)
        frames.append(Frame(script.tokens, script.emitted, script.slipped))
        prompts += [subtask_prompt(child) for child in reversed(script.children)]
    return frames


def depth_of(frames: Sequence[Frame]) -> int:
    """Returns how many frames of a solution, root first, are open at the same time at most."""
    waiting, deepest = [1], 0  # the depths of frames to come, the next one last
    for frame in frames:
        depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [depth] * frame.tokens.count(GOTO) + [depth + 1] * frame.tokens.count(CALL)
    return deepest


def flatten(frames: Sequence[Frame]) -> Frame:
    """Writes the frames of a solution, root first, as one: behind each question stands what was thought about it.

    ``<call> 1 + 2 </call> 3`` becomes ``<call> 1 + 2 <think> ... </call> 3``; a tail call becomes a call like any
    other, and its answer is the frame's. Nothing is injected, so all but the prompt is the agent's.
    """
    tokens, slipped = _with_children(iter(frames))
    prompt = tokens.index(EQUALS) + 1
    return Frame(tokens, [index >= prompt for index in range(len(tokens))], slipped)


def _with_children(frames: Iterator[Frame]) -> tuple[list[int], list[int]]:
    """Takes a frame and those below it; returns its tokens with theirs in between, and where it slipped."""
    frame, tokens, slipped = next(frames), list[int](), list[int]()
    end = len(frame.tokens) - 1 if GOTO in frame.tokens else None
    for index, token in enumerate(frame.tokens):
        if token == END_CALL or index == end:
            child, mistakes = _with_children(frames)
            begin, stop = child.index(THINK), child.index(END_THINK)
            slipped += [mistake - begin + len(tokens) for mistake in mistakes]
            tokens += child[begin:stop]
            if index == end:
                tokens += [END_CALL, *child[stop + 1 : -1], *child[stop:]]
                break
        elif index in frame.slipped:
            slipped.append(len(tokens))
        tokens.append(CALL if token == GOTO else token)
    return tokens, slipped


def subtask_prompt(task: Task) -> list[int]:
    """Returns ``<subtask> ... =``."""
    return [SUBTASK, *render(task, least_first=True), EQUALS]


class ExpertPolicy:
    """Plays the reference frames: for each observation, the next token. It needs nothing but the observation.

    Args:
        thinking: Whether the environment lets frames think.
        call_stack: Whether it lets them call.
    """

    def __init__(self, thinking: bool = True, call_stack: bool = True) -> None:
        self.thinking, self.call_stack = thinking, call_stack
        self._frames: dict[bytes, list[int]] = {}

    def predict(self, observations: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Returns the next token for each row of ``[N, L]`` observations."""
        rows = np.asarray(observations).astype(np.uint8)
        return np.array([self._next(row.tobytes().rstrip(b"\0")) for row in rows], dtype=np.int64)

    def _next(self, frame: bytes) -> int:
        prompt = frame[: frame.index(EQUALS) + 1]
        if prompt not in self._frames:
            in_one = self.thinking and not self.call_stack
            self._frames[prompt] = (
                flatten(_demonstrate(prompt)).tokens if in_one else write_frame(prompt, thinking=self.thinking).tokens
            )
        script = self._frames[prompt]
        return script[len(frame)] if len(frame) < len(script) else EOS  # a finished frame, as NEXT_STEP shows it


class Demands(NamedTuple):
    """What solutions take: tokens of the longest frame, emitted tokens of a solution, frames open at the same time."""

    frame: int
    tokens: int
    depth: int


def check_demonstrable(level: Level, frame_length: int, call_stack: bool = True, slip_rate: float = 0.5) -> None:
    """Raises ``ConfigurationError`` unless the expert's frames of a level fit in a frame."""
    longest = demands(level, frame_length, call_stack, slip_rate).frame
    if longest > frame_length:
        raise ConfigurationError(
            f"level {level} with frame_length={frame_length}; accepted: frames of at least {longest} for it"
        )


def demands(
    level: Level, frame_length: int, call_stack: bool = True, slip_rate: float = 0.5, problems: int = 8
) -> Demands:
    """Returns the most that the expert's solutions take, seen on a few problems.

    It looks no further when one does not fit in a frame.
    """
    rng, most = stream("demonstrable", level), Demands(max(level.size, level.other or 0), 0, 0)
    for _ in range(problems):
        if most.frame <= frame_length:
            frames = demonstrate(draw(level, rng), rng, slip_rate, call_stack)
            emitted = sum(sum(frame.emitted) for frame in frames)
            solution = Demands(max(len(frame.tokens) for frame in frames), emitted, depth_of(frames))
            most = Demands(*map(max, most, solution))
    return most
