"""Drawing a stack of frames as text."""

from __future__ import annotations

from collections.abc import Iterable

from o1nano.envs.vocab import spell


def draw_stack(frames: Iterable[Iterable[int]]) -> str:
    """Returns one line a frame, indented by depth, the top frame last."""
    return "\n".join(f"{'  ' * depth}{spell(frame)}" for depth, frame in enumerate(frames))
