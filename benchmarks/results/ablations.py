"""Trains variants of the recipe with several seeds, and compares them: a table, JSON, and solved size against tokens.

python -m benchmarks.results.ablations --iterations 125 --seeds 0 1 --work ablations

Variants of one seed that differ in PPO alone begin with the same warm start. The same command continues where it was
stopped: a run that was cut is resumed. ``ablations.json`` records all finished runs, of whichever command: none of them
is trained again, and table and picture show them all.
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

from benchmarks.results.ablation_report import draw, outcome, summarise, table
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run.build import build_demonstrations
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.prepare import prepare
from o1nano.envs.errors import ConfigurationError
from o1nano.policies.serialization import write_json

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = {
    "full": "",
    "supervised": "",  # see flags_of
    "no_curriculum": "--curriculum.strategy uniform",
    "kl": "--ppo.kl-coef 0.1",
    "flat": "--no-call-stack --frame-length 1024",
    "no_imitation": "--ppo.imitation-coef 0",
    "coupled": "--transformer.positions coupled",
    "places": "--transformer.positions places",
    "no_places": "--transformer.positions none",
    "rotary": "--transformer.positions rotary",
    "credit_frame": "--ppo.credit frame",
    "credit_episode": "--ppo.credit episode",
    "grpo": "--ppo.advantage group --ppo.group-size 8",
    "rloo": "--ppo.advantage leave_one_out --ppo.group-size 8",
    "critic_in_groups": "--ppo.group-size 8",
}
RECORD = "ablations.json"
# Of a configuration, what does not change what is compared.
_MACHINE = ("name", "init_from", "threads", "bf16", "device", "checkpoint_every")


@dataclass(frozen=True)
class Options:
    """What to compare."""

    iterations: int = 125
    """Iterations of PPO of every variant; the supervised one has the same number of tokens instead."""
    seeds: tuple[int, ...] = (0, 1)
    """Each is one run of each variant."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which: keys of VARIANTS in this file."""
    common: str = ""
    """Further flags of train_rl.py for all of them, as one text: --common="--sum-digits 5 --threads 1"."""
    work: Path = Path("ablations")
    """Where the runs are; also of the table as JSON and of the picture."""


def config_of(flags: Sequence[str]) -> TrainConfig:
    """Returns the configuration that flags of ``train_rl.py`` give."""
    return prepare(parse(TrainConfig, None, flags))


def flags_of(variant: str, options: Options) -> list[str]:
    """Returns the flags of a variant, but for seed and name.

    The supervised one is the control: it imitates the same short problems for longer, until it has had the number of
    tokens that PPO emits in its iterations, and those of the demonstrations beside PPO. (A step of the warm start is
    counted in whole frames, prompts and injected answers included. The control has all steps of the warm start, however
    early the others end it.)
    """
    if variant not in VARIANTS:
        raise ConfigurationError(f"variant {variant!r}; expected {', '.join(VARIANTS)}")
    common = shlex.split(options.common)
    if variant != "supervised":
        return [*common, *shlex.split(VARIANTS[variant]), "--iterations", str(options.iterations)]
    config = config_of([*common, "--iterations", str(options.iterations)])
    tokens = options.iterations * config.ppo.n_envs * config.ppo.n_steps
    steps = config.warm_start.steps + ceil(tokens / (emitted_share(config) * config.warm_start.batch_tokens))
    if config.ppo.imitation_coef:
        # A batch of demonstrations joins every minibatch.
        minibatches = max(1, round(config.ppo.n_envs * config.ppo.n_steps / config.ppo.batch_size))
        steps += options.iterations * config.ppo.n_epochs * minibatches
    return [*common, "--iterations", "0", "--warm-start.stop-at", "None", "--warm-start.steps", str(steps)]


def shares_start(variant: str, options: Options) -> bool:
    """Returns whether a variant does after the warm start what it does otherwise."""
    own, full = (config_of(flags_of(name, options)) for name in (variant, "full"))
    return all(getattr(own, name) == getattr(full, name) for name in ("warm_start", "transformer", "call_stack"))


def start(seed: int, options: Options) -> Path:
    """Returns the folder of the warm start that variants share; trains it unless that is done."""
    flags = [*shlex.split(options.common), "--iterations", "0", "--seed", str(seed)]
    return train(f"start-{seed}", flags, options.work)


