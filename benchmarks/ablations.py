"""Trains variants of the recipe with several seeds, and compares them: a table, JSON, and solved size against tokens.

python benchmarks/ablations.py --epochs 125 --seeds 0 1 --work ablations

Variants of one seed that differ in PPO alone begin with the same warm start. The same command goes on where it was
stopped: a finished run is kept, one that was cut is resumed.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from o1nano.agents.building import build_demonstrations
from o1nano.agents.command_line import guarded, parse
from o1nano.agents.config import TrainConfig
from o1nano.agents.distributed import Team
from o1nano.agents.files import write_json
from o1nano.agents.training import prepare
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.pose import stream

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "full": "",
    "supervised": "",  # see flags_of
    "no_curriculum": "--curriculum.strategy uniform",
    "no_kl": "--ppo.kl-coef 0",
    "flat": "--no-call-stack --frame-length 1024",
    "no_places": "--transformer.positions none",
    "rotary": "--transformer.positions rotary",
    "credit_frame": "--ppo.credit frame",
    "credit_episode": "--ppo.credit episode",
    "grpo": "--ppo.advantage group --ppo.group-size 8",
    "rloo": "--ppo.advantage leave_one_out --ppo.group-size 8",
    "critic_in_groups": "--ppo.group-size 8",
}
FAMILIES = ("addition", "subtraction", "multiplication", "division")
SOLVED = 0.9
# Of a configuration, what does not change what is compared.
_MACHINE = ("name", "start", "threads", "bf16", "cuda_graphs", "device", "checkpoint_every")


@dataclass(frozen=True)
class Options:
    """What to compare."""

    epochs: int = 125
    """PPO epochs of every variant; the supervised one has as many tokens instead."""
    seeds: tuple[int, ...] = (0, 1)
    """Each is one run of each variant."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which: keys of VARIANTS in this file."""
    common: str = ""
    """Further flags of train_rl.py for all of them, as one text: --common="--digits 5 --threads 1"."""
    work: Path = Path("ablations")
    """Where the runs are; also of the table as JSON and of the picture."""


def config_of(flags: Sequence[str]) -> TrainConfig:
    """Returns the configuration that flags of ``train_rl.py`` give."""
    return prepare(parse(TrainConfig, None, flags))


def flags_of(variant: str, options: Options) -> list[str]:
    """Returns the flags of a variant, but for seed and name.

    The supervised one is the control: it goes on imitating the same short problems, as many emitted tokens as PPO emits
    in its epochs. (A step of the warm start is counted in whole frames, prompts and injected answers included. The
    control has all steps of the warm start, however early the others end it.)
    """
    if variant not in VARIANTS:
        raise ConfigurationError(f"variant {variant!r}; accepted: {', '.join(VARIANTS)}")
    common = shlex.split(options.common)
    if variant != "supervised":
        return [*common, *shlex.split(VARIANTS[variant]), "--epochs", str(options.epochs)]
    config = config_of([*common, "--epochs", str(options.epochs)])
    tokens = options.epochs * config.ppo.n_envs * config.ppo.n_steps
    steps = config.warm_start.steps + ceil(tokens / (emitted_share(config) * config.warm_start.batch_tokens))
    return [*common, "--epochs", "0", "--warm-start.stop-at", "2", "--warm-start.steps", str(steps)]


def shares_start(variant: str, options: Options) -> bool:
    """Tells whether a variant does after the warm start what it does otherwise."""
    own, full = (config_of(flags_of(name, options)) for name in (variant, "full"))
    return all(getattr(own, name) == getattr(full, name) for name in ("warm_start", "transformer", "call_stack"))


def start(seed: int, options: Options) -> Path:
    """Returns the folder of the warm start that variants share; trains it unless that is done."""
    flags = [*shlex.split(options.common), "--epochs", "0", "--seed", str(seed)]
    return train(f"start-{seed}", flags, options.work)


def emitted_share(config: TrainConfig) -> float:
    """Returns the share of the tokens of demonstrations that are imitated."""
    batches = iter(build_demonstrations(config, Team()))
    frames = [frame for _ in range(16) for frame in next(batches)]
    return sum(int(frame.imitate.sum()) for frame in frames) / sum(len(frame.tokens) for frame in frames)


