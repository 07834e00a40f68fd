"""Muon with the matrices of one shape made orthogonal together: one batched product instead of many small ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import sqrt
from typing import Any

import torch as th


class BatchedMuon(th.optim.Muon):
    """``torch.optim.Muon`` (Jordan et al. 2024), with the same arguments and state and, but for rounding, steps.

    A network's layers have the same shapes. One by one, their products are too small to use a processor well.
    """

    @th.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step.

        Args:
            closure: Computes the loss again, with gradients; optional.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with th.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: defaultdict[th.Size, list[th.Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._step_together(parameters, group)
        return loss

    def _step_together(self, parameters: list[th.Tensor], group: dict[str, Any]) -> None:
        """Takes a step of matrices of one shape."""
        directions = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = th.zeros_like(gradient)
            momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            directions.append(gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum)
        orthogonal = orthogonalize(th.stack(directions), group["ns_coefficients"], group["ns_steps"], group["eps"])

        rate = group["lr"] * rate_of_shape(parameters[0].shape, group["adjust_lr_fn"])
        for parameter, update in zip(parameters, orthogonal.float(), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-rate)


def orthogonalize(
    matrices: th.Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> th.Tensor:
    """Brings the singular values of matrices near 1, in bfloat16, by Newton and Schulz's iteration.

    Args:
        matrices: ``[N, rows, columns]``.
        coefficients: Of the quintic polynomial that is iterated.
        steps: Iterations.
        epsilon: Least norm that a matrix is divided by.

    Returns:
        ``[N, rows, columns]`` bfloat16.
    """
    a, b, c = coefficients
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)
    tall = x.shape[1] > x.shape[2]
    for _ in range(steps):
        gram = x.mT @ x if tall else x @ x.mT  # the smaller of the two
        update = th.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = th.baddbmm(x, x, update, beta=a) if tall else th.baddbmm(x, update, x, beta=a)
    return x


def rate_of_shape(shape: th.Size, kind: str | None) -> float:
    """Returns by what Muon multiplies the learning rate of a matrix; see ``torch.optim.Muon`` for ``adjust_lr_fn``."""
    rows, columns = shape
    if kind == "match_rms_adamw":
        return 0.2 * sqrt(max(rows, columns))
    return sqrt(max(1, rows / columns))
