"""Progress of a run: a live display in a terminal, plain lines elsewhere, nothing if it is quiet."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows one phase after the other: the amount done, the rate, the time left, some facts, and a sample.

    Args:
        quiet: Whether to show nothing at all.
        console: Where to show it. By default standard output. If it is not a terminal, lines are printed.
        transient: Whether the display disappears when a phase ends.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None, transient: bool = False) -> None:
        self.console = console or Console(highlight=False, quiet=quiet)
        self.transient = transient
        self.live: Live | None = None
        self.text = Text()
        self.phase = ""

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Begins a phase.

        Args:
            phase: Its name.
            total: Units of the whole phase.
            done: Units that were done before, by an earlier session.
        """
        self.end()
        self.phase = phase
        self.total = total
        self.done = done
        self.first = done
        self.facts = ""
        self.began = time.monotonic()
        self.shown = self.began
        # Units and facts of the last line that was printed.
        self.printed = (-1, "")
        if self.console.is_terminal:
            self._start_live()

    def _start_live(self) -> None:
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
        )
        self.progress = Progress(*columns, console=self.console)
        self.task = self.progress.add_task(self.phase, total=self.total, completed=self.done, rate="", facts="")
        shown = Group(self.progress, self.text)
        self.live = Live(shown, console=self.console, refresh_per_second=4, transient=self.transient)
        self.live.start()

    def update(self, done: int, facts: str | None = None) -> None:
        """Shows the progress.

        Args:
            done: Units done so far.
            facts: A short text about them. None keeps the last one.
        """
        self.done = done
        if facts is not None:
            self.facts = facts
        if self.live is not None:
            self.progress.update(self.task, completed=done, rate=self._rate(), facts=self.facts)
        elif time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES:
            self._print()

    def sample(self, text: str) -> None:
        """Shows a sample of several lines, in a terminal only."""
        self.text.plain = text

    def end(self) -> None:
        """Ends the phase. Its last line stays, unless the display is transient."""
        # The sample is of no use once the phase has ended.
        if self.live is not None:
            self.text.plain = ""
            self.live.stop()
            self.live = None
        elif self.phase and not self.transient and self.printed != (self.done, self.facts):
            self._print()
        self.phase = ""

    def print(self, text: str) -> None:
        """Prints text below the display."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _rate(self) -> str:
        return f"{(self.done - self.first) / max(time.monotonic() - self.began, 1e-9):.2f}/s"

    def _print(self) -> None:
        self.shown = time.monotonic()
        self.printed = (self.done, self.facts)

        # Assumes the rate since the phase began in this session.
        new = self.done - self.first
        left = (self.total - self.done) * (self.shown - self.began) / new if new else 0.0
        time_left = f", {left:.0f} s left" if left else ""
        facts = f", {self.facts}" if self.facts else ""
        self.print(f"{self.phase} {self.done}/{self.total}, {self._rate()}{time_left}{facts}")
