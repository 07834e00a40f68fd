"""The verifier of frames: whether an answer to a prompt is exactly right, and whether a subtask is useful."""

from __future__ import annotations

from o1nano.envs.caching import bounded_cache
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Function, Task, accepts, answer, evaluate
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import PROBLEM, SUBTASK
from o1nano.envs.problems import family_of


@bounded_cache()
def frame_task(prompt: bytes) -> Task | None:
    """Returns what any frame's own prompt asks, or None if that is nothing to compute."""
    try:
        task = parse(prompt[1:-1], least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None
    return None if isinstance(task, int) else task


@bounded_cache()
def frame_answer(prompt: bytes) -> bytes | None:
    """Returns an exact answer to any frame's own prompt, or None if the prompt asks nothing that has one.

    It is the only right one unless the family of the problem accepts several: ``frame_accepts`` judges.
    """
    task = frame_task(prompt)
    try:
        return None if task is None else bytes(answer(task, least_first=prompt[0] == SUBTASK))
    except ProblemError:
        return None


@bounded_cache()
def frame_accepts(prompt: bytes, given: bytes) -> bool | None:
    """Tells whether an answer to a frame's own prompt is exactly right; None if the prompt asks nothing that has one.

    This is the verifier of subtasks: a child frame is a problem of its own.
    """
    task = frame_task(prompt)
    try:
        return None if task is None else accepts(task, given, least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None


@bounded_cache()
def is_useful_subtask(asker: bytes, question: bytes) -> bool:
    """Tells whether a question is of a kind that the frame which asks it has a use for.

    A root hands on its own problem, or one with the same answer. Others, and roots that work on a long problem, ask
    problems of the families that their own names in ``asks``.
    """
    own, asked = frame_task(asker), frame_task(question)
    if own is None or asked is None:
        return own is None  # who was asked nonsense cannot be told from sense
    family = family_of(own)
    if asker[0] == PROBLEM and not family.long:
        return frame_answer(question) == bytes(answer(own, least_first=True))
    asks = family.asks
    return asks is None or family_of(asked).name in asks


def is_reduction(prompt: bytes, handed_on: bytes) -> bool:
    """Tells whether a problem that a frame hands on is smaller than its own and has the same answer.

    Smaller means fewer tokens; of two functions also as many tokens and a smaller last number, as in Euclid's
    algorithm. Without an order that ends, handing a problem to and fro would be a right solution for ever.
    """
    expected = frame_answer(prompt)
    if expected is None or frame_answer(handed_on) != expected or len(handed_on) > len(prompt):
        return False
    old, new = frame_task(prompt), frame_task(handed_on)
    if len(handed_on) == len(prompt) and isinstance(old, Function) and isinstance(new, Function):
        return evaluate(new.args[-1]) < evaluate(old.args[-1])
    return len(handed_on) < len(prompt)
