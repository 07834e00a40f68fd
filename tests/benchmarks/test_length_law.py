"""The law of length: the fit against exact powers, and what counts as solved."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from benchmarks.results.length_law import fit_law, show, tokens_until_solved


def test_an_exact_power_is_found_without_error() -> None:
    law = fit_law([2, 4, 8], [12, 48, 192])  # 3 * n ** 2
    assert (law.factor, law.exponent, law.fit) == pytest.approx((3, 2, 1))
    assert law.error == pytest.approx(0, abs=1e-9)
    assert isnan(fit_law([2, 4], [12, 48]).error)


def test_a_size_is_solved_at_the_first_window_that_reaches_the_threshold(tmp_path: Path) -> None:
    config: dict[str, dict[str, Any]] = {"config": {"sum_digits": 3, "product_digits": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "results.json").write_text(json.dumps({"warm_start": {"tokens": 1000}}))
    curves = {3: [(1500, 1.0)], 4: [(1500, 0.5), (2500, 0.95), (3500, 0.8), (4500, 1.0)], 5: [(4500, 0.85)]}
    for size, points in curves.items():
        with SummaryWriter(str(tmp_path / f"size_{size}")) as writer:
            for step, value in points:
                writer.add_scalar("accuracy/addition", value, step)

    # Size 3 was demonstrated, size 5 never reached the threshold; the warm start had 1,000 tokens.
    assert tokens_until_solved(tmp_path, "addition", 0.9) == {4: 1500}
    assert tokens_until_solved(tmp_path, "addition", 0.85) == {4: 1500, 5: 3500}
    assert tokens_until_solved(tmp_path, "division", 0.9) == {}

    # A plan says more about its family than the flags for all sums.
    config["config"]["plans"] = ["addition/4-20"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert tokens_until_solved(tmp_path, "addition", 0.85) == {5: 3500}


def test_one_size_is_too_few_for_a_law(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("addition", [{4: 10**6}, {4: 2 * 10**6}]) is None
    assert "too few sizes" in capsys.readouterr().out
