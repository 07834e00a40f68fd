"""Trains O1-nano: supervised warm start, then PPO under a curriculum. ``python train_rl.py --help`` lists all flags.

``torchrun --nnodes N train_rl.py`` does the same on N machines. Installed, this file is the command ``o1nano-train``.
"""

from __future__ import annotations

import os

# PyTorch reads it when it is imported: threads that wait for each other sleep soon. By default they spin, and stop
# making progress once another process wants the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from o1nano.agents.learning.distributed import end
from o1nano.agents.run.phases import evaluate, reinforce, report, warm_start
from o1nano.agents.run.run import Run
from o1nano.agents.run.session import run_session


def train(run: Run) -> None:
    """The recipe. Each phase ends with a checkpoint; a resumed run skips the phases that it has finished.

    ``Run`` has built everything from the flags: environments, network, PPO, curriculum (agents/run/build.py).
    """
    # Supervised: masked cross-entropy on the frames of the written expert, on small problems only.
    run.phase("warm_start", warm_start)

    # Held-out problems of all sizes, answered greedily.
    run.phase("before", evaluate)

    # PPO on whole frames: ``model.learn``, while the curriculum opens one size after the other.
    run.phase("ppo", reinforce)

    # The same held-out problems again.
    run.phase("after", evaluate)

    # results.json, the table, the last figures in TensorBoard. o1_model.pth is written after every phase.
    report(run)


def main() -> int:
    """Reads the flags, starts the processes, opens the run and trains it; returns the exit status."""
    return run_session(train, __doc__)


if __name__ == "__main__":
    end(main())
