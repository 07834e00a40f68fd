"""Milliseconds of a decoding step, against another checkout and against the limits of the machine.

``python -m benchmarks.speed.decode --against PATH`` measures this checkout and the one at PATH alternately, each in its
own process, so that other work on the machine slows both. The limits are those of a network of the same shape: its
matrix products and nothing else, and its keys, values and weights read once and nothing else.

Seconds are processor time: see ``measuring``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROMPT = 16
"""Tokens of a prompt."""
LENGTH = 40
"""Mean tokens of a frame while its steps are measured."""
FORMATS: dict[str, dict[str, bool]] = {
    "float32": {},
    "bfloat16": {"bf16": True},
    "bfloat16, keys and values too": {"bf16": True, "half": True},
}


def serve() -> None:
    """Measures, with the checkout that is first on the path, what each line of standard input asks for.

    A line is a JSON object: the text of a problem, or the arguments of ``step_times``. The answer is one line of JSON,
    the measured seconds.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        seconds = answer_times(request["text"]) if "text" in request else step_times(**request)
        print(json.dumps(seconds), flush=True)


def step_times(rows: int, count: int, **options: bool) -> list[float] | None:
    """Returns the seconds of steps that append one token to every row.

    Args:
        rows: Number of rows.
        count: Number of steps.
        **options: Keyword arguments of ``Decoder``. The result is None if the checkout has no such argument.
    """
    import numpy as np
    import torch as th

    try:
        from o1nano.envs.core.grammar import Grammar
        from o1nano.envs.language.vocab import EQUALS, PLUS, SUBTASK, THINK
        from o1nano.policies.decoding.decoder import Decoder
        from o1nano.policies.network.model import ReasoningNetwork
        from o1nano.policies.network.transformer import TransformerConfig
    except ImportError:  # the layout of commit 69e04a9
        from o1nano.envs.grammar import Grammar
        from o1nano.envs.vocab import EQUALS, PLUS, SUBTASK, THINK
        from o1nano.policies.decoding import Decoder
        from o1nano.policies.network import ReasoningNetwork
        from o1nano.policies.transformer import TransformerConfig

    th.set_num_threads(1)
    th.manual_seed(0)
    network = ReasoningNetwork(TransformerConfig(), Grammar()).eval()
    try:
        decoder = Decoder(network, rows, 128, **options)
    except TypeError:
        return None

    # A sum of random digits, and random thoughts up to the first measured step.
    rng = np.random.default_rng(0)
    first = LENGTH - count // 2
    shown = np.zeros((rows, 128), dtype=np.uint8)
    shown[:, :first] = rng.integers(1, 11, (rows, first))
    shown[:, 0] = SUBTASK
    shown[:, PROMPT // 2] = PLUS
    shown[:, PROMPT - 1] = EQUALS
    shown[:, PROMPT] = THINK
    decoder.step(shown)

    seconds = []
    for position in range(first, first + count):
        shown[:, position] = rng.integers(1, 11, rows)
        start = time.process_time()
        decoder.step(shown)
        seconds.append(time.process_time() - start)
    return seconds


def answer_times(text: str) -> list[float]:
    """Returns the seconds of one answer of the shipped model to a problem."""
    import torch as th

    try:
        from o1nano.policies.search.answers import solve
        from o1nano.policies.search.solver import Solver
    except ImportError:  # the layout of commit 69e04a9
        from o1nano.agents.solver import Solver
        from o1nano.policies.answers import solve

    th.set_num_threads(1)
    solver = Solver.load(Path("pretrained/large_numbers.pth"), "cpu", 256, 0)
    problem = solver.read(text)
    start = time.process_time()
    solve(solver.network, [problem], solver.config)
    return [time.process_time() - start]


class Worker:
    """A process that measures one checkout.

    Args:
        root: Root of the checkout.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        command = [sys.executable, __file__, "--serve"]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=root, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._read()  # it is ready

    def __call__(self, **request: Any) -> list[float] | None:
        """Returns the seconds that are asked for; see ``serve``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        found: list[float] | None = self._read()
        return found

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"decode.py: the process that measures {self._root} has ended; its error is above")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def limits(rows: int, bf16: bool, half: bool, repeats: int) -> tuple[float, float]:
    """Returns two lower bounds of a step's seconds: its matrix products alone, and its reads of memory alone.

    What must be read are keys, values and weights.
    """
    import numpy as np
    import torch as th

    from benchmarks.speed.measuring import alternate
    from benchmarks.speed.roofline import products
    from o1nano.policies.network.transformer import TransformerConfig

    th.set_num_threads(1)
    config = TransformerConfig()

    # Arrays of the same sizes in bytes, read as float32.
    cached = 2 * config.layers * rows * LENGTH * config.embedding
    cache = np.zeros(cached * (2 if half else 4) // 4, dtype=np.float32)
    in_layer = config.embedding * (4 * config.embedding + 2 * config.feed_forward)
    weights = np.zeros(config.layers * in_layer * (2 if bf16 else 4) // 4, dtype=np.float32)

    jobs = {
        "products": products(config, [(rows, 1, LENGTH)], rows, bf16, False),
        "memory": lambda: (cache.sum(), weights.sum()),
    }
    timed = alternate(jobs, 20 * repeats)
    return statistics.median_high(timed["products"]), statistics.median_high(timed["memory"])


def measure(names: Sequence[str], workers: Sequence[Worker], rounds: int, request: dict[str, Any]) -> dict[str, Any]:
    """Measures one request with every worker in every round.

    Returns:
        For each name, the median over rounds with the smallest and the largest, in seconds; with two workers also
        ``"ratio"``, the other checkout's seconds divided by ours.
    """
    from benchmarks.speed.measuring import spread

    medians: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, worker in zip(names, workers, strict=True):
            seconds = worker(**request)
            if seconds is not None:
                medians[name].append(spread(seconds)["median"])

    found: dict[str, Any] = {}
    for name, values in medians.items():
        if values:
            found[name] = spread(values)
    if len(found) == 2:
        ours, others = medians.values()
        found["ratio"] = spread([other / own for own, other in zip(ours, others, strict=True)])
    return found


def show(label: str, found: dict[str, Any]) -> None:
    """Prints medians with the smallest and the largest: milliseconds, and how many times as fast we are."""
    cells = []
    for name, value in found.items():
        is_ratio = name == "ratio"
        factor = 1 if is_ratio else 1000
        unit = "x" if is_ratio else " ms"
        median, least, most = (factor * value[key] for key in ("median", "least", "most"))
        cells.append(f"{name} {median:.3g}{unit} ({least:.3g} to {most:.3g})")
    print(f"{label:>44}: {', '.join(cells)}", flush=True)


def measure_steps(names: Sequence[str], workers: Sequence[Worker], rows: int, rounds: int) -> dict[str, Any]:
    """Measures and prints steps of some rows in every format; returns the figures by label."""
    results: dict[str, Any] = {}
    for name, options in FORMATS.items():
        label = f"{rows} rows, {name}"
        found = measure(names, workers, rounds, {"rows": rows, "count": 20, **options})
        show(label, found)

        products, memory = limits(rows, options.get("bf16", False), options.get("half", False), rounds)
        share = max(products, memory) / found["ours"]["median"]
        alone = f"products alone {1000 * products:.3g} ms, memory alone {1000 * memory:.3g} ms"
        print(f"{'':>46}{share:.0%} of the larger limit: {alone}", flush=True)
        results[label] = {**found, "share": share, "products": products, "memory": memory}
    return results


def main() -> None:
    """Prints the figures as they come, and writes them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 16, 48, 96, 256], help="rows that are decoded")
    parser.add_argument("--rounds", type=int, default=9, help="rounds in which every checkout is measured")
    parser.add_argument("--ask", default="999999999*999999999", help="a problem to answer; empty: none")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return

    for flag, counts in (("--rows", options.rows), ("--rounds", [options.rounds])):
        if min(counts, default=1) < 1:
            parser.error(f"{flag} {min(counts)}; expected a number of at least 1")
    if options.against and not options.against.is_dir():
        parser.error(f"--against {options.against}; expected the root of another checkout")

    roots = {"ours": ROOT}
    if options.against:
        roots["theirs"] = options.against.resolve()
    names = list(roots)
    workers = [Worker(root) for root in roots.values()]

    results: dict[str, Any] = {}
    for rows in options.rows:
        results.update(measure_steps(names, workers, rows, options.rounds))
    if options.ask:
        results[options.ask] = measure(names, workers, options.rounds, {"text": options.ask})
        show(options.ask, results[options.ask])

    for worker in workers:
        worker.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
