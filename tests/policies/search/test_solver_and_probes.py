"""The short Python interface, and the probes that tamper with hidden tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from o1nano.agents.evaluation.probes import conclude, probe, revise
from o1nano.envs.errors import CheckpointError, ConfigurationError, O1NanoError, ProblemError
from o1nano.envs.language.vocab import spell
from o1nano.envs.problems.problem import read
from o1nano.policies import model_file as checkpoint
from o1nano.policies.search.solver import Solver
from tests.helpers.search import CONFIG, WIDE, Faults, caller, fault
from tests.helpers.tiny import ids, tiny_network


def solver() -> Solver:
    return Solver(tiny_network(), WIDE)


def test_a_solver_is_loaded_and_asked(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "o1_model.pth", caller(), CONFIG, {})
    loaded = Solver.load(tmp_path / "o1_model.pth", seed=3)
    one, several = loaded.solve("3+4"), loaded.solve("What is 3 plus 4?", paths=5, select="likelihood")
    assert (one.usage.paths, several.usage.paths) == (1, 5)
    assert loaded.solve("What is 3 plus 4?", paths=5, select="likelihood") == several
    assert not one.frames
    with pytest.raises(ProblemError, match="expected fewer than 48"):
        loaded.solve("1" * 30 + "+" + "1" * 30)
    assert Solver.load(str(tmp_path)).solve("3+4").text == one.text  # the folder of a run
    assert loaded.solve_all(["3+4", read("What is 3 plus 4?")])[0].text == one.text
    with pytest.raises(ConfigurationError, match="batch=0; expected at least 1"):
        Solver.load(tmp_path, batch=0)
    with pytest.raises(O1NanoError, match="'love'"):
        loaded.solve_all(["what is love?"])
    with pytest.raises(CheckpointError):
        Solver.load(tmp_path / "nothing.pth")


def test_what_a_model_was_never_shown_is_known() -> None:
    asked = [read(text) for text in ("98+45", "-5+3", "gcd(48,36)", "make 24 from 4, 7, 8, 8", "gcd(4,6)")]
    assert solver().unlearned(asked) == ["expression", "gcd", "countdown"]
    cards = Solver(tiny_network(), replace(WIDE, operations=("game_of_24", "chain")))  # each is a kind of another
    assert cards.unlearned(asked) == ["addition", "expression with negative numbers", "gcd"]


@pytest.mark.parametrize(
    ("operations", "text", "expected"),
    [
        (("expression",), "-5+3", ["expression with negative numbers"]),
        (("expression",), "2*(5--3)-4", ["expression with negative numbers"]),
        (("chain",), "5*-3", ["expression with negative numbers"]),
        (("addition", "expression"), "007+5", []),
        (("expression",), "(4-7)*3", []),
        (("list_sum",), "total(4, -7)", ["list_sum with negative numbers"]),
        (("list_sum",), "total(4, 7*3)", ["list_sum with calculations as arguments"]),
        (("modular",), "(4*7) mod 3", []),
        (("modular",), "(-4*7) mod 3", ["modular with negative numbers"]),
        (("linear_equation",), "3x-4=-19", []),
        (("ledger",), "balance(4, -3)", []),
        (("recall",), "recall(1:4, 2:5) 1-2", []),
    ],
)
def test_operands_that_a_model_was_never_shown_are_known(
    operations: tuple[str, ...], text: str, expected: list[str]
) -> None:
    taught = Solver(tiny_network(), replace(WIDE, operations=operations))
    assert taught.unlearned([read(text), read(text)]) == expected


def test_the_expert_solves_through_the_interface(scripted: Faults) -> None:
    answer = solver().solve("12*(34+5)", paths=3, keep_frames=True)
    assert answer.correct and answer.text == "468" and answer.usage.paths == 3
    assert spell(answer.frames[-1].tokens).startswith("<problem> 1 2 * ( 3 4 + 5 ) =")


def test_who_copies_its_thoughts_is_misled_by_others(scripted: Faults) -> None:
    found = probe(solver(), [read(text) for text in ("98+45", "12+34", "77+11", "5+20")])
    assert list(found) == ["intact", "blank", "shuffled", "swapped"]
    assert (found["intact"], found["swapped"]) == (1.0, 0.0)


def test_nothing_answered_is_no_evidence(scripted: Faults) -> None:
    scripted.append(fault("=", "+", 0.999))  # illegal
    assert set(probe(solver(), [read("98+45")]).values()) == {0.0}


def test_frames_under_way_are_concluded(scripted: Faults) -> None:
    begun = "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> 7 7 </think>"
    said = conclude(solver(), [bytes(ids(begun)), bytes(ids(begun)) + b"\x01" * 200])
    assert [spell(answer) for answer in said] == ["7 7", ""]


def test_planted_guesses_are_judged_frame_by_frame(scripted: Faults) -> None:
    found = revise(solver(), [read("914/64"), read("57/8")])
    assert found["frames"] >= 2
    assert found["right guess, wrong in the end"] == 0.0
