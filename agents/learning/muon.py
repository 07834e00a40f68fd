"""Muon that orthogonalises all matrices of one shape together: a batched product instead of many small ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import sqrt
from typing import Any

import torch as th


class BatchedMuon(th.optim.Muon):
    """``torch.optim.Muon`` (Jordan et al. 2024) with the same arguments and state; its steps differ only by rounding.

    The layers of a network have the same shapes. One at a time, their products are too small to use a processor well.
    """

    @th.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step.

        Args:
            closure: Computes the loss again, with gradients; optional.

        Returns:
            The loss that the closure returns; None without a closure.
        """
        loss = None
        if closure is not None:
            with th.enable_grad():
                loss = closure()

        for group in self.param_groups:
            # Parameters of the same shape take their step together.
            same_shape: defaultdict[th.Size, list[th.Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same_shape[parameter.shape].append(parameter)
            for parameters in same_shape.values():
                self._step_together(parameters, group)
        return loss

    def _step_together(self, parameters: list[th.Tensor], group: dict[str, Any]) -> None:
        """Updates matrices of one shape."""
        directions = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = th.zeros_like(gradient)
            momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])

            # Nesterov momentum looks one step ahead.
            direction = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
            directions.append(direction)
        orthogonal = orthogonalize(th.stack(directions), group["ns_coefficients"], group["ns_steps"], group["eps"])

        # Weight decay is decoupled from the update, as in AdamW.
        rate = group["lr"] * rate_of_shape(parameters[0].shape, group["adjust_lr_fn"])
        for parameter, update in zip(parameters, orthogonal.float(), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-rate)


def orthogonalize(
    matrices: th.Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> th.Tensor:
    """Moves the singular values of matrices close to 1, in bfloat16, by a Newton-Schulz iteration.

    One iteration replaces x by a x + (b x x^T + c (x x^T)^2) x. It moves every singular value by the same polynomial,
    and leaves the singular vectors as they are.

    Args:
        matrices: ``[N, rows, columns]``.
        coefficients: a, b and c of the polynomial.
        steps: Number of iterations.
        epsilon: Smallest norm by which a matrix is divided.

    Returns:
        ``[N, rows, columns]`` bfloat16.
    """
    a, b, c = coefficients

    # The iteration converges for singular values up to 1; a matrix divided by its Frobenius norm has no larger one.
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)

    # Of x x^T and x^T x, the smaller one does: x (x^T x) = (x x^T) x.
    tall = x.shape[1] > x.shape[2]
    for _ in range(steps):
        gram = x.mT @ x if tall else x @ x.mT
        update = th.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = th.baddbmm(x, x, update, beta=a) if tall else th.baddbmm(x, update, x, beta=a)
    return x


def rate_of_shape(shape: th.Size, kind: str | None) -> float:
    """Returns the factor of a matrix's learning rate; ``kind`` is the ``adjust_lr_fn`` of ``torch.optim.Muon``."""
    rows, columns = shape
    if kind == "match_rms_adamw":
        return 0.2 * sqrt(max(rows, columns))
    return sqrt(max(1, rows / columns))
