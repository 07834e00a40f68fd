"""The package as an installation sees it: a wheel with nothing but ``o1nano``, and its two commands."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PROBE = """
import sys
import gymnasium as gym
import o1nano, o1nano.agents.learning.ppo, o1nano.policies.actor_critic
print(o1nano.envs.__file__)
env = gym.make("o1nano/Arithmetic-v0")
env.reset(seed=0)
assert not {"envs", "agents", "policies"} & set(sys.modules)
"""
SMALL = (
    "--smoke --threads 1 --iterations 2 --warm-start.steps 20 "
    "--evaluation.problems-per-level 1 --evaluation.sum-digits 2 --evaluation.product-digits 1"
)
SHIPPED = {"README.md", "large_numbers.md", "large_numbers.pth", "o1_model.pth", "recall.pth"}
PAGE = {"index.html", "playground.css", "playground.js"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that it holds no file which that lacks."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(sdist), "--no-deps", "--no-build-isolation", "-q", "-w"]
    subprocess.run([*command, str(folder)], check=True)
    return next(folder.glob("*.whl"))


class Installation:
    """The wheel in a virtual environment that its user cannot write, in a path with spaces.

    PyTorch and the other dependencies are those of the environment of the tests; downloading them would take minutes.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        venv.create(folder)
        (site,) = folder.glob("lib/python*/site-packages")
        dependencies = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (site / "dependencies.pth").write_text("\n".join(dependencies))
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--no-index", "--no-deps", "--force-reinstall", str(wheel)], check=True)
        self.package = site / "o1nano"
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)

    def files(self) -> dict[Path, int]:
        """Every file and folder of the environment, with the time of its last change."""
        return {path: path.stat().st_mtime_ns for path in self.folder.rglob("*")}

    def start(self, command: str, home: Path) -> subprocess.Popen[str]:
        """Starts a command of the installation in a folder that is the user's own."""
        program, *given = shlex.split(command)
        # Root may write everything, unless it gives up this right.
        unprivileged = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
        environment = {**os.environ, "HOME": str(home)}
        for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        return subprocess.Popen(
            [*unprivileged, str(self.folder / "bin" / program), *given],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, home: Path) -> tuple[int, str, str]:
        """Runs a command; returns its status and what it printed."""
        process = self.start(command, home)
        out, err = process.communicate()
        return process.returncode, out, err


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installation") / "a path with spaces", wheel)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "a home with spaces"
    folder.mkdir()
    return folder


def probe(folder: Path, path: str) -> str:
    """Imports the package in a fresh interpreter, away from the checkout, and returns where it was found."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Waits until a file exists."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.integration
def test_the_wheel_holds_only_o1nano_with_all_its_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"o1nano"}
    for module in (
        "envs/core/call_stack.py",
        "envs/problems/division.py",
        "policies/network/transformer.py",
        "agents/learning/ppo.py",
        "py.typed",
    ):
        assert f"o1nano/{module}" in names
    assert not any("test" in name for name in names)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("folder", "files"),
    [("scripts", {"evaluate.py", "train_rl.py"}), ("pretrained", SHIPPED), ("playground/static", PAGE)],
    ids=str,
)
def test_the_wheel_holds_the_scripts_and_the_models(wheel: Path, folder: str, files: set[str]) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"o1nano/{folder}/")}
    assert inside == {f"o1nano/{folder}/{file}" for file in files}


@pytest.mark.integration
def test_the_sdist_holds_what_the_tests_need(sdist: Path) -> None:
    names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
    for name in ("train_rl.py", "evaluate.py", "mkdocs.yml", "requirements.txt", "docs/reuse.md", "tests/conftest.py"):
        assert name in names
    assert {f"pretrained/{file}" for file in SHIPPED} <= names
    assert not any(name.endswith(".pyc") or name.startswith(("runs", "site")) for name in names)


@pytest.mark.integration
def test_it_is_importable_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    assert probe(tmp_path, str(installed)).startswith(str(installed / "o1nano" / "envs"))


@pytest.mark.integration
def test_it_is_importable_from_the_checkout_without_installation(tmp_path: Path) -> None:
    assert probe(tmp_path, str(ROOT)) == str(ROOT / "envs" / "__init__.py")


@pytest.mark.integration
def test_the_installed_command_answers_with_the_shipped_model(installation: Installation, home: Path) -> None:
    status, out, err = installation.run("o1nano-evaluate --ask 12+30", home)
    assert (status, out.split()[0]) == (0, "42"), err
    # What else is said is about the loops that are compiled at the first use.
    assert err.startswith(f"o1nano-evaluate: the model is {installation.package / 'pretrained' / 'o1_model.pth'}\n")


@pytest.mark.integration
def test_the_installed_command_serves_its_page(installation: Installation, home: Path) -> None:
    serving = installation.start("o1nano-evaluate --serve", home)
    assert serving.stdout is not None
    address = serving.stdout.readline().split()[0]
    with urllib.request.urlopen(address) as page:
        assert b"O1-nano playground" in page.read()
    serving.send_signal(signal.SIGINT)
    _, err = serving.communicate(timeout=60)
    assert serving.returncode == 130 and "Traceback" not in err


@pytest.mark.integration
@pytest.mark.parametrize("command", ["o1nano-evaluate --ask love", "o1nano-train --seed -1"])
def test_a_mistake_names_the_installed_command(installation: Installation, home: Path, command: str) -> None:
    status, out, err = installation.run(command, home)
    assert (status, out) == (2, "")
    assert command.split()[0] in err and ".py" not in err
    assert not (home / "runs").exists()


@pytest.mark.integration
def test_an_installed_training_stops_and_continues(installation: Installation, home: Path) -> None:
    before = installation.files()
    training = installation.start(f"o1nano-train --name first {SMALL}", home)
    wait_for(home / "runs" / "first" / "o1_model.pth", training)
    training.send_signal(signal.SIGINT)
    _, err = training.communicate()
    assert training.returncode == 130, err
    said = err.splitlines()[-1]
    assert said == "stopped; to continue: o1nano-train --resume runs/first"

    status, out, err = installation.run(said.partition(": ")[2], home)
    assert status == 0, err
    assert "before PPO" in out and (home / "runs" / "first" / "results.json").is_file()
    status, out, err = installation.run("o1nano-evaluate --ask 1+1", home)
    assert status == 0 and "the model is runs/first/o1_model.pth" in err
    assert installation.files() == before


def test_the_requirements_are_exact_and_cover_what_setup_cfg_asks_for() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    assert {"torch", "gymnasium", "stable-baselines3", "numpy", "tensorboard", "matplotlib", "rich", "tyro"} <= pinned
