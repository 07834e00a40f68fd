"""What re-measures the shipped model: fresh problems of the test split, and figures that are those of the answers."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch as th

from benchmarks.results import shipped_model as results
from benchmarks.results.questions import Question, arithmetic_tasks, products, quotients
from benchmarks.results.workers import Workers
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import ProcessGroupError
from o1nano.envs.problems.problem import Problem, read, split_of
from o1nano.policies import model_file as checkpoint
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.answers import Answer, Progress
from o1nano.policies.search.solver import Solver

# Brown et al. 2020, table 3.9, GPT-3 175B few-shot, in the order of its columns.
REPORTED = (100.0, 98.9, 80.4, 94.2, 25.5, 26.8, 9.3, 9.9, 29.2, 21.3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained model in a file."""
    path, env = tmp_path / "o1_model.pth", EnvConfig(frame_length=48, max_tokens=60)
    with th.random.fork_rng():
        th.manual_seed(0)
        network = ReasoningNetwork(TransformerConfig(embedding=16, heads=2, layers=1, feed_forward=16), env.grammar)
    checkpoint.save(path, network, env, {})
    return path


@pytest.mark.parametrize("question", [*arithmetic_tasks(), *products(9)[::20], *quotients()[::9]], ids=lambda q: q.name)
def test_problems_are_of_the_test_split_in_the_papers_words_and_none_comes_twice(question: Question) -> None:
    problems = question.draw(40)
    assert all(split_of(problem.expr) == "test" for problem in problems)
    assert len({problem.prompt for problem in problems}) == len(problems) > 10
    assert [problem.prompt for problem in question.draw(40)] == [problem.prompt for problem in problems]
    assert read(question.example).text.startswith("what is")


@pytest.mark.parametrize("enumerable", [100, 99])
def test_all_problems_are_drawn_where_they_are_fewer(monkeypatch: pytest.MonkeyPatch, enumerable: int) -> None:
    """Whether the order of the combinations is drawn at once or one by one."""
    monkeypatch.setattr("benchmarks.results.questions.ENUMERABLE", enumerable)
    question = Question("sums", "What is {} plus {}?", (range(10), range(10)))
    texts = [f"{left}+{right}" for left in range(10) for right in range(10)]
    held_out = sum(split_of(read(text).expr) == "test" for text in texts)
    assert 0 < held_out == len(question.draw(1000))


def test_operands_are_uniform_and_differences_may_be_negative() -> None:
    questions = {question.name: question for question in arithmetic_tasks()}
    found = [problem.expr for problem in questions["3D-"].draw(400)]
    assert all(0 <= expr.left < 1000 and 0 <= expr.right < 1000 for expr in found)
    assert 150 < sum(expr.left < expr.right for expr in found) < 250
    assert 20 < sum(expr.left < 100 for expr in found) < 65  # a tenth has fewer digits
    assert 20 < sum(expr.right < 100 for expr in found) < 65


def test_where_there_are_few_all_are_asked() -> None:
    question = products(1)[0]
    everything = [read(f"{a}*{b}").expr for a in range(10) for b in range(10)]
    assert sum(split_of(expr) == "test" for expr in everything) == len(question.draw(200)) < 40


def test_the_ten_tasks_are_those_of_the_paper() -> None:
    tasks = arithmetic_tasks()
    assert tuple(task.reported for task in tasks[:10]) == REPORTED
    assert not any(task.reported for task in tasks[10:])
    assert read("What is (9 + 8) * 2?").answer_text == "34" and read("What is 6+(4*8)?").answer_text == "38"


def test_sizes_are_exact() -> None:
    for question in (*products(), *quotients()):
        left, right = map(int, question.name.split("/")[1].split("x"))
        for problem in question.draw(3):
            assert (len(str(problem.expr.left)), len(str(problem.expr.right))) == (left, right)
            assert question.name.startswith("multiplication") or problem.expr.right