def emitted_share(config: TrainConfig) -> float:
    """Returns the share of the tokens of demonstrations that are imitated."""
    batches = iter(build_demonstrations(config, ProcessGroup()))
    frames = [frame for _ in range(16) for frame in next(batches)]
    return sum(int(frame.imitate.sum()) for frame in frames) / sum(len(frame.tokens) for frame in frames)


def train(name: str, flags: Sequence[str], work: Path) -> Path:
    """Trains a run, or continues it, unless it is finished; returns its folder.

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
            print("stopped; to continue: the same command", file=sys.stderr)
            raise SystemExit(128 - status if status < 0 else status)
    return folder


def check_same(folder: Path, config: TrainConfig) -> None:
    """Raises ``ConfigurationError`` if a folder has a run with another configuration."""
    found, wanted = json.loads((folder / "config.json").read_text())["config"], json.loads(json.dumps(asdict(config)))
    for name in sorted(wanted.keys() - set(_MACHINE)):
        if found.get(name) != wanted[name]:
            raise ConfigurationError(f"{folder} with another {name}; expected the same flags, or another --work")


def recorded(record: Path, flags: dict[str, list[str]]) -> dict[str, list[dict[str, Any]]]:
    """Returns the finished runs of a record by variant.

    Raises:
        ConfigurationError: If it is damaged, or runs of a variant were made with other flags than those given now.
    """
    if not record.is_file():
        return {}
    try:
        found = {name: variant["runs"] for name, variant in json.loads(record.read_text())["variants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{record} is damaged; expected a record of this script, or another --work") from error
    for name, given in flags.items():
        for run in found.get(name, []):
            if run["flags"] != shlex.join(given):
                raise ConfigurationError(
                    f"{record} has {name} with {run['flags']}; expected those flags, or another --work"
                )
    return found


def compare() -> int:
    """Runs what is missing and reports; returns the exit status."""
    options = parse(Options, __doc__)
    check_least(options, iterations=0, seeds=0)
    options.work.mkdir(parents=True, exist_ok=True)
    # A mistake in the flags shows before the first run, not hours later.
    sharing = [variant for variant in options.variants if shares_start(variant, options)]
    flags = {variant: flags_of(variant, options) for variant in options.variants}
    # All variants of a seed before the next seed: a table that is cut short compares the same seeds.
    planned = [(variant, seed) for seed in options.seeds for variant in options.variants]
    shares = {variant: emitted_share(config_of(flags[variant])) for variant in options.variants}
    found = recorded(options.work / RECORD, flags)
    seconds: list[float] = []  # of the runs that were trained
    for done, (variant, seed) in enumerate(planned):
        runs = found.setdefault(variant, [])
        if any(run["seed"] == seed for run in runs):
            continue
        left = f", {np.mean(seconds) * (len(planned) - done) / 60:.0f} minutes left in all" if seconds else ""
        print(f"[{done + 1}/{len(planned)}] {variant}, seed {seed}{left}", flush=True)
        name, started = f"{variant}-{options.iterations}-{seed}", time.monotonic()
        given, imitated = [*flags[variant], "--seed", str(seed)], 0
        if variant in sharing:
            first = start(seed, options)
            given += ["--init-from", str(first.resolve() / "o1_model.pth"), "--warm-start.steps", "0"]
            imitated = json.loads((first / "results.json").read_text())["warm_start"]["tokens"]
        folder = train(name, given, options.work)
        seconds.append(time.monotonic() - started)
        runs.append({"seed": seed, "flags": shlex.join(flags[variant])})
        runs[-1] |= outcome(folder, shares[variant], imitated)
        runs.sort(key=lambda run: int(run["seed"]))
        report = {name: {"summary": summarise(runs), "runs": runs} for name, runs in found.items() if runs}
        write_json(options.work / RECORD, {"command": shlex.join(sys.argv), "variants": report})
    draw(found).savefig(options.work / "ablations.png")
    print(f"\n{table(found)}\n\nwrote {options.work / RECORD} and ablations.png")
    return 0


if __name__ == "__main__":
    sys.exit(guarded("ablations.py", compare))
