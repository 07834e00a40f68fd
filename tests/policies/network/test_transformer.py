"""The trunk is causal, ignores padding, has the promised size, and takes positions of the whole context."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch as th

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID, VOCAB_SIZE
from o1nano.policies.network import attention_kernels as kernels
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.rope import OFFSET_POWER, place_frequencies, rotate, rotation, sinusoids, time_frequencies
from o1nano.policies.network.transformer import Positions, Transformer, TransformerConfig
from tests.helpers.tiny import TINY, hidden_states, shake

POSITIONS, CPU = get_args(Positions), th.device("cpu")


def trunk(**changes: Any) -> Transformer:
    out = Transformer(replace(TINY, **changes))
    shake(out)
    return out.eval()


def thoughts(batch: int, length: int) -> th.Tensor:
    """Frames whose prompt is complete at once, with random tokens after it."""
    tokens = th.randint(1, VOCAB_SIZE, (batch, length), generator=th.Generator().manual_seed(1))
    tokens[:, 0], tokens[:, 1] = ID["<subtask>"], ID["="]
    return tokens


@th.no_grad()
@pytest.mark.parametrize("roles", [True, False])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_future_token_changes_nothing_earlier(positions: str, roles: bool) -> None:
    model, tokens = trunk(positions=positions, roles=roles), thoughts(3, 16)
    before = hidden_states(model, tokens)
    for at in (2, 9, 15):
        changed = tokens.clone()
        changed[:, at] = tokens[:, at] % (VOCAB_SIZE - 1) + 1
        after = hidden_states(model, changed)
        assert th.allclose(before[:, :at], after[:, :at], atol=1e-5)
        assert not th.allclose(before[:, at], after[:, at], atol=1e-2)


@th.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
def test_every_earlier_token_reaches_the_last_one(positions: str) -> None:
    model, tokens = trunk(positions=positions), thoughts(1, 12)
    before = hidden_states(model, tokens)[0, -1]
    for at in range(12):
        changed = tokens.clone()
        changed[:, at] = tokens[:, at] % (VOCAB_SIZE - 1) + 1
        assert (hidden_states(model, changed)[0, -1] - before).abs().max() > 1e-4


@th.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_after_a_frame_changes_nothing_in_it(positions: str) -> None:
    model, tokens = trunk(positions=positions), thoughts(2, 10)
    wide = th.cat((tokens, th.zeros((2, 7), dtype=th.long)), 1)
    assert th.allclose(hidden_states(model, wide)[:, :10], hidden_states(model, tokens), atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_order_matters_without_positions_too(positions: str) -> None:
    model = trunk(positions=positions)
    with th.no_grad():
        one, other = (
            hidden_states(model, th.tensor([[ID["<subtask>"], ID["="], ID["<think>"], a, b, ID[";"]]]))[0, -1]
            for a, b in ((ID["<ok>"], ID["<wrong>"]), (ID["<wrong>"], ID["<ok>"]))
        )
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": 33},  # not divisible by the heads
        {"embedding": 12},  # an odd number of dimensions a head
        {"positions": "learned"},
        {"heads": 0},
        {"layers": 0},
        {"embedding": 0},
        {"dropout": 1.0},
    ],
)
def test_a_senseless_configuration_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"{next(iter(changes))}=.*expected"):
        replace(TINY, **changes)


def test_the_default_model_has_less_than_a_million_parameters() -> None:
    network = ReasoningNetwork(TransformerConfig(), Grammar())
    count = sum(parameter.numel() for parameter in network.parameters())
    assert 800_000 < count < 1_000_000


def test_the_defaults_are_the_published_ones() -> None:
    config = TransformerConfig()
    assert (config.embedding, config.heads, config.layers, config.dropout) == (128, 8, 4, 0.1)
    assert (config.max_context, config.positions) == (128_000, "aligned")


@th.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_do_not_end_at_5000(positions: str) -> None:
    model = trunk(positions=positions, layers=1, embedding=16, heads=2, feed_forward=16)
    out = hidden_states(model, thoughts(1, 5200))
    assert out.shape == (1, 5200, 16)
    assert th.isfinite(out).all()


def test_positions_of_the_whole_context_differ() -> None:
    time = th.tensor([4_999, 5_000, 5_001, 127_998, 127_999])
    assert th.cdist(sinusoids(time, 32), sinusoids(time, 32)).fill_diagonal_(9).min() > 0.1
    keys = rotate(th.ones(1, 1, 5, 8), rotation(time, time_frequencies(8, CPU)))[0, 0]
    assert th.cdist(keys, keys).fill_diagonal_(9).min() > 0.1


@pytest.mark.parametrize("frequencies", [time_frequencies(8, CPU), place_frequencies(8, CPU)])
def test_rotation_depends_on_the_distance_only(frequencies: th.Tensor) -> None:
    x, y = th.randn(1, 1, 1, 8), th.randn(1, 1, 1, 8)

    def product(at: int, to: int) -> float:
        turned = rotate(x, rotation(th.tensor([at]), frequencies)) * rotate(y, rotation(th.tensor([to]), frequencies))
        return turned.sum().item()

    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-4)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-4)


def test_unequal_places_are_never_taken_for_equal_ones() -> None:
    distance = th.arange(129)[:, None]
    alike = (distance * place_frequencies(16, CPU)).cos().mean(1)
    assert alike[0] == 1.0
    assert alike[1:9].max() < 0.2 and alike[1:].max() < 0.55
    alike = (th.arange(513)[:, None] * place_frequencies(16, CPU, OFFSET_POWER)).cos().mean(1)
    assert alike[1:257].max() < 0.55 and alike[1:].max() < 0.7


def test_sinusoids_of_the_first_positions() -> None:
    out = sinusoids(th.tensor([0, 1]), 4)
    expected = [[0, 0, 1, 1], [0.84147, 0.0099998, 0.54030, 0.99995]]  # sin(t), sin(t / 100), cos(t), cos(t / 100)
    assert th.allclose(out, th.tensor(expected), atol=1e-5)


@th.no_grad()
def test_dropout_acts_in_training_only() -> None:
    model, tokens = trunk(dropout=0.5), thoughts(2, 8)
    assert th.equal(hidden_states(model, tokens), hidden_states(model, tokens))
    model.train()
    assert not th.allclose(hidden_states(model, tokens), hidden_states(model, tokens))


def test_padding_rows_of_bfloat16_products_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, tokens, linear = trunk(), thoughts(3, 9), th.nn.functional.linear
    rows: list[int] = []

    def counted(x: th.Tensor, *args: th.Tensor) -> th.Tensor:
        rows.append(len(x))
        return linear(x, *args)

    def hidden(multiple: int, bf16: bool, expected: int) -> th.Tensor:
        rows.clear()
        monkeypatch.setattr(kernels, "ROW_MULTIPLE", multiple)
        with th.no_grad(), th.autocast("cpu", th.bfloat16, enabled=bf16):
            out = hidden_states(network, tokens)
        assert set(rows) == {expected}
        return out

    monkeypatch.setattr(th.nn.functional, "linear", counted)
    assert th.equal(hidden(32, False, 27), hidden(1, False, 27))
    assert th.allclose(hidden(32, True, 32), hidden(1, True, 27), atol=1e-2)
