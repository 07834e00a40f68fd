"""Expert frames as training batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from o1nano.agents.learning.packing import TrainingFrame
from o1nano.envs.core.curriculum import LevelSampler
from o1nano.envs.language.vocab import NINE, NOTHING, ZERO
from o1nano.envs.problems.expert import Frame, demonstrate
from o1nano.envs.problems.problem import Phrasing, draw

# Frames of one problem. A search has hundreds, most of them alike: sums of small numbers.
_MOST_FRAMES = 36
# Weight of a frame that finds nothing, relative to others of its length.
_DEAD_END = 0.25


class DemonstrationStream:
    """Draws problems, lets the expert solve them, and yields the frames in shuffled batches.

    Batches mix frames of every kind and length. Batches of one length, which need no padding, were measured to learn
    several times more slowly: see ``dev/LOG.md``.

    Args:
        level_sampler: Chooses the level of each problem.
        rng: Source of all randomness.
        batch_tokens: Smallest number of tokens of a batch.
        mistake_rate: Share of guesses that are wrong at first and then revised; the wrong ones are not imitated.
        corruption_rate: Share of frames that are cut after a planted wrong digit, to teach the critic what failure
            looks like; the wrong digit is not imitated.
        pool: Number of batches that are drawn and shuffled together.
        call_stack: Whether subtasks are frames of their own; otherwise the caller writes their solutions inside its
            own frame, as an environment with ``call_stack=False`` wants it.
        phrasing: How problems are written: see ``problem.draw``.
    """

    def __init__(
        self,
        level_sampler: LevelSampler,
        rng: np.random.Generator,
        batch_tokens: int,
        mistake_rate: float = 0.4,
        corruption_rate: float = 0.1,
        pool: int = 16,
        call_stack: bool = True,
        phrasing: Phrasing = "mixed",
    ) -> None:
        self.level_sampler = level_sampler
        self.rng = rng
        self.batch_tokens = batch_tokens
        self.mistake_rate = mistake_rate
        self.corruption_rate = corruption_rate
        self.pool = pool
        self.call_stack = call_stack
        self.phrasing = phrasing

        # Together these two give the position in the stream.
        self._pool_state = rng.bit_generator.state  # random state before the pool was drawn
        self._taken = 0  # batches of the pool that have been yielded

    def __iter__(self) -> Iterator[list[TrainingFrame]]:
        """Yields batches without end, each sorted by length. It begins where the last iterator, or state, has ended."""
        # The pool is drawn again, and what was taken of it is skipped.
        self.rng.bit_generator.state = self._pool_state
        while True:
            self._pool_state = self.rng.bit_generator.state
            skipped = self._taken
            for taken, batch in enumerate(self._draw_pool(), start=1):
                self._taken = taken
                if taken > skipped:
                    yield batch
            self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the position in the stream, as plain containers: the start of a pool, and what was taken of it."""
        return {"pool_state": self._pool_state, "taken": self._taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a position; then iterate again.

        Args:
            state: What ``state_dict`` of a stream with the same arguments returned.
        """
        self._pool_state = state["pool_state"]
        self._taken = state["taken"]

    def _draw_pool(self) -> Iterator[list[TrainingFrame]]:
        """Yields the batches of a pool. Frames that are left over, fewer than a batch, are dropped."""
        # A problem has many frames. They are drawn for several batches at once, so that a batch mixes many problems.
        frames: list[Frame] = []
        total = 0
        while total < self.pool * self.batch_tokens:
            problem = draw(self.level_sampler.draw(self.rng), self.rng, phrasing=self.phrasing)
            solution = demonstrate(problem, self.rng, self.mistake_rate, self.call_stack)
            kept = choose_frames(solution, self.rng)
            frames += kept
            total += sum(len(frame.tokens) for frame in kept)

        batch: list[TrainingFrame] = []
        size = 0
        for index in self.rng.permutation(len(frames)):
            batch.append(self._training_frame(frames[index]))
            size += len(frames[index].tokens)
            if size >= self.batch_tokens:
                batch.sort(key=lambda frame: len(frame.tokens))
                yield batch
                batch = []
                size = 0

    def _training_frame(self, frame: Frame) -> TrainingFrame:
        """Returns what is to be learned from a frame of the expert."""
        tokens = np.array(frame.tokens, dtype=np.uint8)
        positions = np.flatnonzero(frame.emitted) - 1
        # A mistake is shown because of its repair: what follows it is imitated, the mistake is not.
        imitate = ~np.isin(positions + 1, frame.mistakes)
        returns = np.ones(len(positions), np.float32)
        whole = TrainingFrame(tokens, positions, imitate=imitate, returns=returns)
        return corrupted(whole, self.rng) if self.rng.random() < self.corruption_rate else whole


def choose_frames(solution: list[Frame], rng: np.random.Generator) -> list[Frame]:
    """Returns the frames of a solution, or of a long one a part, with many of the rare frames.

    Rare are long frames, and in a search those that find something: a model that sees ten dead ends for each of them
    learns to say ``_`` before it learns to compare.

    Args:
        solution: All frames of a problem.
        rng: Source of randomness.
    """
    if len(solution) <= _MOST_FRAMES:
        return solution
    weights = []
    for frame in solution:
        is_dead_end = frame.tokens[-2] == NOTHING
        weights.append(len(frame.tokens) ** 2 * (_DEAD_END if is_dead_end else 1.0))
    chosen = rng.choice(len(solution), _MOST_FRAMES, replace=False, p=np.array(weights) / sum(weights))
    return [solution[index] for index in chosen]


def corrupted(frame: TrainingFrame, rng: np.random.Generator) -> TrainingFrame:
    """Returns a frame with one written digit replaced by a wrong one, cut after the position that has read it.

    ``1 + 2 = <think> 3 0 </think> 3 <eos>`` may become ``1 + 2 = <think> 7 0``. The critic is to expect 0 at the
    7; the 0 after it is a target only and is not imitated.

    Args:
        frame: A whole demonstration.
        rng: Source of randomness.

    Returns:
        A new frame, or the same one if it has no digit to replace.
    """
    # The last action is left alone: after it there is no position that the critic could value.
    written = frame.actions
    digits = np.flatnonzero((written >= ZERO) & (written <= NINE))
    digits = digits[digits + 1 < len(frame.positions)]
    if not len(digits):
        return frame

    # Any of the nine other digits, by adding 1 to 9 modulo 10.
    wrong = int(rng.choice(digits))
    index = frame.positions[wrong] + 1
    tokens = frame.tokens[: index + 2].copy()
    tokens[index] = ZERO + (tokens[index] - ZERO + rng.integers(1, 10)) % 10

    # The actions up to the wrong digit, and the one after it.
    positions = np.append(frame.positions[: wrong + 1], index)
    imitate = frame.imitate[: wrong + 2].copy()
    imitate[wrong:] = False
    returns = frame.returns[: wrong + 2].copy()
    returns[wrong + 1] = 0.0
    return TrainingFrame(tokens, positions, imitate=imitate, returns=returns)
