"""``o1_model.pth``: a round trip, and every way in which a file can be no model."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import CheckpointError
from o1nano.envs.language.vocab import TOKENS
from o1nano.policies.model_file import load, save
from o1nano.policies.serialization import write_sealed
from tests.helpers.tiny import full_pass, ids, padded, tiny_network

ENV = EnvConfig(operations=("addition", "division"), digits=(1, 4), call_stack=False, frame_length=60, depth=3)
ROWS = padded([ids("<problem> 3 + 4 ="), ids("<subtask> 8 9 + 5 4 = <think> 3")])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A saved tiny model."""
    save(tmp_path / "o1_model.pth", tiny_network(grammar=ENV.grammar), ENV, {"steps": 3, "note": "test"})
    return tmp_path / "o1_model.pth"


def test_round_trip(model: Path) -> None:
    network, config = load(model)
    assert config == ENV
    assert network.config == tiny_network().config
    assert network.grammar == ENV.grammar
    assert not network.training
    expected, out = full_pass(tiny_network(grammar=ENV.grammar), ROWS), full_pass(network, ROWS)
    assert th.equal(out[0], expected[0]) and th.equal(out[1], expected[1])


def test_the_file_is_plain_data(model: Path) -> None:
    content = th.load(model, weights_only=True)
    assert content["training"] == {"steps": 3, "note": "test"}
    assert tuple(content["tokens"]) == TOKENS


def test_saving_replaces_the_old_file_and_leaves_no_other(model: Path) -> None:
    save(model, tiny_network(seed=4, grammar=ENV.grammar), ENV, {})
    assert os.listdir(model.parent) == ["o1_model.pth"]
    assert th.equal(full_pass(load(model)[0], ROWS)[1], full_pass(tiny_network(seed=4, grammar=ENV.grammar), ROWS)[1])


def test_a_failed_save_leaves_the_old_file(model: Path) -> None:
    before = model.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(model, tiny_network(), ENV, {"unwritable": lambda: None})
    assert model.read_bytes() == before


class Attack:
    """What a crafted file would make the reader do."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("writer", ["pickle", "torch", "inside"])
def test_a_crafted_file_executes_nothing(model: Path, tmp_path: Path, writer: str) -> None:
    target = tmp_path / "attacked"
    if writer == "pickle":
        model.write_bytes(pickle.dumps(Attack(target), protocol=2))
    elif writer == "torch":
        th.save(Attack(target), model)
    else:
        th.save({**th.load(model, weights_only=True), "training": Attack(target)}, model)
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load(model)
    assert not target.exists()
    pickle.loads(pickle.dumps(Attack(target)))  # so that the test means something
    assert target.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(model: Path, share: float) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="o1_model"):
        load(model)


def test_an_altered_file_is_refused_or_read_but_raises_nothing_else(model: Path) -> None:
    content, rng = model.read_bytes(), np.random.default_rng(0)
    for _ in range(30):
        altered = bytearray(content)
        for at in rng.integers(len(content), size=40):
            altered[at] = rng.integers(256)
        model.write_bytes(altered)
        try:
            load(model)
        except CheckpointError:
            pass


@pytest.mark.parametrize("name", ["missing.pth", ".", "no/such/folder/o1_model.pth"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="no model at"):
        load(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "o1_model.pth").write_bytes(content)
    with pytest.raises(CheckpointError):
        load(tmp_path / "o1_model.pth")


@pytest.mark.parametrize("content", [th.zeros(3), [1, 2], "text", 5, None, {}, {"format": 1}, {"weights": {}}])
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    th.save(content, tmp_path / "o1_model.pth")
    with pytest.raises(CheckpointError):
        load(tmp_path / "o1_model.pth")


def altered(model: Path, **changes: Any) -> Path:
    content = th.load(model, weights_only=True)
    write_sealed(model, {**content, **changes})
    return model


@pytest.mark.parametrize("tokens", [[*TOKENS, "<new>"], [*TOKENS[:-2], TOKENS[-1], TOKENS[-2]]])
def test_another_vocabulary_is_refused(model: Path, tokens: list[str]) -> None:
    with pytest.raises(CheckpointError, match=rf"another vocabulary \({len(tokens)} tokens\)"):
        load(altered(model, tokens=tokens))


def test_weights_must_have_a_row_for_each_token(model: Path) -> None:
    with pytest.raises(
        CheckpointError, match=f"{len(TOKENS)} rows in trunk.tokens.weight for {len(TOKENS) - 1} tokens"
    ):
        load(altered(model, tokens=list(TOKENS[:-1])))


def test_an_older_file_gets_rows_of_zeros_for_new_tokens(model: Path) -> None:
    weights = th.load(model, weights_only=True)["weights"]
    rows = {name: rows[:-2] for name, rows in weights.items() if len(rows) == len(TOKENS)}
    assert len(rows) == 7
    network, _ = load(altered(model, tokens=list(TOKENS[:-2]), weights={**weights, **rows}))
    for name, longer in network.state_dict().items():
        if name in rows:
            assert th.equal(longer[:-2], rows[name])
            assert not longer[-2:].any()


def test_another_format_is_refused(model: Path) -> None:
    with pytest.raises(CheckpointError, match="format 3; expected 2"):
        load(altered(model, format=3))


def test_a_file_that_has_lost_its_checksum_is_refused(model: Path) -> None:
    th.save(th.load(model, weights_only=True), model)
    with pytest.raises(CheckpointError, match="lost its checksum"):
        load(model)


def test_every_altered_byte_is_noticed(model: Path) -> None:
    content, rng = model.read_bytes(), np.random.default_rng(0)
    for at in [*rng.integers(len(content), size=60).tolist(), *range(len(content) - 80, len(content), 7)]:
        model.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(CheckpointError):
            load(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": {}},
        {"weights": {"trunk.tokens.weight": th.zeros(2, 2)}},
        {"transformer": {"embedding": 64}},
        {"transformer": {"embedding": 33}},
        {"transformer": {"wings": 2}},
        {"env": {"digits": "two"}},
        {"env": {"frame_length": 64.5}},
        {"env": {"frame_length": 10**9}},
        {"transformer": {"layers": 10**12}},
        {"training": None, "weights": None},
        {"env": None},
        {"tokens": None},
    ],
)
def test_a_file_with_a_broken_part_is_refused(model: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"not a model file|weights of another shape"):
        load(altered(model, **changes))


def test_a_checkpoint_from_before_windows_is_the_same_model(model: Path) -> None:
    shape = th.load(model, weights_only=True)["transformer"]
    old = {name: shape[name] for name in shape if name not in ("windows", "rotary_base", "log_length")}
    assert len(old) == len(shape) - 3
    frames = padded([ids("<problem> 9 8 + 4 5 = <think> <call>")])
    before = full_pass(load(model)[0], frames)[0]
    assert th.equal(full_pass(load(altered(model, transformer=old))[0], frames)[0], before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    network = tiny_network(grammar=ENV.grammar)
    with th.no_grad():
        next(network.parameters()).view(-1)[0] = value
    save(tmp_path / "o1_model.pth", network, ENV, {})
    with pytest.raises(CheckpointError, match=r"o1_model.pth' holds NaN or infinite weights \(.+\); expected finite"):
        load(tmp_path)
