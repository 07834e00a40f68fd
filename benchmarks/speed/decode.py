"""Milliseconds of a decoding step, against another checkout and against the limits of the machine.

``python -m benchmarks.speed.decode --against PATH`` measures this checkout and the one at PATH in turns, each in a
process of its own, so that what else the machine does meets both. The limits are those of a network of the same shape:
its matrix products and nothing else, and its keys, values and weights read once and nothing else.

Seconds are those of the processor: see ``measuring``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROMPT, LENGTH = 16, 40
"""Tokens of a prompt, and mean tokens of a frame while its steps are measured."""
FORMATS: dict[str, dict[str, bool]] = {
    "float32": {},
    "bfloat16": {"bf16": True},
    "bfloat16, keys and values too": {"bf16": True, "half": True},
}


def work() -> None:
    """Measures what standard input asks for with the checkout that is first on the path; one answer a line."""
    import time

    import numpy as np
    import torch as th

    try:
        from o1nano.envs.core.grammar import Grammar
        from o1nano.envs.language.vocab import EQUALS, PLUS, SUBTASK, THINK
        from o1nano.policies.decoding.decoder import Decoder
        from o1nano.policies.network.model import ReasoningNetwork
        from o1nano.policies.network.transformer import TransformerConfig
        from o1nano.policies.search.answers import solve
        from o1nano.policies.search.solver import Solver
    except ImportError:  # commit 69e04a9
        from o1nano.agents.solver import Solver
        from o1nano.envs.grammar import Grammar
        from o1nano.envs.vocab import EQUALS, PLUS, SUBTASK, THINK
        from o1nano.policies.answers import solve
        from o1nano.policies.decoding import Decoder
        from o1nano.policies.network import ReasoningNetwork
        from o1nano.policies.transformer import TransformerConfig

    th.set_num_threads(1)
    th.manual_seed(0)
    network = ReasoningNetwork(TransformerConfig(), Grammar()).eval()
    rng = np.random.default_rng(0)

    def steps(rows: int, count: int, **options: bool) -> list[float] | None:
        """Seconds of steps that append a token to every row; None if the checkout knows no such option."""
        try:
            decoder = Decoder(network, rows, 128, **options)
        except TypeError:
            return None
        first = LENGTH - count // 2
        shown = np.zeros((rows, 128), dtype=np.uint8)
        shown[:, :first] = rng.integers(1, 11, (rows, first))
        shown[:, 0], shown[:, PROMPT // 2], shown[:, PROMPT - 1], shown[:, PROMPT] = SUBTASK, PLUS, EQUALS, THINK
        decoder.step(shown)
        seconds = []
        for position in range(first, first + count):
            shown[:, position] = rng.integers(1, 11, rows)
            start = time.process_time()
            decoder.step(shown)
            seconds.append(time.process_time() - start)
        return seconds

    def answer(text: str) -> list[float]:
        """Seconds of one answer of the shipped model."""
        solver = Solver.load(Path("pretrained/large_numbers.pth"), "cpu", 256, 0)
        problem = solver.read(text)
        start = time.process_time()
        solve(solver.network, [problem], solver.config)
        return [time.process_time() - start]

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        found = answer(asked["text"]) if "text" in asked else steps(**asked)
        print(json.dumps(found), flush=True)


class Worker:
    """A process that measures one checkout.

    Args:
        root: Where the checkout is.
    """

    def __init__(self, root: Path) -> None:
        command = [sys.executable, __file__, "--work"]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=root, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._answer()

    def __call__(self, **asked: Any) -> list[float] | None:
        """Returns the seconds of what is asked for; see ``work``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found: list[float] | None = self._answer()
        return found

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def limits(rows: int, bf16: bool, half: bool, repeats: int) -> tuple[float, float]:
    """Returns the seconds of a step's matrix products alone, and of reading its keys, values and weights alone."""
    import numpy as np
    import torch as th

    from benchmarks.speed.measuring import alternate
    from benchmarks.speed.roofline import products
    from o1nano.policies.network.transformer import TransformerConfig

    th.set_num_threads(1)
    config = TransformerConfig()
    numbers = 2 * config.layers * rows * LENGTH * config.embedding
    memory = np.zeros(numbers * (2 if half else 4) // 4, dtype=np.float32)
    layer = config.embedding * (4 * config.embedding + 2 * config.feed_forward)
    weights = np.zeros(config.layers * layer * (2 if bf16 else 4) // 4, dtype=np.float32)
    jobs = {
        "products": products(config, [(rows, 1, LENGTH)], rows, bf16, False),
        "memory": lambda: (memory.sum(), weights.sum()),
    }
    timed = alternate(jobs, 20 * repeats)
    return tuple(sorted(seconds)[len(seconds) // 2] for seconds in timed.values())  # type: ignore[return-value]


def measure(names: Sequence[str], workers: Sequence[Worker], rounds: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Measures one thing with all workers in turns; ratios are those of the rounds' medians."""
    from benchmarks.speed.measuring import spread

    medians: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, worker in zip(names, workers, strict=True):
            seconds = worker(**asked)
            if seconds is not None:
                medians[name].append(spread(seconds)["median"])
    found: dict[str, Any] = {name: spread(values) for name, values in medians.items() if values}
    if len(found) == 2:
        ours, others = medians.values()
        found["ratio"] = spread([other / own for own, other in zip(ours, others, strict=True)])
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Prints medians with their spread: milliseconds, and how many times as fast as the other checkout."""
    cells = []
    for who, value in found.items():
        factor, unit = (1, "x") if who == "ratio" else (1000, " ms")
        median, least, most = (factor * value[key] for key in ("median", "least", "most"))
        cells.append(f"{who} {median:.3g}{unit} ({least:.3g} to {most:.3g})")
    print(f"{name:>44}: {', '.join(cells)}", flush=True)


def main() -> None:
    """Prints what is measured as it comes, and writes it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 16, 48, 96, 256], help="rows that are decoded")
    parser.add_argument("--rounds", type=int, default=9, help="rounds in which both take their turn")
    parser.add_argument("--ask", default="999999999*999999999", help="a problem to answer; nothing: none")
    parser.add_argument("--json", type=Path, help="where to write what is measured")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return

    roots = {"ours": ROOT} | ({"theirs": options.against.resolve()} if options.against else {})
    workers = [Worker(root) for root in roots.values()]
    results: dict[str, Any] = {}
    for rows in options.rows:
        for name, numbers in FORMATS.items():
            asked = {"rows": rows, "count": 20, **numbers}
            found = measure(list(roots), workers, options.rounds, asked)
            bf16, half = numbers.get("bf16", False), numbers.get("half", False)
            products, memory = limits(rows, bf16, half, options.rounds)
            found["share"] = max(products, memory) / found["ours"]["median"]
            results[f"{rows} rows, {name}"] = {**found, "products": products, "memory": memory}
            show(f"{rows} rows, {name}", {who: value for who, value in found.items() if who != "share"})
            alone = f"products alone {1000 * products:.3g} ms, memory alone {1000 * memory:.3g} ms"
            print(f"{'':>46}{found['share']:.0%} of the larger limit: {alone}", flush=True)
    if options.ask:
        results[options.ask] = measure(list(roots), workers, options.rounds, {"text": options.ask})
        show(options.ask, results[options.ask])
    for worker in workers:
        worker.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
