"""The two commands, as a user runs them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

import evaluate
import train_rl
from o1nano.agents.evaluation.problem_files import read_problems, records
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.problems.problem import Problem
from o1nano.policies import model_file as checkpoint
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.solver import Solver
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model in a file: it answers something to everything."""
    path = tmp_path_factory.mktemp("model") / "o1_model.pth"
    env = EnvConfig(frame_length=48, max_tokens=60)
    th.manual_seed(0)
    network = ReasoningNetwork(TransformerConfig(embedding=16, heads=2, layers=1, feed_forward=16), env.grammar)
    checkpoint.save(path, network, env, {})
    return path


def run(monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, flags)])
    return evaluate.main()


def table_of(problems_per_level: int, sum_digits: int, product_digits: int) -> list[object]:
    """The flags of a small held-out table."""
    limits = ["--sum-digits", sum_digits, "--product-digits", product_digits]
    return ["--problems-per-level", problems_per_level, *limits]


def test_evaluate_prints_accuracy_interval_reward_valid_and_tokens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert run(monkeypatch, model, *table_of(3, 2, 1), "--json", out) == 0
    table = capsys.readouterr().out
    for word in ("accuracy", "95% interval", "reward", "valid", "tokens", "addition/2", "division/1", "all"):
        assert word in table
    content = json.loads(out.read_text())
    assert content["summary"]["n"] == 18 and len(content["cells"]) == 6
    assert content["summary"]["average_reward"] == content["summary"]["accuracy"]


def test_evaluate_measures_pass_at_k(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert run(monkeypatch, model, *table_of(2, 1, 1), "--pass-at", 4, 1, "--json", out) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:4] == ["task/size", "n", "pass@1", "pass@4"]
    rows = json.loads(out.read_text())["pass_at"]
    assert [row["name"] for row in rows] == ["addition/1", "subtraction/1", "multiplication/1", "division/1"]
    assert all(row["samples"] == 4 and list(row["pass_at"]) == ["1", "4"] for row in rows)


def test_a_k_of_zero_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> None:
    assert run(monkeypatch, model, "--pass-at", 16, 0) == 2
    assert capsys.readouterr().err == "evaluate.py: pass_at=0; expected an integer from 1 to 100000\n"


