"""A user's mistake is one line that says what was expected, and exit status 2: flags, problems, damaged files."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch as th

import evaluate
import train_rl
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.envs.core.config import EnvConfig
from o1nano.policies import model_file as checkpoint
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.serialization import lock_run, read_sealed, write_sealed
from tests.helpers.paths import ROOT
from tests.helpers.runs import flags, small_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, ``model.pth``, and a run that has just begun, ``runs/begun``."""
    folder = tmp_path_factory.mktemp("bad")
    env = EnvConfig(frame_length=48, max_tokens=60)
    with th.random.fork_rng():
        network = ReasoningNetwork(TransformerConfig(embedding=16, heads=2, layers=1, feed_forward=16), env.grammar)
    checkpoint.save(folder / "model.pth", network, env, {})
    small_run(folder / "runs" / "begun")
    (folder / "empty.txt").write_text(" \n\n")
    (folder / "latin.txt").write_bytes(b"1+1\xe9\n")
    (folder / "dangling").symlink_to(folder / "nowhere")
    return folder


@pytest.fixture
def mistake(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script in that folder, and returns what it says: one line, or a box of tyro's about a flag."""
    monkeypatch.chdir(folder)

    def run(script: Any, *given: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, given)])
        try:
            status, by_tyro = script.main(), False
        except SystemExit as ended:
            status, by_tyro = ended.code, True
        said = capsys.readouterr()
        assert (status, said.out) == (2, ""), given
        if by_tyro:
            assert "--help" in said.err, (given, said.err)
            return said.err
        assert said.err.count("\n") == 1 and said.err.endswith("\n"), (given, said.err)
        assert said.err.startswith(f"{script.__name__}.py: "), (given, said.err)
        assert "expected" in said.err, (given, said.err)
        assert len(said.err) < 600, given
        return said.err

    return run


def bad_problems(rng: random.Random) -> str:
    """A text that is no problem, in one of many ways."""

    def number(digits: int = 6) -> str:
        return str(rng.randrange(10 ** rng.randint(1, digits)))

    a, b, op = number(), number(), rng.choice("+-*/")
    junk = "".join(rng.choice("éß漢\x00\t\n\\'\"<>%$#@!~`|&;:_{}[]^qzj") for _ in range(rng.randint(1, 30)))
    return rng.choice(
        (
            lambda: f"{a}{op}",
            lambda: f"{a}{op}*{b}",
            lambda: f"({a}{op}{b}",
            lambda: f"{a}{op}{b})",
            lambda: f"{a} {b}",
            lambda: a,
            lambda: " " * rng.randint(0, 5),
            lambda: f"{a}/0",
            lambda: f"{a}{op}{b}{junk}x",
            lambda: f"what is {rng.choice(('love', 'ninety', 'Hundert', 'eval(1)'))} plus {b}?",
            lambda: f"the sum {a} {b} of and",
            lambda: f"{a}.{b}+1",
            lambda: f"1e{a}{op}{b}",
            lambda: "9" * rng.randint(1001, 20_000) + op + b,
            lambda: "9" * rng.randint(48, 900) + "+" + b,
            lambda: "(" * rng.randint(201, 400) + a,
            lambda: f"gcd({a}",
            lambda: f"gcd({a}, 0x{b})",
            lambda: "make 24 from",
            lambda: f"{a}**{b}3",
            lambda: f"{a}//{b}",
            lambda: "１２+３",  # digits, but not the ten
            lambda: "<eos>" + a,
        )
    )()


