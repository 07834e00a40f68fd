"""What a step did to the frame on top of a call stack.

The environment knows it (``CallStacks.changes``). A policy, a rollout buffer or any other reader of observations can
work it out with ``frame_changes``, without a grammar and without infos.

==========  ==========================  =========================================  =====
change      observation before          observation after the action               depth
==========  ==========================  =========================================  =====
CONTINUED   ``P <think> 3``             ``P <think> 3 1``                          same
REPLACED    ``C <think> <goto> 8 + 5``  ``<subtask> 8 + 5 =`` after ``=``          same
OPENED      ``P <think> <call> 8 + 5``  ``<subtask> 8 + 5 =`` after ``</call>``    + 1
RETURNED    ``<subtask> 8 + 5 = 3 1``   ``P <think> <call> ... </call> 3 1``       - 1
STARTED     anything                    ``<problem> ... =`` of the next episode    0
==========  ==========================  =========================================  =====

P is a prompt, ``<problem> ... =`` or ``<subtask> ... =``, and C one of a subtask.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from o1nano.envs.language.vocab import END_CALL, EOS, EQUALS, PAD, SUBTASK


class FrameChange(IntEnum):
    """What happened to the top frame of a call stack in one step."""

    CONTINUED = 0
    REPLACED = 1
    OPENED = 2
    RETURNED = 3
    STARTED = 4


# Plain integers: NumPy takes several times as long to compare an array with a member of an enumeration.
CONTINUED = int(FrameChange.CONTINUED)
OPENED = int(FrameChange.OPENED)
RETURNED = int(FrameChange.RETURNED)
REPLACED = int(FrameChange.REPLACED)
STARTED = int(FrameChange.STARTED)


def frame_changes(
    before: npt.NDArray[np.integer], actions: npt.NDArray[np.integer], after: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint8]:
    """Returns ``[N]``: the ``FrameChange`` between two successive observations of N environments.

    A step that ends an episode leaves its frame on top, so it is ``CONTINUED``; the first observation of the next
    episode is ``STARTED``.

    Args:
        before: ``[N, L]`` observations.
        actions: ``[N]`` tokens that were emitted there.
        after: ``[N, L]`` observations of the next step.
    """
    rows = np.arange(len(before))
    length = (before != PAD).sum(1)
    last = np.maximum((after != PAD).sum(1) - 1, 0)

    # A frame continues if the next observation is this one with the action appended. A full frame has no room for it.
    has_room = length < before.shape[1]
    appended = before.copy()
    appended[rows[has_room], length[has_room]] = actions[has_room]
    continues = has_room & (appended == after).all(1)

    # A prompt ends with its "=". A caller ends with the answer that was injected, and no answer contains "=".
    is_prompt = after[rows, last] == EQUALS
    is_subtask = is_prompt & (after[:, 0] == SUBTASK)

    changes = np.full(len(before), STARTED, dtype=np.uint8)
    changes[is_subtask & (actions == END_CALL)] = OPENED
    changes[is_subtask & (actions == EQUALS)] = REPLACED
    changes[~is_prompt & (actions == EOS)] = RETURNED
    changes[continues] = CONTINUED
    return changes