def test_problem_files_hold_json_and_plain_lines_and_nonsense(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    problems, out = tmp_path / "problems.jsonl", tmp_path / "out.json"
    problems.write_text(
        '{"problem": "What is 98 plus 45?", "answer": "143"}\n'
        '{"problem": "34-53"}\n'
        "calculate the product of 7 and 8\n"
        "what is love?\n"
        '{"question": "1+1"}\n' + "1+" * 40 + "1\n"
    )
    assert run(monkeypatch, model, "--problems", problems, "--json", out, "--quiet") == 0
    errors = capsys.readouterr().err.splitlines()
    expected = (("line 4: ", "'love'"), ("line 5: ", "'problem'"), ("line 6: ", "83 tokens"))
    assert all(word in error for words, error in zip(expected, errors, strict=True) for word in words)
    content = json.loads(out.read_text())
    assert content["summary"]["n"] == 6
    fields = {"problem", "answer", "expected", "correct", "reasoning_tokens", "completion_tokens", "subtasks"}
    for record in content["problems"][:3]:
        assert fields | {"longest_context"} <= set(record)
    assert [record["expected"] for record in content["problems"][:3]] == ["143", "-19", "56"]
    assert [record["correct"] for record in content["problems"][3:]] == [False] * 3


def test_problem_files_of_other_editors_and_other_ways_to_write_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    given = [
        ("20/5", "4 R 0"),
        ("3-5", "\u22122"),
        ("21/5", "4R1"),
        ("98+45", ""),
        ("98+45", "143.0"),
        ("20/5", "4 R 1"),
    ]
    lines = [json.dumps({"problem": problem, "answer": answer}, ensure_ascii=False) for problem, answer in given]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    read_lines = read_problems(path, 48)
    answers = [Answer(line.problem, line.problem.answer_text, True, "answered") for line in read_lines if line.problem]
    found = records(read_lines, answers)["problems"]
    assert [record["correct"] for record in found] == [True, True, True, True, False, False]
    assert [record["expected"] for record in found] == ["4 R 0", "\u22122", "4R1", "143", "143.0", "4 R 1"]
    assert read_lines[4].error == "the given answer '143.0' to '98+45' is wrong; expected '143'"


def test_the_verifier_decides_where_several_answers_are_right(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    given = ("(7-8/8)*4", "4*(7-8/8)", "(7-8/8)*3")
    path.write_text("\n".join(json.dumps({"problem": "make 24 from 4, 7, 8, 8", "answer": text}) for text in given))
    *right, wrong = read_problems(path, 48)
    assert wrong.problem is None and "the given answer '(7-8/8)*3' to 'make 24" in wrong.error
    answers = [Answer(line.problem, "4*(7-8/8)", True, "answered") for line in right if line.problem]
    assert [record["correct"] for record in records([*right, wrong], answers)["problems"]] == [True, True, False]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "problems.jsonl"
    record = json.dumps({"problem": "98+45", "note": f"one{separator}two"}, ensure_ascii=False)
    path.write_text(f"{record}\r\n1{separator}+2", encoding="utf-8")
    assert [line.problem and line.problem.answer_text for line in read_problems(path, 48)] == ["143", "3"]


def test_what_ended_without_an_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    ends = ["frame_full", *["out_of_tokens"] * 5, *["answered"] * 12]

    def solve_all(self: Solver, problems: list[Problem], *given: object) -> list[Answer]:
        return [Answer(problem, "", False, end) for problem, end in zip(problems, ends, strict=True)]

    monkeypatch.setattr(Solver, "solve_all", solve_all)
    assert run(monkeypatch, model, *table_of(3, 2, 1)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no answer: 5 out_of_tokens, 1 frame_full"


@pytest.mark.parametrize(
    "flags",
    [
        ["--paths", 3, "--temperature", 0.5],
        ["--paths", 3, "--select", "check"],
        ["--paths", 2, "--select", "oracle"],
        ["--votes", 3, "--reuse-subtasks"],
        ["--max-tokens", 10, "--min-tokens", 3],
        ["--probe"],
    ],
)
def test_every_way_to_think_is_a_flag(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
    flags: list[object],
) -> None:
    out = tmp_path / "out.json"
    assert run(monkeypatch, model, *table_of(2, 1, 1), "--json", out, *flags) == 0
    printed = capsys.readouterr().out
    assert ("upper bound" in printed) == ("oracle" in flags)
    content = json.loads(out.read_text())
    if "--probe" in flags:
        assert set(content["probe"]["addition/1"]) == {"intact", "blank", "shuffled", "swapped"}
    else:
        assert content["search"]["paths"] == (flags[1] if "--paths" in flags else 1)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--ask", "What is ninety plus 45?"], "ninety"),
        (["--paths", 0], "0"),
        (["--votes", 0], "votes=0"),
        (["--ask", "12"], "12"),
        (["--ask", "7/0"], "7/0"),
        (["--problems", "/does/not/exist"], "/does/not/exist"),
        (["--problems-per-level", "0"], "problems_per_level=0"),
        (["--temperature", "-1"], "-1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, flags: list[str], named: str
) -> None:
    assert run(monkeypatch, model, *flags) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert "expected" in lines[0]


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_serving_without_the_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, missing: str
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == missing or name.startswith("o1nano.playground."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert run(monkeypatch, model, "--serve") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"evaluate.py: --serve without the package {missing}; expected: pip install")


def test_what_a_model_was_never_shown_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    said = "evaluate.py: the model has not learned problems of this kind: {}\n"
    for text, kind in (("gcd(4, 6)", "gcd"), ("-5+3", "expression"), ("007+5", "")):
        assert run(monkeypatch, model, "--ask", text) == 0
        assert capsys.readouterr().err == (said.format(kind) if kind else "")


def test_small_cells_are_named_below_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert run(monkeypatch, model, *table_of(20, 1, 1), "--json", out) == 0
    said = "fewer than 20 different problems in the test split, all asked: addition/1 has 13, subtraction/1 has 13"
    assert said in capsys.readouterr().out
    assert [cell["n"] for cell in json.loads(out.read_text())["cells"]] == [13, 13, 11, 12]


def test_a_missing_model_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "PRETRAINED", tmp_path / "o1_model.pth")
    assert run(monkeypatch) == 2
    assert "no model in runs/" in capsys.readouterr().err


def test_a_model_that_nobody_has_named_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "PRETRAINED", model)
    for flags, said in (((), f"evaluate.py: the model is {model}\n"), (("--quiet",), "")):
        assert run(monkeypatch, "--ask", "1+1", *flags) == 0
        assert capsys.readouterr().err == said
    assert run(monkeypatch, model, "--ask", "1+1", "--device", "auto") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("measurement", [(), ("--probe",), ("--pass-at", "1")])
def test_a_measurement_names_it_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
    measurement: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "PRETRAINED", model)
    assert run(monkeypatch, *table_of(1, 1, 1), *measurement) == 0
    assert capsys.readouterr().err.splitlines()[0] == f"evaluate.py: the model is {model}"


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.Solver, "solve_all", interrupted)
    assert run(monkeypatch, model, "--ask", "1+1") == 130
    assert capsys.readouterr().err == "\nevaluate.py: stopped\n"


