"""Expert frames as training batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.curriculum import LevelSampler
from o1nano.envs.language.vocab import NINE, ZERO
from o1nano.envs.problems.expert import Frame, demonstrate
from o1nano.envs.problems.problem import draw


@dataclass(slots=True)
class Demonstration:
    """A frame to learn from.

    Attributes:
        tokens: The whole frame.
        positions: ``[A]`` index of the token before each action.
        imitate: ``[A]`` whether the action is to be imitated.
        returns: ``[A]`` value target: 1 on the way to a right answer, 0 behind a planted wrong digit.
    """

    tokens: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.intp]
    imitate: npt.NDArray[np.bool_]
    returns: npt.NDArray[np.float32]


class DemonstrationStream:
    """Draws problems, has the expert solve them, and shuffles the frames.

    Batches mix frames of every kind and length. Batches of one length, which need no padding, were measured to learn
    several times more slowly: see ``dev/LOG.md``.

    Args:
        levels: Which problems.
        rng: Source of all randomness.
        batch_tokens: Tokens of a batch, at least.
        mistake_rate: Share of guesses that are wrong at first and then revised; the wrong ones are not imitated.
        corruption_rate: Share of frames that are cut after a planted wrong digit, to teach the critic what failure
            looks like; the wrong digit is not imitated.
        pool: Batches that are drawn and shuffled together.
        call_stack: See ``EnvConfig``.
    """

    def __init__(
        self,
        levels: LevelSampler,
        rng: np.random.Generator,
        batch_tokens: int,
        mistake_rate: float = 0.4,
        corruption_rate: float = 0.1,
        pool: int = 16,
        call_stack: bool = True,
    ) -> None:
        self.levels, self.rng, self.batch_tokens = levels, rng, batch_tokens
        self.mistake_rate = mistake_rate
        self.corruption_rate = corruption_rate
        self.pool = pool
        self.call_stack = call_stack
        self._before, self._taken = rng.bit_generator.state, 0  # random state before the pool, batches taken of it

    def __iter__(self) -> Iterator[list[Demonstration]]:
        """Yields batches for ever, each sorted by length."""
        while True:
            self._before, again = self.rng.bit_generator.state, self._taken
            for taken, batch in enumerate(self._draw_pool(), start=1):
                self._taken = taken
                if taken > again:
                    yield batch
            self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns where the stream is, as plain containers: what has been taken of a pool is drawn again."""
        return {"before": self._before, "taken": self._taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a stream with the same arguments returned; then iterate anew."""
        self.rng.bit_generator.state, self._taken = state["before"], state["taken"]
        self._before = state["before"]

    def _draw_pool(self) -> Iterator[list[Demonstration]]:
        frames: list[Frame] = []
        total = 0
        while total < self.pool * self.batch_tokens:
            new = demonstrate(draw(self.levels.draw(self.rng), self.rng), self.rng, self.mistake_rate, self.call_stack)
            frames += new
            total += sum(len(frame.tokens) for frame in new)
        batch: list[Demonstration] = []
        size = 0
        for index in self.rng.permutation(len(frames)):
            batch.append(self._learnable(frames[index]))
            size += len(frames[index].tokens)
            if size >= self.batch_tokens:
                batch.sort(key=lambda frame: len(frame.tokens))
                yield batch
                batch, size = [], 0

    def _learnable(self, frame: Frame) -> Demonstration:
        tokens = np.array(frame.tokens, dtype=np.uint8)
        positions = np.flatnonzero(frame.emitted) - 1
        # Mistakes are shown for their repair: what follows them is imitated, they are not.
        imitate = ~np.isin(positions + 1, frame.mistakes)
        whole = Demonstration(tokens, positions, imitate, np.ones(len(positions), np.float32))
        return self._corrupt(whole) if self.rng.random() < self.corruption_rate else whole

    def _corrupt(self, frame: Demonstration) -> Demonstration:
        """Replaces one written digit by a wrong one and cuts the frame behind the position that has read it."""
        written = frame.tokens[frame.positions + 1]
        # Behind the very last action there is no position left to value.
        digits = np.flatnonzero((written >= ZERO) & (written <= NINE))
        digits = digits[digits + 1 < len(frame.positions)]
        if not len(digits):
            return frame
        wrong = int(self.rng.choice(digits))
        at = frame.positions[wrong] + 1
        tokens = frame.tokens[: at + 2].copy()
        tokens[at] = ZERO + (tokens[at] - ZERO + self.rng.integers(1, 10)) % 10
        kept = slice(0, wrong + 2)
        imitate, returns = frame.imitate[kept].copy(), frame.returns[kept].copy()
        imitate[wrong:] = False
        returns[wrong + 1] = 0.0
        return Demonstration(tokens, np.append(frame.positions[: wrong + 1], at), imitate, returns)