INTEGERS = ("", "x", "1.5", "1e3", "0x10", "nan", "--", "one", "9" * 5000, "-1", "-99999999999999999999")
NUMBERS = ("", "x", "nan", "inf", "-inf", "-0.5", "1,5", "1e400", "--1")
COUNTS = ("problems-per-level", "sum-digits", "product-digits", "batch")
EVALUATE = [
    *((f"--{name}", value) for name in COUNTS for value in (*INTEGERS, "0")),
    *(("--seed", value) for value in INTEGERS[:-3]),
    *(("--temperature", value) for value in NUMBERS),
    *(("--device", value) for value in ("", "tpu", "cuda:99", "CPU", "cpu:0:1")),
    *(("--problems", value) for value in ("nowhere", ".", "empty.txt", "latin.txt", "dangling", "model.pth", "")),
    *(("--extra-levels", value) for value in ("", "addition", "addition/0", "x/1", "expression/1x1")),
    ("--extra-levels", "addition/" + "9" * 5000),
    *(("--json", value) for value in (".", "nowhere/out.json", "model.pth/out.json")),
    ("--wings", "2"), ("--ask",), ("--ask", "1+1", "--interactive"),
    ("--ask", "1+1", "--serve"), ("--serve", "--paths", "2"), ("--port", "8000"), ("--serve", "--port", "65536"),
    ("--interactive", "--problems", "empty.txt"),
    ("--problems-per-level", "3", "--problems-per-level"), ("model.pth", "model.pth", "model.pth"),
    ("--sum-digits", "900", "--problems-per-level", "1"),
]  # fmt: skip
WHOLE = (
    *("iterations", "threads", "checkpoint-every", "sum-digits", "product-digits", "frame-length", "warm-start.steps"),
    *("warm-start.batch-tokens", "warm-start.check-every", "ppo.n-envs", "ppo.n-steps", "ppo.batch-size"),
    *(
        "ppo.n-epochs",
        "ppo.group-size",
        "curriculum.sum-digits",
        "curriculum.product-digits",
        "curriculum.window",
        "evaluation.problems-per-level",
    ),
    *("transformer.embedding", "transformer.heads", "transformer.layers", "transformer.max-context", "seed"),
)
REAL = (
    *("warm-start.learning-rate", "warm-start.mistake-rate", "ppo.learning-rate", "ppo.gae-lambda", "ppo.clip-range"),
    *("ppo.target-kl", "ppo.kl-coef", "curriculum.promote", "curriculum.demote", "curriculum.floor"),
    "curriculum.sum-weight",
    "transformer.dropout",
)
TRAIN = [
    *((f"--{name}", value) for name in WHOLE for value in INTEGERS),
    *((f"--{name}", value) for name in REAL for value in NUMBERS),
    *(("--name", value) for value in ("..", "a/b", "../x", "/tmp/x", "a b", "-", "é", "x" * 101, "a\nb", "begun")),
    *(("--resume", value) for value in ("", "nowhere", ".", "runs", "model.pth", "runs/nowhere", "dangling")),
    *(("--device", value) for value in ("tpu", "cuda:99", "gpu")),
    *((f"--{name}", "0") for name in ("sum-digits", "ppo.n-envs", "checkpoint-every", "transformer.layers")),
    ("--processes", "0"), ("--threads", "0"), ("--warm-start.check-every", "0"), ("--warm-start.stop-at", "2"),
    *(("--extra-levels", value) for value in ("", "addition", "addition/0", "addition/x2", "x/1", "a/1/2")),
    *(("--extra-levels", value) for value in ("addition/1x0", "expression/1x1", "addition/900", "countdown/3x8")),
    *(("--extra-levels", "expression/1x3", value) for value in ("/", "gcd", "list_sum/1x999999", "addition/9999")),
    ("--extra-levels", "expression/1x3", "addition/" + "9" * 5000),
    *((f"--{name}", "900") for name in ("sum-digits", "curriculum.sum-digits", "evaluation.product-digits")),
    ("--ppo.n-envs", "1", "--ppo.n-steps", "1"), ("--processes", "2", "--ppo.n-envs", "2", "--ppo.n-steps", "1"),
    ("--curriculum.promote", "0.01"), ("--transformer.heads", "7"),
    ("--ppo.advantage", "gae"), ("--ppo.advantage", "group"), ("--curriculum.strategy", "none"),
    ("--ppo.credit", "nobody"), ("--transformer.positions", "left"), ("--wings", "2"), ("wings",), ("--iterations",),
    ("--resume", "runs/begun", "--iterations", "3"), ("--resume", "runs/begun", "--smoke"), ("--ppo.n-envs", "9" * 30),
]  # fmt: skip


def sampled(items: list[Any], every: int) -> list[Any]:
    """All items as parameters, of which one in so many belongs to the fast tier."""
    params = []
    for index, item in enumerate(items):
        marks = () if index % every == 0 else (pytest.mark.integration,)
        params.append(pytest.param(item, marks=marks, id=str(index)))
    return params


@pytest.fixture(autouse=True)
def nothing_is_written(folder: Path) -> Iterator[None]:
    """Whatever is refused leaves the files as they were, but for those that a test makes."""
    before = sorted((folder / "runs" / "begun").rglob("*"))
    yield
    assert sorted((folder / "runs" / "begun").rglob("*")) == before
    assert not list((folder / "runs").glob("2*"))  # the names of runs begin with the year


@pytest.mark.parametrize("given", sampled(EVALUATE, every=8))
def test_bad_flags_of_evaluate(mistake: Callable[..., str], given: tuple[str, ...]) -> None:
    model = () if given[0] == "model.pth" else ("model.pth",)
    assert mistake(evaluate, *model, *given)


@pytest.mark.parametrize("given", sampled(TRAIN, every=24))
def test_bad_flags_of_train_rl(mistake: Callable[..., str], given: tuple[str, ...]) -> None:
    assert mistake(train_rl, *given)


@pytest.mark.parametrize("seed", sampled(list(range(400)), every=10))
def test_texts_that_are_no_problems(mistake: Callable[..., str], seed: int) -> None:
    assert mistake(evaluate, "model.pth", "--ask", bad_problems(random.Random(seed)))


