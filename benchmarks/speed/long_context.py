"""Prefill, decoding and memory of long contexts, with growth exponents.

python -m benchmarks.speed.long_context                                          # the default architecture, two threads
python -m benchmarks.speed.long_context --windows 1024 1024 1024 0
python -m benchmarks.speed.long_context --image docs/images/long_context.png     # both, drawn

The weights are random: time and memory do not depend on them. Every length runs in a process of its own, whose largest
resident memory is the interpreter's, PyTorch's, the network's and the context's together.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch as th
from torch.nn import functional as F

from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import PROBLEM, STEP, THINK
from o1nano.envs.problems.problem import Level, draw
from o1nano.envs.seeding import stream
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig

WINDOWS = (1024, 1024, 1024, 0)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    lengths: tuple[int, ...] = (1000, 8000, 32_000, 128_000)
    """Tokens of the prompt."""
    windows: tuple[int, ...] = ()
    """See TransformerConfig; by default every layer sees everything."""
    positions: str = "places"
    """See TransformerConfig."""
    steps: int = 9
    """Decoded tokens; the table has the quickest, and the quickest of the same number of readings of the cache."""
    chunk: int = 2048
    """Tokens that are computed together in prefill."""
    threads: int = 2
    """CPU threads."""
    image: Path | None = None
    """Draws the architecture with and without windows."""


class Measured(NamedTuple):
    """Costs of one length: seconds (``cpu``, ``products``: those of all threads together), bytes and bytes."""

    length: int
    prefill: float
    cpu: float
    products: float
    decode: float
    floor: float
    cache: int
    resident: int


def measure(job: tuple[int, tuple[int, ...], Options]) -> Measured:
    """Prefills one context and decodes some tokens."""
    length, windows, options = job
    th.set_num_threads(options.threads)
    th.manual_seed(0)
    network = ReasoningNetwork(TransformerConfig(positions=options.positions, windows=windows), Grammar()).eval()  # type: ignore[arg-type]
    prompt = draw(Level("recall", 2, length + 200), stream("long context", length), "all").prompt
    row = np.zeros((1, length + options.steps + 1), dtype=np.uint8)
    row[0, :length] = (PROBLEM, *prompt[1 - length :])
    decoder = Decoder(network, 1, row.shape[1], tokens=options.chunk)
    start, cpu = time.perf_counter(), time.process_time()
    decoder.step(row)
    prefill, cpu, times = time.perf_counter() - start, time.process_time() - cpu, []
    for step in range(options.steps):
        row[0, length + step] = THINK if step == 0 else STEP
        start = time.perf_counter()
        decoder.step(row)
        times.append(time.perf_counter() - start)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    floor = min(read_once(decoder.bytes) for _ in range(options.steps))
    return Measured(length, prefill, cpu, products(network.config, length), min(times), floor, decoder.bytes, resident)


def products(config: TransformerConfig, length: int, queries: int = 512, keys: int = 4096) -> float:
    """Returns the CPU seconds of a prefill's attention products alone: PyTorch's fused kernel once, scaled up."""
    q, k, v = (th.randn(1, config.heads, n, config.embedding // config.heads) for n in (queries, keys, keys))
    times = []
    for _ in range(5):
        start = time.process_time()
        F.scaled_dot_product_attention(q, k, v, scale=1.0)
        times.append(time.process_time() - start)
    windows = [config.window(layer) for layer in range(config.layers - 1)]  # the last layer reads at the end only
    pairs = sum(length * window if 0 < window < length else length**2 / 2 for window in windows)
    return statistics.median(times) * pairs / (queries * keys)


def read_once(size: int) -> float:
    """Returns the seconds that it takes to read so many bytes: no step that uses all keys and values can be faster."""
    memory = th.ones(size // 4)
    start = time.perf_counter()
    memory.sum()
    return time.perf_counter() - start


def run(windows: tuple[int, ...], options: Options) -> list[Measured]:
    """Measures every length and prints a table."""
    print(f"windows {windows or 'none'}, positions {options.positions}, {options.threads} threads")
    header = (
        "tokens",
        "prefill s",
        "CPU s",
        "products s",
        "growth",
        "decode ms",
        "growth",
        "read ms",
        "decode/read",
        "cache MB",
        "resident MB",
    )
    print("".join(f"{name:>13}" for name in header))
    found: list[Measured] = []
    for length in options.lengths:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(measure, ((length, windows, options),)))
        this, before = found[-1], found[-2] if len(found) > 1 else None
        cells = [
            f"{this.length:,}",
            f"{this.prefill:.2f}",
            f"{this.cpu:.2f}",
            f"{this.products:.2f}",
            growth("cpu", before, this),
        ]
        cells += [
            f"{this.decode * 1e3:.1f}",
            growth("decode", before, this),
            f"{this.floor * 1e3:.1f}",
            f"{this.decode / this.floor:.1f}",
        ]
        cells += [f"{this.cache / 1e6:.0f}", f"{this.resident / 1e6:.0f}"]
        print("".join(f"{cell:>13}" for cell in cells), flush=True)
    return found


def growth(name: str, before: Measured | None, this: Measured) -> str:
    """Returns the exponent with which a cost has grown since the length before."""
    if before is None:
        return ""
    return f"{log(getattr(this, name) / getattr(before, name)) / log(this.length / before.length):.2f}"


def draw_both(tables: dict[str, list[Measured]], image: Path) -> None:
    """Draws the time of prefill and decoding and the memory against the length."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for name, table in tables.items():
        lengths = [row.length for row in table]
        axes[0].loglog(lengths, [row.prefill for row in table], marker="o", label=name)
        axes[1].loglog(lengths, [row.decode * 1e3 for row in table], marker="o", label=name)
        axes[1].loglog(lengths, [row.floor * 1e3 for row in table], linestyle=":", label=f"{name}: cache read once")
        axes[2].semilogx(lengths, [row.resident / 1e6 for row in table], marker="o", label=name)
    for axis, title in zip(axes, ("prefill, s", "one decoded token, ms", "resident memory, MB"), strict=True):
        axis.set(xlabel="tokens", title=title)
        axis.grid(alpha=0.3)
    axes[2].set_ylim(0)
    axes[1].legend(fontsize=7)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=110)
    print(f"wrote {image}")


def main() -> None:
    """Prints a table, or two."""
    options = parse(Options, __doc__)
    check_least(options, lengths=16, steps=1, chunk=1, threads=1)
    full = run(options.windows, options)
    if options.image is not None:
        windowed = run(WINDOWS, options)
        print(f"prefill of {full[-1].length:,} tokens: {full[-1].cpu / windowed[-1].cpu:.1f} times the CPU seconds")
        draw_both({"every layer sees all": full, "three layers of four see 1,024": windowed}, options.image)


if __name__ == "__main__":
    sys.exit(guarded("long_context.py", main))
