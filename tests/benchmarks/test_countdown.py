"""The benchmark of the Game of 24: which puzzles, which side of the split, and figures by hand."""

from __future__ import annotations

import json
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch as th

from benchmarks.results import countdown
from benchmarks.results.countdown import chance, chosen, pose, powers, puzzles, table
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.language.vocab import tokenize
from o1nano.envs.problems.problem import draw, read_level, split_of
from o1nano.envs.seeding import stream
from o1nano.policies import model_file as checkpoint
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.selection import pass_at_k


def test_there_are_1362_puzzles_and_a_fifth_is_held_out() -> None:
    assert len(puzzles()) == 1362
    held_out, shown = chosen("test", 0), chosen("train", 0)
    assert len(held_out) + len(shown) == 1362 and 230 < len(held_out) < 320
    assert [problem.prompt for problem in chosen("test", 3)] == [held_out[at].prompt for at in (0, 138, 275)]


def test_the_order_of_the_numbers_decides_nothing() -> None:
    for numbers in puzzles()[::300]:
        assert len({split_of(pose(order).expr) for order in permutations(numbers)}) == 1


def test_no_demonstration_of_four_numbers_is_a_puzzle_that_is_held_out() -> None:
    hidden = {(24, *sorted(problem.expr.args[1:])) for problem in chosen("test", 0)}
    for name in ("game_of_24/1", "countdown/3"):
        rng = stream("shown", name)
        for _ in range(200):
            target, *numbers = draw(read_level(name), rng).expr.args
            assert (target, *sorted(numbers)) not in hidden


def test_a_puzzle_accepts_every_formula_of_its_numbers() -> None:
    puzzle = pose((3, 3, 8, 8))
    assert puzzle.accepts(bytes(tokenize("8/(3-8/3)")))
    assert not puzzle.accepts(bytes(tokenize("8*3"))) and not puzzle.accepts(bytes(tokenize("24")))


def test_chances_of_random_steps_by_hand() -> None:
    assert (chance((24,)), chance((23,))) == (1.0, 0.0)
    assert chance((3, 8)) == 1 / 3  # 8+3, 8-3, 8*3; 8/3 is no whole number
    assert chance((1, 24)) == 2 / 4  # 25, 23, 24, 24
    assert chance((0, 24)) == 2 / 3  # 24, 24, 0
    assert chance((3, 3, 8, 8)) == 0  # by fractions only


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(20, 5, 1) == pytest.approx(0.25)
    assert pass_at_k(4, 1, 2) == pytest.approx(1 / 2)
    assert (pass_at_k(20, 1, 20), pass_at_k(20, 0, 20)) == (1.0, 0.0)
    assert powers(20) == [1, 2, 5, 10, 20] and powers(3) == [1, 2, 3]
    one, _, last = table([4, 0], [0.5, 0.0], 4)
    assert (one["solved"], one["random"]) == (0.5, 0.25)
    assert (last["paths"], last["solved"], last["random"]) == (4, 0.5, (1 - 0.5**4) / 2)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    env, out = EnvConfig(operations=("game_of_24",), frame_length=48, max_tokens=60), tmp_path / "found.json"
    with th.random.fork_rng():
        th.manual_seed(0)
        network = ReasoningNetwork(TransformerConfig(embedding=16, heads=2, layers=1, feed_forward=16), env.grammar)
    checkpoint.save(tmp_path / "o1_model.pth", network, env, {})
    given = [str(tmp_path), "--paths", "3", "--n", "4", "--processes", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["countdown.py", *given])
    assert countdown.main() == 0
    assert "| paths | solved [95%] | random legal steps |" in capsys.readouterr().out
    assert [row["paths"] for row in json.loads(out.read_text())["rows"]] == [1, 2, 3]
    for mistake in (["--paths", "0"], ["nowhere.pth"], ["--temperature", "nan"]):
        monkeypatch.setattr(sys, "argv", ["countdown.py", *mistake])
        assert countdown.main() == 2
        assert capsys.readouterr().err.count("\n") == 1
