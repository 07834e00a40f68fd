"""Compiled operations give the values and gradients of the same operations in PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.policies.network.operations import AttentionPattern, add_norm, attend, attend_padded, gelu

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not th.cuda.is_available(), reason="no GPU here"))]
LENGTHS = [1, 5, 16, 17, 33, 40]
BF16 = 2**-7
"""Relative to the largest number: bfloat16 has 8 bits, and both sides round."""


def pattern_of(
    lengths: list[int], width: int, window: int = 0, kinds: int = 1, device: str = "cpu"
) -> AttentionPattern:
    """Random rotations and scales: attention gets nothing else of positions."""
    generator = th.Generator().manual_seed(1)
    tokens = sum(lengths)
    time = th.cat([th.arange(length) for length in lengths])
    angles = 6 * th.rand((kinds, tokens, width // 2), generator=generator)
    scale = width**-0.5 * (1 + th.rand(tokens, generator=generator))
    starts = th.tensor([0, *lengths]).cumsum(0)
    cos, sin = angles.cos().to(device), angles.sin().to(device)
    return AttentionPattern(starts, time.to(device), window, cos, sin, scale.to(device))


def with_gradients(function: Any, inputs: list[th.Tensor], weights: th.Tensor) -> list[th.Tensor]:
    """The output of a function, and the gradient of its weighted sum with respect to each input."""
    given = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*given)
    gradients = th.autograd.grad(out, given, weights.to(out.dtype))
    return [out.detach().float(), *(gradient.float() for gradient in gradients)]


def assert_near(found: list[th.Tensor], expected: list[th.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max().clamp(min=1)


@pytest.mark.parametrize("width", [2, 6, 16, 40])
@pytest.mark.parametrize("window", [0, 1, 7, 16, 30])
def test_attention_is_that_of_padded_frames(width: int, window: int, threads: int) -> None:
    pattern = pattern_of(LENGTHS, width, window, kinds=2)
    qkv = th.randn((sum(LENGTHS) + 5, 3, 3, width), generator=th.Generator().manual_seed(2))
    weights = th.randn((len(qkv), 3 * width), generator=th.Generator().manual_seed(3))
    found = with_gradients(lambda x: attend(x, pattern), [qkv], weights)
    expected = with_gradients(lambda x: attend_padded(x, pattern), [qkv], weights)
    assert_near(found, expected, 3e-6)
    assert not found[0][-5:].any() and not found[1][-5:].any()  # tokens beyond the frames


def test_attention_in_bfloat16_is_near() -> None:
    pattern = pattern_of(LENGTHS, 16)
    qkv = th.randn((sum(LENGTHS), 3, 2, 16), generator=th.Generator().manual_seed(2)).bfloat16()
    weights = th.randn((len(qkv), 32), generator=th.Generator().manual_seed(3))
    found = with_gradients(lambda x: attend(x, pattern), [qkv], weights)
    expected = with_gradients(lambda x: attend_padded(x.float(), pattern), [qkv], weights)
    assert_near(found, expected, BF16)


def test_attention_of_a_long_frame() -> None:
    pattern = pattern_of([700], 8)
    qkv = 3 * th.randn((700, 3, 1, 8), generator=th.Generator().manual_seed(2))
    weights = th.randn((700, 8), generator=th.Generator().manual_seed(3))
    found = with_gradients(lambda x: attend(x, pattern), [qkv], weights)
    assert_near(found, with_gradients(lambda x: attend_padded(x, pattern), [qkv], weights), 1e-5)


def test_large_scores_overflow_nowhere() -> None:
    pattern = pattern_of([20], 8)
    qkv = 60 * th.randn((20, 3, 1, 8), generator=th.Generator().manual_seed(2))
    found = with_gradients(lambda x: attend(x, pattern), [qkv], th.ones(20, 8))
    assert all(th.isfinite(x).all() for x in found)
    assert th.allclose(found[0], attend_padded(qkv, pattern), rtol=1e-3, atol=1e-3)


def test_attention_dropout_keeps_the_mean_and_has_the_right_gradient() -> None:
    pattern, rate = pattern_of([64], 16), 0.25
    qkv = th.randn((64, 3, 2, 16), generator=th.Generator().manual_seed(2))

    def dropped(x: th.Tensor, seed: int = 0) -> th.Tensor:
        th.manual_seed(seed)
        return attend(x, pattern, rate)

    mean = th.stack([dropped(qkv, seed) for seed in range(400)]).mean(0)
    assert (mean - attend(qkv, pattern)).abs().mean() < 0.03
    assert not th.equal(dropped(qkv, 0), dropped(qkv, 1))
    # The result is linear in the values, so its derivative along them is its own difference; along queries and keys a
    # small step must do.
    direction, weights = th.randn(qkv.shape, generator=th.Generator().manual_seed(4)), th.ones(64, 32)
    step = 1e-2
    ahead, back = dropped(qkv + step * direction), dropped(qkv - step * direction)
    _, gradient = with_gradients(dropped, [qkv], weights)
    assert (gradient * direction).sum() == pytest.approx((ahead - back).sum().item() / (2 * step), rel=1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(th.float32, 3e-6), (th.bfloat16, BF16)])
def test_adding_and_normalising_in_one_pass(dtype: th.dtype, tolerance: float, threads: int) -> None:
    generator = th.Generator().manual_seed(0)
    x, branch = th.randn((150, 24), generator=generator), th.randn((150, 24), generator=generator).to(dtype)
    norm, weights = nn.LayerNorm(24), th.randn((150, 48), generator=generator)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)
    outputs = []
    for plain in (False, True):
        norm.zero_grad()

        def both(x: th.Tensor, branch: th.Tensor, plain: bool = plain) -> th.Tensor:
            added, normed = (x + branch, norm(x + branch)) if plain else add_norm(x, branch, norm, 0.0, dtype)
            return th.cat((added, normed.float()), 1)

        given = [x.clone().requires_grad_(), branch.clone().requires_grad_()]
        out = both(*given)
        th.autograd.backward((out * weights).sum())
        parameters = [parameter.grad for parameter in norm.parameters()]
        outputs.append([out.detach(), *(each.grad.float() for each in given), *parameters])
    assert_near(*outputs, tolerance)


def test_dropout_of_a_branch_leaves_its_mean_and_the_stream() -> None:
    x, branch, norm = th.randn(512, 32), th.ones(512, 32), nn.LayerNorm(32)
    branch.requires_grad_()
    added, _ = add_norm(x, branch, norm, 0.25, th.float32)
    kept = (added - x).detach()
    assert kept.mean() == pytest.approx(1, abs=0.03)
    assert kept.round(decimals=4).unique().tolist() == pytest.approx([0, 4 / 3], abs=1e-4)
    (gradient,) = th.autograd.grad(added.sum(), branch)
    assert th.allclose(gradient, kept, atol=1e-5)  # what was dropped has no gradient


@pytest.mark.parametrize(("dtype", "tolerance"), [(th.float32, 1e-6), (th.bfloat16, BF16)])
def test_gelu(dtype: th.dtype, tolerance: float, threads: int) -> None:
    x = th.linspace(-9, 9, 999).to(dtype)
    weights = th.randn(999, generator=th.Generator().manual_seed(0))
    expected = with_gradients(lambda x: F.gelu(x.float()), [x], weights)
    assert_near(with_gradients(gelu, [x], weights), expected, tolerance)
    with th.no_grad():
        assert_near([gelu(x).float()], expected[:1], tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_computes_the_same(device: str) -> None:
    """On the CPU the loops, on another device PyTorch."""
    norm, generator = nn.LayerNorm(32), th.Generator().manual_seed(0)
    qkv, weights = (th.randn(shape, generator=generator) for shape in ((sum(LENGTHS), 3, 2, 16), (sum(LENGTHS), 32)))

    def layer(where: str) -> list[th.Tensor]:
        pattern, moved = pattern_of(LENGTHS, 16, 7, 2, where), norm.to(where)

        def compute(x: th.Tensor) -> th.Tensor:
            mixed = attend(x, pattern)
            added, normed = add_norm(th.zeros_like(mixed), mixed, moved, 0.0, th.float32)
            return added + gelu(normed)

        return [x.cpu() for x in with_gradients(compute, [qkv.to(where)], weights.to(where))]

    assert_near(layer(device), layer("cpu"), 1e-5)
