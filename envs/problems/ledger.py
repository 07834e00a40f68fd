"""Ledger: the balance of very many entries. The frame holds entries and balances; subtasks do every addition."""

from __future__ import annotations

import numpy as np

from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import ID, MINUS, PLUS
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.family import DEFAULT_FRAME_LENGTH, LongFamily
from o1nano.envs.problems.script import Script

# Tokens of the longest wording, the answer, and the marks around them, without numbers.
_OVERHEAD = 24
# Share of negative entries among those that the balance covers.
_WITHDRAWALS = 0.4


class Ledger(LongFamily):
    """``balance(34, -12, 5, ...)``: the sum of the entries, some of which are withdrawals.

    The expert takes the entries in order: ``<think> <call> 4 3 - 2 1 </call> «2 2» ; <call> 2 2 + 5 </call> «7 2» ; ...
    </think> 2 7 <eos>``. Prompt and thinking share the frame: 128,000 tokens hold about 7,000 entries of two digits.
    """

    name = "ledger"
    op = ID["balance"]
    phrasings = (
        "what is the balance of the list {list} ?",
        "find the balance of {list}",
    )
    asks = ("addition", "subtraction", "expression")
    arity = (1, 64_000)
    allows_negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, tokens: int | None = None, /) -> Function:
        """Draws entries until a frame is full with them and their balances. A balance is never negative.

        Args:
            rng: Source of all randomness.
            size: Most digits of an entry.
            tokens: Length of the frame; by default 128.
        """
        length = DEFAULT_FRAME_LENGTH if tokens is None else tokens
        room = length - _OVERHEAD

        # The first entry is the first balance. It stands in the prompt and in the first call.
        balance = draw_number(rng, size)
        entries = [balance]
        used = 2 * size
        while True:
            entry = draw_number(rng, 1 + below(rng, size))
            # A withdrawal must be covered.
            if entry <= balance and rng.random() < _WITHDRAWALS:
                entry = -entry

            # The frame must have room for the answer after the last entry.
            answer_length = len(str(balance + entry))
            used += self._entry_length(balance, entry)
            if used + answer_length > room and len(entries) > 1:
                return self.of(*entries)

            balance += entry
            entries.append(entry)

    @staticmethod
    def _entry_length(balance: int, entry: int) -> int:
        """Returns the tokens that an entry takes.

        ``entry ,`` in the prompt and ``<call> balance + entry </call> balance ;`` in the thinking: the entry twice, the
        balance before and after it, and 5 other tokens.
        """
        return 2 * len(render(entry, least_first=False)) + len(str(balance)) + len(str(balance + entry)) + 5

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the balance.

        Args:
            numbers: The entries.
            least_first: Whether digits are written least significant first.
        """
        return render(sum(numbers), least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Makes one call for each entry after the first.

        Args:
            numbers: The entries.
            script: Receives the thinking.
        """
        balance = numbers[0]
        for entry in numbers[1:]:
            # The sign of the entry becomes the operator: 34 - 12, not 34 + -12.
            op = MINUS if entry < 0 else PLUS
            script.call(Binary(op, balance, abs(entry)))
            script.step()
            balance += entry
        return self.answer(numbers, least_first=True)
