"""Ledger: the balance of very many entries. The frame holds entries and balances; every addition is a child's."""

from __future__ import annotations

import numpy as np

from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import ID, MINUS, PLUS
from o1nano.envs.problems.family import Script, below, draw_number
from o1nano.envs.problems.long import SHORT, LongFamily

_OVERHEAD = 24  # tokens of the longest wording and the answer, without numbers


class Ledger(LongFamily):
    """``balance(34, -12, 5, ...)``: the sum of the entries, some of which are withdrawals.

    The expert goes through the entries from the first to the last: ``<think> <call> 4 3 - 2 1 </call> «2 2» ; <call>
    2 2 + 5 </call> «7 2» ; ... </think> 2 7 <eos>``. Prompt and thinking share the frame: 128,000 tokens hold about
    7,000 entries of two digits. ``size`` is the largest number of digits of an entry.
    """

    name, op = "ledger", ID["balance"]
    phrasings = (
        "what is the balance of the list {list} ?",
        "find the balance of {list}",
    )
    asks = ("addition", "subtraction", "expression")
    arity = range(1, 64_001)
    negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws entries until a frame of ``other`` tokens is full with their balances; a balance is never negative."""
        room = (SHORT if other is None else other) - _OVERHEAD
        balance = draw_number(rng, size)
        entries, used = [balance], 2 * size
        while True:
            entry = draw_number(rng, 1 + below(rng, size))
            if entry <= balance and rng.random() < 0.4:
                entry = -entry
            length = len(render(entry, False))
            before, after = len(str(balance)), len(str(balance + entry))
            # "entry ," in the prompt; "<call> balance + entry </call> balance ;" in the thinking; the answer.
            used += 2 * length + before + after + 5
            if used + after > room and len(entries) > 1:
                return self.of(*entries)
            balance += entry
            entries.append(entry)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the balance."""
        return render(sum(numbers), least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """One call an entry."""
        balance = numbers[0]
        for entry in numbers[1:]:
            script.call(Binary(MINUS if entry < 0 else PLUS, balance, abs(entry)))
            script.step()
            balance += entry
        return self.answer(numbers, least_first=True)