def train(name: str, flags: Sequence[str], work: Path) -> Path:
    """Trains a run, or goes on with it, unless it is finished; returns its folder.

    Raises:
        ConfigurationError: If the folder has a run with other flags.
        SystemExit: If the training did not finish; it has said why.
    """
    folder = work / "runs" / name
    begun = any(folder.glob("checkpoints/*.pt"))
    if begun:
        check_same(folder, config_of(flags))
    elif folder.exists():  # killed before its first checkpoint
        shutil.rmtree(folder)
    if not (folder / "results.json").is_file():
        given = ["--resume", f"runs/{name}"] if begun else [*flags, "--name", name]
        process = subprocess.Popen([sys.executable, str(ROOT / "train_rl.py"), *given], cwd=work)
        # A terminal tells the training of Ctrl-C by itself, and it must be given the time to save.
        tell = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in tell.items()}
        status = process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
        if status:
            print("stopped; the same command goes on", file=sys.stderr)
            raise SystemExit(128 - status if status < 0 else status)
    return folder


def check_same(folder: Path, config: TrainConfig) -> None:
    """Raises ``ConfigurationError`` if a folder has a run with another configuration."""
    found, wanted = json.loads((folder / "config.json").read_text())["config"], json.loads(json.dumps(asdict(config)))
    for name in sorted(wanted.keys() - set(_MACHINE)):
        if found.get(name) != wanted[name]:
            raise ConfigurationError(f"{folder} with another {name}; accepted: the same flags, or another --work")


def outcome(folder: Path, share: float, imitated: int) -> dict[str, Any]:
    """Returns what is compared of a finished run.

    Its tokens are those that the expert or the policy has emitted: of the frames of the warm start that share.
    ``imitated`` are the tokens of the warm start that it began with.
    """
    results = json.loads((folder / "results.json").read_text())
    cells = {cell["name"]: cell["accuracy"] for cell in results["after"]}
    small = [accuracy for name, accuracy in cells.items() if int(name.split("/")[1]) <= 3]
    return {
        "run": folder.name,
        "average": float(np.mean(small)),
        "solved": {family: solved(cells, family) for family in FAMILIES},
        "tokens": round(share * (imitated + results["warm_start"]["tokens"])) + results["ppo"]["tokens"],
        "ppo_tokens": results["ppo"]["tokens"],
        "calls": float(np.mean([cell["subtasks"] for cell in results["after"]])),
        "cells": cells,
    }