@pytest.mark.parametrize(
    "flags",
    [
        ("--ask", "1+1", "--json", "x.json"),
        ("--probe", "--paths", "2"),
        ("--probe", "--show-reasoning"),
        ("--pass-at", "4", "--probe"),
        ("--pass-at", "4", "--paths", "4"),
        ("--ask", "1+1", "--select", "oracle"),
        ("--interactive", "--select", "oracle"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, flags: tuple[str, ...]
) -> None:
    assert run(monkeypatch, model, *flags) == 2
    assert "; expected " in capsys.readouterr().err


def test_what_is_read_is_never_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    problems = tmp_path / "problems.txt"
    problems.write_text("1+1\n")
    (tmp_path / "link.txt").symlink_to(problems)
    for name in ("problems.txt", "link.txt"):
        assert run(monkeypatch, model, "--problems", problems, "--json", tmp_path / name) == 2
        assert "is also an input; expected another file" in capsys.readouterr().err
    assert run(monkeypatch, model, *table_of(1, 1, 1), "--json", model) == 2
    assert problems.read_text() == "1+1\n"


def test_a_file_answered_by_the_oracle_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    problems, out = tmp_path / "problems.txt", tmp_path / "out.json"
    problems.write_text("1+1\n")
    given = (model, "--problems", problems, "--json", out, "--paths", "2")
    assert run(monkeypatch, *given, "--select", "oracle") == 0
    assert "an upper bound" in capsys.readouterr().out
    assert json.loads(out.read_text())["search"]["select"] == "oracle"
    assert run(monkeypatch, *given) == 0
    assert "an upper bound" not in capsys.readouterr().out


def test_an_answer_that_failed_its_own_checks_is_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    """An untrained model contradicts itself."""
    problems, out = tmp_path / "problems.txt", tmp_path / "out.json"
    problems.write_text("12+7\n")
    asked = (model, "--select", "check", "--paths", 8)
    assert run(monkeypatch, *asked, "--problems", problems, "--json", out) == 0
    first = capsys.readouterr().out.splitlines()[0]
    (record,) = json.loads(out.read_text())["problems"]
    assert record["passed_checks"] is False and first.endswith("(did not pass its own checks)")

    assert run(monkeypatch, *asked, "--ask", "12+7") == 0
    assert f"{record['answer']}  (did not pass its own checks)    (" in capsys.readouterr().out


def test_a_file_without_a_problem_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    problems = tmp_path / "problems.csv"
    problems.write_text("\n\nproblem,answer\n98 plus,45\n")
    assert run(monkeypatch, model, "--problems", problems) == 2
    said = capsys.readouterr().err
    assert "no problem in" in said and "(line 3: " in said and said.count("\n") == 1


def test_a_mistake_comes_before_the_name_of_a_model_that_nobody_has_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "PRETRAINED", model)
    assert run(monkeypatch, "--ask", "love") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_interactive_never_dies_on_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n98+45\n(((\n7/0\n1 2\n" + "9" * 5000 + "+1\n3-4\n"))
    assert run(monkeypatch, model, "--interactive") == 0
    out = capsys.readouterr().out
    assert out.count("longest context") == 2 and "'hello'" in out


@pytest.mark.parametrize("is_none", [True, False])
def test_interactive_needs_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, is_none: bool
) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdin", None if is_none else stream)
    assert run(monkeypatch, model, "--interactive") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("evaluate.py: --interactive with a closed standard input; expected ")
    assert said.err.count("\n") == 1


def test_hidden_reasoning_is_shown_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    run(monkeypatch, model, "--ask", "98+45")
    assert "<problem>" not in capsys.readouterr().out
    run(monkeypatch, model, "--ask", "98+45", "--show-reasoning")
    shown = capsys.readouterr().out
    assert shown.startswith("98+45\n")


def test_training_refuses_bad_flags_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_rl.py", "--sum-digits", "0"])
    assert train_rl.main() == 2
    assert capsys.readouterr().err == "train_rl.py: sum_digits=0; expected an integer from 1 to 1000\n"
    assert not Path("runs").exists()


@pytest.mark.integration
def test_the_smoke_run_writes_everything(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train_rl.py"), "--smoke", "--name", "smoke", "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "before PPO" in done.stdout and "division/1" in done.stdout
    folder = tmp_path / "runs" / "smoke"
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "o1_model.pth", "before_ppo.pth", "results.json", "checkpoints"} <= names
    assert {"o1_model.zip", "times.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    results = json.loads((folder / "results.json").read_text())
    assert {"before", "after", "average_before", "average_after", "warm_start", "ppo"} <= set(results)
    checkpoint.load(folder / "o1_model.pth")


def test_a_smoke_run_is_never_larger_than_what_was_asked_for() -> None:
    asked = TrainConfig(smoke=True, iterations=2, ppo=PPOConfig(n_envs=8))
    small = asked.small()
    assert (small.iterations, small.ppo.n_envs, small.ppo.n_steps, small.warm_start.steps) == (2, 8, 32, 60)
    assert TrainConfig().small().ppo.n_envs == 16
