"""The verifier of frames: whether an answer to a prompt is exactly right, and whether a subtask is useful."""

from __future__ import annotations

from o1nano.envs.caching import bounded_cache
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Function, Task, evaluate
from o1nano.envs.language.vocab import PROBLEM, SUBTASK
from o1nano.envs.problems.registry import expected_answer, family_of, is_right, read_task


@bounded_cache()
def frame_task(prompt: bytes) -> Task | None:
    """Returns what a frame's prompt asks, or None if there is nothing to compute.

    Args:
        prompt: ``<problem> ... =`` or ``<subtask> ... =`` as token bytes.
    """
    try:
        task = read_task(prompt[1:-1], least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None
    return None if isinstance(task, int) else task


@bounded_cache()
def frame_answer(prompt: bytes) -> bytes | None:
    """Returns an exact answer to a frame's prompt, or None for a prompt without one.

    It is the only right answer unless the family of the problem accepts several: ``frame_accepts`` decides.

    Args:
        prompt: ``<problem> ... =`` or ``<subtask> ... =`` as token bytes.
    """
    task = frame_task(prompt)
    if task is None:
        return None
    try:
        return bytes(expected_answer(task, least_first=prompt[0] == SUBTASK))
    except ProblemError:
        return None


@bounded_cache()
def frame_accepts(prompt: bytes, given: bytes) -> bool | None:
    """Returns whether an answer to a frame's prompt is exactly right, or None if the prompt has no answer.

    This is the verifier of subtasks: a child frame is a problem of its own.

    Args:
        prompt: ``<problem> ... =`` or ``<subtask> ... =`` as token bytes.
        given: The answer as token bytes.
    """
    task = frame_task(prompt)
    if task is None:
        return None
    try:
        return is_right(task, given, least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None


@bounded_cache()
def is_useful_subtask(caller: bytes, subtask: bytes) -> bool:
    """Returns True if a subtask is of a kind that the frame which calls it can use.

    A root hands its own problem on, or one with the same answer. Subtasks, and roots that solve a long problem in
    place, call problems of the families that their own family names in ``asks``.

    Args:
        caller: Prompt of the frame that calls, as token bytes.
        subtask: Prompt of the frame that it opens, as token bytes.
    """
    own = frame_task(caller)
    asked = frame_task(subtask)
    if own is None:
        # The frame was asked nonsense itself, so nothing shows which subtask would be of use.
        return True
    if asked is None:
        return False

    # A root reverses the numbers of its problem, and leaves all work to the subtask.
    family = family_of(own)
    if caller[0] == PROBLEM and not family.solved_in_place:
        return frame_answer(subtask) == bytes(expected_answer(own, least_first=True))

    # Others call what their family needs.
    return family.asks is None or family_of(asked).name in family.asks


def is_reduction(prompt: bytes, handed_on: bytes) -> bool:
    """Returns True if the problem of a tail call is smaller than the frame's own and has the same answer.

    Smaller means fewer tokens, or for two functions the same number of tokens and a smaller last number, as in
    Euclid's algorithm. Without an order that ends, passing a problem back and forth would be right for ever.

    Args:
        prompt: The frame's own prompt, as token bytes.
        handed_on: The prompt that the tail call makes of it, as token bytes.
    """
    expected = frame_answer(prompt)
    # A problem without an answer cannot be reduced.
    if expected is None or frame_answer(handed_on) != expected:
        return False
    if len(handed_on) != len(prompt):
        return len(handed_on) < len(prompt)

    # gcd(48, 36) and gcd(36, 12) have the same number of tokens.
    old = frame_task(prompt)
    new = frame_task(handed_on)
    if isinstance(old, Function) and isinstance(new, Function):
        return evaluate(new.args[-1]) < evaluate(old.args[-1])
    return False
