"""Muon on matrices of one shape together takes the steps of PyTorch's, matrix by matrix."""

from __future__ import annotations

import pytest
import torch as th

from o1nano.agents.learning.muon import BatchedMuon

SHAPES = [(24, 8), (8, 8), (8, 32), (32, 8), (24, 8), (8, 32)]


def steps_of(optimizer: type[th.optim.Optimizer], steps: int, **kwargs: object) -> tuple[list[th.Tensor], object]:
    generator = th.Generator().manual_seed(0)
    matrices = [th.nn.Parameter(th.randn(shape, generator=generator)) for shape in SHAPES]
    made = optimizer([*matrices, th.nn.Parameter(th.ones(8, 8))], lr=0.02, **kwargs)  # the last one has no gradient
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = th.randn(matrix.shape, generator=generator)
        made.step()
    return [matrix.detach() for matrix in matrices], made.state_dict()


@pytest.mark.parametrize("kind", ["match_rms_adamw", "original"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_pytorch_but_for_rounding(kind: str, nesterov: bool) -> None:
    """The iteration is in bfloat16: its rounding differs with the order of sums, by at most 2^-7 of a step."""
    kwargs = {"weight_decay": 0.1, "nesterov": nesterov, "adjust_lr_fn": kind}
    own, own_state = steps_of(BatchedMuon, 1, **kwargs)
    theirs, their_state = steps_of(th.optim.Muon, 1, **kwargs)
    start, _ = steps_of(th.optim.Muon, 0)
    for mine, other, before in zip(own, theirs, start, strict=True):
        assert (mine - other).norm() < 2**-7 * (other - before).norm()
    assert isinstance(own_state, dict) and isinstance(their_state, dict)
    for index, state in their_state["state"].items():
        assert th.equal(own_state["state"][index]["momentum_buffer"], state["momentum_buffer"])


def test_steps_make_a_matrix_orthogonal() -> None:
    (moved, *_), _ = steps_of(BatchedMuon, 1, weight_decay=0.0)
    (start, *_), _ = steps_of(BatchedMuon, 0)
    values = th.linalg.svdvals(moved - start) / (0.02 * 3**0.5)
    assert 0.6 < values.min() and values.max() < 1.3


def test_a_closure_is_evaluated_with_gradients() -> None:
    matrix = th.nn.Parameter(th.eye(4))

    def closure() -> th.Tensor:
        loss = matrix.square().sum()
        th.autograd.backward(loss)
        return loss

    assert BatchedMuon([matrix], lr=0.1).step(closure) == 4
