"""One model for every task but Recall and Ledger: imitation of small sizes, then PPO on sizes that grow.

python -m benchmarks.recipes.everything --name everything    # trains; two processes, on two cores
python train_rl.py --resume runs/everything                  # continues a run that was stopped
python -m benchmarks.recipes.everything --costs              # what each family takes, without training

Further flags are those of train_rl.py, and replace the ones here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from o1nano.agents.learning.demonstrations import choose_frames
from o1nano.agents.learning.distributed import end
from o1nano.agents.run.plans import read_plans
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, draw
from o1nano.envs.seeding import stream
from train_rl import main as train

# FAMILY/DEMONSTRATED-LARGEST*SHARE:PRACTICE, see agents/run/plans.py. Shares even out the tokens of the families: those
# whose problems are short are drawn more often, and those with many sizes less. Countdown and the Game of 24 take a
# third of the tokens of imitation, because they are the hardest to imitate. In PPO the four operations are drawn most
# often, because they have the most sizes to open, and searches rarely, because one takes thousands of tokens.
PLANS = (
    *("addition/7-20*1.5:4", "subtraction/7-20*1.5:4", "multiplication/5-20*1.5:4", "division/5-10*1.5:2"),
    *("expression/3-5*2:1.5", "chain/3-5*0.8:1.5", "gcd/3-6*0.4", "modular/3-6*0.8:0.6", "list_sum/4-8*0.8"),
    *(
        "comparison/6-12*1.2",
        "maximum/4-8",
        "linear_equation/3-6*1.5:0.7",
        "countdown/5*1:0.05",
        "game_of_24/1*4.5:0.4",
    ),
    *("signed_addition/4-20", "signed_subtraction/4-20", "signed_multiplication/3-8", "signed_division/3-6*0.7"),
    *("signed_expression/3-4*2:1.5", "signed_chain/2-4*0.7:1", "signed_gcd/2-4*0.4:0.3", "signed_modular/2-4*0.5:0.4"),
    *("signed_list_sum/3-6*0.8", "signed_comparison/3-8", "signed_maximum/3-6*0.4", "signed_linear_equation/2-4*0.4"),
    *("long_expression/3-7*0.5", "long_chain/9-19*0.2", "long_list_sum/5-15*0.3", "long_maximum/5-15*0.3"),
)
# Two numbers that make the target: in searches, most frames of two numbers are dead ends.
PAIRS = (*8 * ("countdown/1",), *4 * ("countdown/1x2",))
FLAGS = (
    *("--processes", "2", "--threads", "1", "--frame-length", "768", "--phrasing", "everyday"),
    # Searches of six numbers can take more.
    *("--max-tokens", "32768"),
    *("--plans", *PLANS),
    *("--extra-levels", *PAIRS),
    # Imitation: about 24 million tokens.
    *("--warm-start.steps", "6000", "--warm-start.batch-tokens", "4096"),
    *("--warm-start.stop-at", "None", "--warm-start.check-every", "None"),
    # PPO goes far beyond the demonstrated sizes. Imitation continues beside it, so that no family is forgotten.
    *("--iterations", "1400"),
    *("--curriculum.promote", "0.75", "--curriculum.demote", "0.05"),
    *("--curriculum.floor", "0.02", "--curriculum.window", "32"),
    *("--evaluation.problems-per-level", "20", "--evaluation.sum-digits", "6", "--evaluation.product-digits", "5"),
)
# Problems of each level. The costs of a search differ by a factor of ten and more.
_SAMPLES = 120


def costs() -> None:
    """Prints what the demonstrations of each family take: its share of draws and of tokens, and its longest frame."""
    plans = read_plans(PLANS)
    rows = []
    for name, plan in plans.items():
        tokens = []
        frames = []
        longest = 0
        rng = stream("costs", name)
        for level in plan.demonstrations:
            for _ in range(_SAMPLES):
                whole = demonstrate(draw(level, rng, phrasing="everyday"), rng, 0.4)
                solution = choose_frames(whole, rng)
                lengths = [len(frame.tokens) for frame in solution]
                tokens.append(sum(lengths))
                frames.append(len(solution))
                longest = max(longest, *lengths)
        weight = plan.share * plan.demonstrated
        rows.append(
            (name, weight, float(np.mean(tokens)), float(np.mean(frames)), longest, _longest(plan.extremes[-1]))
        )

    draws = sum(row[1] for row in rows)
    total = sum(row[1] * row[2] for row in rows)
    print(f"{'family':24}{'draws':>8}{'tokens':>8}{'a problem':>11}{'frames':>8}{'longest':>9}{'largest size':>14}")
    for name, weight, mean, count, longest, largest in rows:
        shares = f"{weight / draws:8.1%}{weight * mean / total:8.1%}"
        print(f"{name:24}{shares}{mean:11.0f}{count:8.1f}{longest:9}{largest:14}")


def _longest(level: Level) -> int:
    """Returns the tokens of the longest frame among a few solutions of a level, without mistakes."""
    rng = stream("costs", level)
    longest = 0
    for _ in range(8):
        solution = demonstrate(draw(level, rng, phrasing="everyday"), rng, 0.0)
        longest = max(longest, *(len(frame.tokens) for frame in solution))
    return longest


def main(arguments: Sequence[str]) -> int:
    """Trains, or prints the costs; returns the exit status."""
    if "--costs" in arguments:
        costs()
        return 0
    # The last of two equal flags counts.
    sys.argv = [sys.argv[0], *FLAGS, *arguments]
    return train()


if __name__ == "__main__":
    end(main(sys.argv[1:]))
