"""Notices that weights have changed, so that nothing computed from the old ones is used again."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

_optimizer_steps = 0  # of any optimizer: a fused one changes weights in a way that their versions do not show


def _count(*_: Any) -> None:
    global _optimizer_steps
    _optimizer_steps += 1


register_optimizer_step_post_hook(_count)


class WeightWatch:
    """Tells whether the weights of a network may have changed since it was last asked.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._parameters = list(network.parameters())
        self._seen: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether an optimizer has made a step, or something else has written to the weights; at first True."""
        now = _optimizer_steps, sum(parameter._version for parameter in self._parameters)
        changed, self._seen = now != self._seen, now
        return changed
