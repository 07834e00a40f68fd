"""How far a run is: one live display in a terminal, plain lines elsewhere, nothing if it is to be quiet."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 10.0  # seconds between plain lines


class Display:
    """Shows one phase after the other: how much is done, the rate, the time left, what is known, and a sample.

    Args:
        quiet: Shows nothing at all.
        console: Where; by default standard output. Without a terminal there, lines are printed.
        transient: Leaves nothing behind when a phase ends.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None, transient: bool = False) -> None:
        self.console = console or Console(highlight=False, quiet=quiet)
        self.transient = transient
        self.live: Live | None = None
        self.text, self.phase = Text(), ""

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Begins a phase of so many units, some of which may have been done before."""
        self.end()
        self.phase, self.total, self.done, self.first, self.facts = phase, total, done, done, ""
        self.began = self.shown = time.monotonic()
        self.printed = (-1, "")  # the last line: how many were done, and what was known
        if not self.console.is_terminal:
            return
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
        )
        self.progress = Progress(*columns, console=self.console)
        self.task = self.progress.add_task(phase, total=total, completed=done, rate="", facts="")
        shown = Group(self.progress, self.text)
        self.live = Live(shown, console=self.console, refresh_per_second=4, transient=self.transient)
        self.live.start()

    def update(self, done: int, facts: str | None = None) -> None:
        """Shows how many units are done, and what is known by now."""
        self.done, self.facts = done, self.facts if facts is None else facts
        if self.live is not None:
            self.progress.update(self.task, completed=done, rate=self._rate(), facts=self.facts)
        elif time.monotonic() - self.shown >= EVERY:
            self._print()

    def sample(self, text: str) -> None:
        """Shows a sample of what the model does; of several lines in a terminal only."""
        self.text.plain = text

    def end(self) -> None:
        """Ends the phase; the last line of it stays, unless it is to leave nothing behind."""
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
        self.shown, self.printed = time.monotonic(), (self.done, self.facts)
        new = self.done - self.first
        left = (self.total - self.done) * (self.shown - self.began) / new if new else 0.0
        time_left = f", {left:.0f} s left" if left else ""
        facts = f", {self.facts}" if self.facts else ""
        self.print(f"{self.phase} {self.done}/{self.total}, {self._rate()}{time_left}{facts}")