def solved(cells: dict[str, float], family: str) -> int:
    """Returns up to which size all cells of a family are solved."""
    size = 0
    while cells.get(f"{family}/{size + 1}", 0.0) >= SOLVED:
        size += 1
    return size


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the lowest and the highest quarter, rounded down: of up to three, of all."""
    cut = values.shape[-1] // 4
    kept: np.ndarray = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return kept.mean(-1)


def estimate(values: Sequence[float], samples: int = 10_000) -> dict[str, Any]:
    """Interquartile mean over seeds, its 95% bootstrap interval (Agarwal et al. 2021), and every seed."""
    own = np.array(values, dtype=np.float64)
    again = stream("bootstrap", len(own)).choice(own, (samples, len(own)))
    low, high = np.quantile(interquartile_mean(again), (0.025, 0.975))
    return {"mean": float(interquartile_mean(own)), "low": float(low), "high": float(high), "seeds": list(values)}


def summarise(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Estimates every column of the table."""
    columns = {name: [found[name] for found in outcomes] for name in ("average", "tokens", "calls")}
    columns |= {family: [found["solved"][family] for found in outcomes] for family in FAMILIES}
    return {name: estimate(values) for name, values in columns.items()}


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Returns a markdown table: interquartile mean, interval, and every seed in order."""
    forms = {"average": "{:.1%}", **dict.fromkeys(FAMILIES, "{:.3g}"), "tokens": "{:,.0f}", "calls": "{:.2f}"}
    heads = [
        "variant",
        "1 to 3 digits",
        *(f"{family} solved to" for family in FAMILIES),
        "emitted tokens",
        "calls an answer",
    ]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * len(forms)]
    for variant, outcomes in found.items():
        columns = summarise(outcomes)
        cells = []
        for name, form in forms.items():
            mean, low, high = (form.format(columns[name][key]) for key in ("mean", "low", "high"))
            seeds = ", ".join(map(form.format, columns[name]["seeds"]))
            cells.append(f"{mean} [{low}, {high}] ({seeds})")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, Any]]], work: Path) -> Figure:
    """Draws solved size against tokens: a line a seed, sampled while PPO runs; its end is held out and greedy."""
    figure = Figure(figsize=(15, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(FAMILIES))
    for index, (variant, outcomes) in enumerate(found.items()):
        for seed, run in enumerate(outcomes):
            events = EventAccumulator(str(work / "runs" / run["run"]), size_guidance={"scalars": 0})
            events.Reload()
            for axis, family in zip(axes, FAMILIES, strict=True):
                tag = f"solved/{family}"
                scalars = events.Scalars(tag) if tag in events.Tags()["scalars"] else []
                last = max((scalar.step for scalar in scalars), default=0)
                steps = [(run["tokens"] - last + scalar.step) / 1e6 for scalar in scalars]
                sizes = [scalar.value for scalar in scalars]
                style = {"color": f"C{index % 10}", "linestyle": "-" if index < 10 else "--"}
                axis.step(steps, sizes, **style, alpha=0.6, linewidth=1, where="post")
                label = None if seed else variant
                axis.plot(run["tokens"] / 1e6, run["solved"][family], "o", color=style["color"], label=label)
    for axis, family in zip(axes, FAMILIES, strict=True):
        axis.set(
            title=family, xlabel="million emitted tokens, warm start included", ylim=(0, max(1, axis.get_ylim()[1]))
        )
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"digits solved at {SOLVED:.0%}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    return figure


def compare() -> int:
    """Runs what is missing and reports; returns the exit status."""
    options = parse(Options, __doc__)
    options.work.mkdir(parents=True, exist_ok=True)
    # A mistake in the flags shows before the first run, not hours later.
    sharing = [variant for variant in options.variants if shares_start(variant, options)]
    flags = {variant: flags_of(variant, options) for variant in options.variants}
    # All variants of a seed before the next seed: a table that is cut short compares the same seeds.
    planned = [(variant, seed) for seed in options.seeds for variant in options.variants]
    shares = {variant: emitted_share(config_of(flags[variant])) for variant in options.variants}
    found: dict[str, list[dict[str, Any]]] = {}
    seconds: list[float] = []  # of the runs that were trained
    for done, (variant, seed) in enumerate(planned):
        left = f", {np.mean(seconds) * (len(planned) - done) / 60:.0f} minutes left in all" if seconds else ""
        print(f"[{done + 1}/{len(planned)}] {variant}, seed {seed}{left}", flush=True)
        name, started = f"{variant}-{options.epochs}-{seed}", time.monotonic()
        was_finished = (options.work / "runs" / name / "results.json").is_file()
        given, imitated = [*flags[variant], "--seed", str(seed)], 0
        if variant in sharing:
            first = start(seed, options)
            given += ["--start", str(first.resolve() / "o1_model.pth"), "--warm-start.steps", "0"]
            imitated = json.loads((first / "results.json").read_text())["warm_start"]["tokens"]
        folder = train(name, given, options.work)
        seconds += [] if was_finished else [time.monotonic() - started]
        found.setdefault(variant, []).append({"seed": seed, **outcome(folder, shares[variant], imitated)})
        report = {
            name: {"flags": shlex.join(flags[name]), "summary": summarise(runs), "runs": runs}
            for name, runs in found.items()
        }
        write_json(options.work / "ablations.json", {"command": shlex.join(sys.argv), "variants": report})
    draw(found, options.work).savefig(options.work / "ablations.png")
    print(f"\n{table(found)}\n\nwrote {options.work}/ablations.json and ablations.png")
    return 0


if __name__ == "__main__":
    sys.exit(guarded("ablations.py", compare))