@pytest.mark.parametrize("flag", ["--ppo.target-kl", "--ppo.max-grad-norm", "--ppo.clip-range"])
def test_a_zero_that_would_never_learn_is_refused(mistake: Callable[..., str], flag: str) -> None:
    said = mistake(train_rl, flag, "0")
    assert f"{flag[2:].replace('-', '_')}=0.0; " in said
    assert ("or None" in said) == (flag != "--ppo.clip-range")


def test_none_is_off() -> None:
    config = TrainConfig(ppo=PPOConfig(target_kl=None, max_grad_norm=None))
    config.validate()
    assert (config.ppo.target_kl, config.ppo.max_grad_norm) == (None, None)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are those of POSIX")
def test_a_run_that_is_in_use_is_left_alone(mistake: Callable[..., str], folder: Path) -> None:
    import fcntl

    held = os.open(folder / "runs" / "begun", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    before = sorted(folder.rglob("*"))
    assert "runs/begun is in use by another process" in mistake(train_rl, "--resume", "runs/begun")
    assert sorted(folder.rglob("*")) == before
    os.close(held)
    lock_run(folder / "runs" / "begun")
    lock_run(folder / "runs" / "begun")  # one's own


def damaged(content: bytes, index: int, rng: random.Random) -> bytes:
    """A file that is cut off, altered in one byte, has something behind it, or is something else altogether."""
    at = rng.randrange(len(content))
    return (
        content[:at],
        content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
        content + b"\n",
        content[at:],
        rng.randbytes(at % 5000),
        content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :] + b"\0",
        b"",
    )[index % 7]


@pytest.mark.parametrize("index", sampled(list(range(49)), every=6))
def test_a_damaged_model_is_named(mistake: Callable[..., str], folder: Path, index: int) -> None:
    model = (folder / "model.pth").read_bytes()
    (folder / "damaged.pth").write_bytes(damaged(model, index, random.Random(index)))
    assert "damaged.pth" in mistake(evaluate, "damaged.pth", "--ask", "1+1")


@pytest.mark.parametrize("index", sampled(list(range(49)), every=6))
def test_a_damaged_checkpoint_is_named(mistake: Callable[..., str], folder: Path, index: int) -> None:
    (whole,) = (folder / "runs" / "begun" / "checkpoints").iterdir()
    checkpoints = folder / "runs" / "damaged" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "000001.pt").write_bytes(damaged(whole.read_bytes(), index, random.Random(index)))
    assert "000001.pt" in mistake(train_rl, "--resume", "runs/damaged")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokens": ["<pad>", "a"]}, "another vocabulary (2 tokens)"),
        ({"version": "0.0.1", "format": 9}, "format 9"),
        ({"kind": "a cake"}, "'a cake'"),
        ({"version": "0.0.1"}, "'0.0.1'"),
        ({"config": {"wings": 2}}, "wings"),
        ({"config": {"iterations": "many"}}, "many"),
        ({"state": None}, "state"),
        ({"state": {}}, "state"),
    ],
)
def test_another_vocabulary_version_or_run_is_named(
    mistake: Callable[..., str], folder: Path, changes: dict[str, Any], named: str
) -> None:
    (whole,) = (folder / "runs" / "begun" / "checkpoints").iterdir()
    other = folder / "runs" / "other" / "checkpoints" / "000001.pt"
    write_sealed(other, {**read_sealed(whole)[0], **changes})
    assert named in mistake(train_rl, "--resume", "runs/other")


def script(name: str, *given: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / name), *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, **kwargs)


def test_a_process_ends_with_status_2_and_one_line(folder: Path) -> None:
    done = script("evaluate.py", "model.pth", "--ask", "what is love?", cwd=folder, env={**os.environ, "LC_ALL": "C"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.integration
def test_a_file_system_without_room_is_one_line(folder: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # more than TensorBoard's first lines

    done = script("train_rl.py", "--quiet", *flags(), cwd=folder, preexec_fn=little_room)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "File too large" in done.stderr and "runs/small" in done.stderr


def test_what_has_been_measured_is_shown_though_the_disk_is_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_each = ["--problems-per-level", "1", "--sum-digits", "1", "--product-digits", "1"]
    given = ["model.pth", *one_each, "--json", "/dev/full", "--quiet"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *given])
    assert evaluate.main() == 2
    said = capsys.readouterr()
    assert "accuracy" in said.out and said.err.count("\n") == 1 and "No space left on device" in said.err


def test_bad_lines_of_a_file_are_named_and_the_others_answered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        '{"a":' * 50_000,
        json.dumps({"problem": "\ud800+1"}),
        '{"problem": "1+1", "answer": ' + "9" * 5000 + "}",
        '{"problem": 5}',
        "[1, 2]",
        "3+4",
    ]
    (folder / "mixed.txt").write_text("\n".join(lines))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "model.pth", "--problems", "mixed.txt", "--quiet"])
    assert evaluate.main() == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 5 and "of 6 right" in said.out