def measured(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr(sys, "argv", ["results.py", *map(str, flags)])
    assert results.main() == 0


@pytest.mark.integration
def test_everything_is_measured_and_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "results.json", tmp_path / "picture.png"
    given = ("--tasks", 1, "--n", 1, "--twenty", 1, "--processes", 2, "--json", out, "--out", picture)
    measured(monkeypatch, model, *given)
    said = capsys.readouterr().out
    for words in ("| 2D+ | What is 98 plus 45? | 1 |", "GPT-3 175B", "products: mean of 81 sizes", "20 by 20 digits"):
        assert words in said
    found = json.loads(out.read_text())
    assert [len(found[name]) for name in ("tasks", "products", "quotients")] == [13, 81, 32]
    assert found["twenty"]["n"] == 1 and picture.stat().st_size > 1000


def test_figures_are_those_of_the_answers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A solver that is right but for products of 9 by 8 digits and six-digit sums."""

    def solve_all(self: Solver, problems: list[Problem], *given: Any, **more: Any) -> list[Answer]:
        plain = Answer(problems[0], "", True, "answered")
        return [replace(plain, problem=problem, correct=right(problem)) for problem in problems]

    def right(problem: Problem) -> bool:
        sizes = len(str(problem.expr.left)), len(str(problem.expr.right))
        return sizes != (9, 8) and not (sizes == (6, 6) and "plus" in problem.text)

    monkeypatch.setattr(Solver, "solve_all", solve_all)
    out = tmp_path / "results.json"
    measured(monkeypatch, model, "--processes", 1, "--quick", "--tasks", 20, "--n", 5, "--twenty", 0, "--json", out)
    found, said = json.loads(out.read_text()), capsys.readouterr().out
    wrong = {
        cell["name"] for name in ("tasks", "products", "quotients") for cell in found[name] if cell["accuracy"] < 1
    }
    assert wrong == {"6D+", "multiplication/9x8"}
    assert f"mean of 81 sizes {80 / 81:.2%}" in said and "worst size multiplication/9x8 0.0%" in said
    assert "| 9 |" + " 100.0% |" * 7 + " 0.0% | 100.0% |" in said


def mistaken(solver: Solver, problems: list[Problem], *, progress: Progress) -> list[Answer]:
    raise MemoryError(str(len(problems)))


@pytest.mark.integration
def test_several_processes_answer_as_one_does(model: Path) -> None:
    solver, seen = Solver.load(model), list[int]()
    problems = [problem for question in products(3) for problem in question.draw(5)]
    with Workers(solver, 2) as workers:
        with pytest.raises(MemoryError, match=str(len(problems[::2]))):  # what one raises is raised here
            workers.run(mistaken, problems, seen.append)
        found = workers.run(Solver.solve_all, problems, seen.append)
        solver.config = replace(solver.config, max_tokens=1)  # workers follow the solver
        short = workers.run(Solver.solve_all, problems[:3], seen.append)
    assert found == Solver.load(model).solve_all(problems) and max(seen) <= len(problems)
    assert {answer.outcome for answer in short} == {"out_of_tokens"}


def killed(solver: Solver, problems: list[Problem], *, progress: Progress) -> list[Answer]:
    """Ends one process as a machine without memory does; the others continue for long."""
    if problems == [read("1+1")]:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return []


@pytest.mark.integration
def test_a_process_that_is_killed_ends_the_work(model: Path) -> None:
    with (
        pytest.raises(
            ProcessGroupError, match="a process has ended, perhaps for lack of memory; expected --processes 1"
        ),
        Workers(Solver.load(model), 2) as workers,
    ):
        workers.run(killed, [read("1+1"), read("1+2")], lambda done: None)
    assert not multiprocessing.active_children()


def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (("--n", "0"), ("--out", "nowhere/x.png"), ("nowhere.pth",)):
        monkeypatch.setattr(sys, "argv", ["results.py", *flags])
        assert results.main() == 2
        assert capsys.readouterr().err.count("\n") == 1
