"""Training on two hosts. The hosts are network namespaces of this machine: each has its own address and folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch as th

from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN, flags

RUN = Path("runs") / "small"
LONG_ENOUGH_TO_KILL = replace(SMALL_RUN, processes=None, iterations=16, checkpoint_every=2)


class Host:
    """A network namespace with one interface, and a working folder.

    Args:
        rank: 0 for the host that the others connect to.
        folder: Its working folder.
    """

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank = rank
        self.folder = folder
        self.namespace = f"o1nano-{os.getpid()}-{rank}"
        self.interface = f"o1n{rank}"
        self.address = f"10.77.0.{rank + 1}"

    def configure(self) -> None:
        """Gives the interface its address, and starts it."""
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", self.interface)
        for interface in ("lo", self.interface):
            ip("-n", self.namespace, "link", "set", interface, "up")

    def train(self, *given: str) -> subprocess.Popen[str]:
        """Starts the host's part of a run: the command of docs/scaling.md."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(self.rank)]
        torchrun += ["--nproc-per-node", "1", "--master-addr", "10.77.0.1", "--master-port", "29500"]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *torchrun, str(ROOT / "train_rl.py"), "--quiet", *given],
            cwd=self.folder,
            env={**os.environ, "GLOO_SOCKET_IFNAME": self.interface, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """Kills every process of the host: torchrun starts its own in groups of their own."""
        for pid in ip("netns", "pids", self.namespace).split():
            os.kill(int(pid), signal.SIGKILL)


def ip(*given: str) -> str:
    return subprocess.run(["ip", *given], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Two hosts that reach each other by their addresses only."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (iproute2, on Linux)")
    pair = [Host(rank, tmp_path / str(rank)) for rank in (0, 1)]
    try:
        for host in pair:
            host.folder.mkdir()
            ip("netns", "add", host.namespace)
        first, second = (("name", host.interface, "netns", host.namespace) for host in pair)
        ip("link", "add", *first, "type", "veth", "peer", *second)
        for host in pair:
            host.configure()
        yield pair
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not make network namespaces here: {error.stderr.strip()}")
    finally:
        for host in pair:
            if Path("/var/run/netns", host.namespace).exists():
                host.kill()
                ip("netns", "del", host.namespace)


def train(hosts: list[Host], *given: str) -> None:
    """Trains on both hosts to the end."""
    started = [host.train(*given) for host in hosts]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said


@pytest.mark.slow
def test_two_hosts_resume_exactly_after_one_was_killed(hosts: list[Host]) -> None:
    train(hosts, *flags(LONG_ENOUGH_TO_KILL))
    folder = hosts[0].folder / RUN
    whole = folder.rename(hosts[0].folder / "whole")
    assert not (hosts[1].folder / "runs").exists()

    first, second = (host.train(*flags(LONG_ENOUGH_TO_KILL)) for host in hosts)
    while not (folder / "checkpoints" / "000006.pt").exists():
        assert first.poll() is None
        time.sleep(0.01)
    hosts[1].kill()
    second.communicate(timeout=60)
    _, said = first.communicate(timeout=120)
    assert first.returncode != 0
    assert "train_rl.py: another process of the run has ended; " in said
    assert "--resume runs/small" in said
    assert not (folder / "results.json").exists()

    train(hosts, "--resume", str(RUN))
    assert (folder / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    trained = [th.load(path / "o1_model.pth", weights_only=True)["weights"] for path in (folder, whole)]
    assert trained[0].keys() == trained[1].keys()
    for name, weights in trained[0].items():
        assert th.equal(weights, trained[1][name]), name
