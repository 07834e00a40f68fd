"""Problems as rows of text: what is drawn, what is written, and which answers are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ConfigurationError, O1NanoError, ProblemError, StorageError
from o1nano.envs.language.answers import read_answer
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level, read, split_of
from o1nano.envs.text import dataset, expert_frames, main, save, score

# Ways to give an answer; the first has nothing around it.
WAYS = (
    "{}",
    " {}\n",
    "{}.",
    "**{}**",
    "${}$",
    "\\({}\\)",
    "The answer is {}.",
    "the final answer is: {}",
    "Answer: {}",
    "**Answer:** {}",
    "First 1, then 2. So the answer is {}!",
    "Therefore, the correct answer is ${}$.",
    "\\boxed{{{}}}",
    "I get 12, so it is $\\boxed{{{}}}$.",
    "\\boxed{{12}} No. \\boxed{{{}}}",
    "The answer is 12. No, wait. The answer is {}.",
    "<answer>{}</answer>",
    "<answer> \\boxed{{{}}} </answer>\n",
    "<think>1, 2, the answer is 12.</think>{}",
    "<think>12</think>\n\n<answer>{}</answer>",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_right_answer_is_read_however_it_is_given(family: str) -> None:
    for row in dataset(Level(family, 2), 5, "all"):
        for way in WAYS:
            assert score(way.format(row["answer"]), row) == 1.0, way.format(row["answer"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("143", "143"),
        ("-19", "-19"),
        ("−19", "-19"),
        ("- 19", "-19"),
        ("x = 95", "95"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("1\u202f234\u202f567", "1234567"),
        ("-1,234", "-1234"),
        ("139 R 18", "139 R 18"),
        ("139R18", "139 R 18"),
        ("139 r 18", "139 R 18"),
        ("139 remainder 18", "139 R 18"),
        ("139, remainder 18", "139 R 18"),
        ("139 with a remainder of 18", "139 R 18"),
        ("1,139 R 18", "1139 R 18"),
        ("(7-8/8)*4", "(7-8/8)*4"),
        ("(7−8÷8)×4", "(7-8/8)*4"),
        (r"\left(7-8 \div 8\right) \times 4", "(7-8 / 8) * 4"),
        ("=", "=="),
        ("==", "=="),
        ("<", "<"),
        ("_", "_"),
        (r"\_", "_"),
    ],
)
def test_the_forms_of_answers(text: str, answer: str) -> None:
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "*", "one hundred", "143.0", "1.43e2", "+143", "1 234", "12,34", "1,2345", ",143", "143,"),
        *("143 R", "R 18", "139 R 18 R 2", "143 144", "143, 144", "143 or 144", "x", "x =", "y = 143", "<>", "__"),
        *("The answer is", "The answer is 143 or so", "answer 143", r"\boxed{}", r"\boxed{143", "<answer>143"),
        *("143</answer>", "<answer>143</answer> or 144", r"\boxed{143} or 144", "<think>143", "<think>143</think>"),
    ],
)
def test_what_leaves_a_doubt_gives_no_answer(text: str) -> None:
    assert read_answer(text) is None


def test_any_right_formula_is_paid() -> None:
    row = {"question": "make(24, 7, 7, 10, 13)"}
    assert score("(13+10)+(7/7)", row) == score("7/7+10+13", row) == score("$10 + 13 + 7 \\div 7$", row) == 1.0
    assert score("24", row) == score("7*7-10-13", row) == score("_", row) == 0.0


def test_equal_arguments_give_equal_rows_and_a_prefix_is_shared() -> None:
    assert dataset("addition/3", 5) == dataset("addition/3", 9)[:5]
    assert dataset("addition/3", 5, seed=0) != dataset("addition/3", 5, seed=1)


def test_the_sides_of_the_split_are_those_of_the_environments() -> None:
    for split in ("train", "test"):
        assert {split_of(read(row["question"]).expr) for row in dataset("multiplication/2", 50, split)} == {split}


@pytest.mark.parametrize("family", ["addition", "countdown", "linear_equation"])
def test_the_environment_poses_the_problem_of_a_row_for_its_seed(family: str) -> None:
    env = ArithmeticEnv(operations=(family,), split="test")
    for row in dataset(Level(family, 2), 10, "test"):
        metadata = row["metadata"]
        _, info = env.reset(seed=metadata["seed"], options={"level": metadata["level"]})
        assert info["problem"] == row["question"]
        assert metadata["family"] == family


def test_metadata_says_where_a_row_comes_from() -> None:
    row = dataset(Level("addition", 2, 1), 3, "test", 7, phrasing="symbolic")[2]
    seed = row["metadata"].pop("seed")
    assert row["metadata"] == {"family": "addition", "level": "addition/2x1", "split": "test", "index": 2}
    assert 0 <= seed < 2**32


def test_frames_are_those_of_the_expert() -> None:
    root, child = expert_frames(read("98+45"))
    assert " ".join(root["tokens"]).startswith("<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> 3 4 1 </think>")
    assert " ".join(child["tokens"]) == "<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1 <eos>"
    written = [token for token, own in zip(child["tokens"], child["emitted"], strict=True) if own]
    assert " ".join(written) == "<think> 3 1 4 1 </think> 3 4 1 <eos>"
    (row,) = dataset("addition/2", 1, frames=True)
    assert row["metadata"]["frames"] == expert_frames(read(row["question"]))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"level": "addition"}, "FAMILY/SIZE"),
        ({"level": "love/3"}, "operation 'love'"),
        ({"n": 0}, "n=0; expected an integer of at least 1"),
        ({"n": 2.5}, "n=2.5"),
        ({"split": "dev"}, "split='dev'"),
        ({"phrasing": "song"}, "phrasing='song'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        dataset(**{"level": "addition/1", "n": 1, **arguments})


@pytest.mark.parametrize("row", [{}, {"question": None}, {"question": 3}, {"problem": "98+45"}])
def test_a_row_without_a_question_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="question"):
        score("143", row)


def test_a_question_that_is_no_problem_and_an_answer_that_is_no_text_are_refused() -> None:
    with pytest.raises(O1NanoError):
        score("143", {"question": "who are you"})
    with pytest.raises(ProblemError):
        score("143", {"question": "143"})
    with pytest.raises(ConfigurationError, match="answer of type int"):
        score(143, {"question": "98+45"})  # type: ignore[arg-type]


def test_the_program_writes_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.jsonl"
    flags = ["--level", "division/3", "--n", "20", "--split", "test", "--seed", "3", "--frames"]
    assert main([*flags, "--out", str(out)]) == 0
    assert "20 rows" in capsys.readouterr().out
    assert [json.loads(line) for line in out.read_text().splitlines()] == dataset(
        "division/3", 20, "test", 3, frames=True
    )


@pytest.mark.parametrize(
    "flags", [["--level", "love/1"], ["--level", "addition/1", "--n", "0"], ["--level", "addition/1", "--split", "all"]]
)
def test_a_mistake_is_one_line_and_leaves_the_old_file(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("old")
    works = "--split" in flags
    assert main([*flags, "--out", str(out if not works else tmp_path / "nowhere" / "rows.jsonl")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert out.read_text() == "old"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=str(tmp_path)):
        save(dataset("addition/1", 1), tmp_path)


def test_parquet_without_pyarrow_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["--level", "addition/1", "--n", "2", "--out", str(tmp_path / "rows.parquet")]) == 2
    assert "pyarrow" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_parquet_holds_the_same_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = dataset("multiplication/2", 5, frames=True)
    assert save(rows, tmp_path / "rows.parquet") == 5
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == rows
