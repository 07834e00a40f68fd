"""Drawing a stack of frames: as text, live in a terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import Channel, Grammar, State
from o1nano.envs.language.vocab import END_CALL, EQUALS, PAD, TOKENS, is_digit, spell

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

COLOURS = {
    "prompt": "#9aa5b1",
    "returned": "#6fcf97",
    Channel.REASONING.name.lower(): "#7db7ff",
    Channel.SUBTASK.name.lower(): "#ffb86b",
    Channel.COMPLETION.name.lower(): "#ffffff",
}
BACKGROUND = "#14181d"
SIZE, MARGIN, LINE = (800, 400), 16, 26  # pixels of a picture, its margin and one line
_ANSWERS = ("R", "_", "==", *"+-*/()<>")  # and digits
Span = tuple[str, str]  # a token and what it is: a key of COLOURS


def draw_stack(frames: Iterable[Iterable[int]]) -> str:
    """Returns one line a frame, indented by depth, the top frame last."""
    return "\n".join(f"{'  ' * depth}{spell(frame)}" for depth, frame in enumerate(frames))


def spans(frame: Iterable[int]) -> list[Span]:
    """Returns the tokens of a frame, each with what it is: prompt, returned answer, or the channel that wrote it."""
    channel, successor = Grammar().channel, _successor()
    out: list[Span] = []
    state, kind, asked = 0, "prompt", False
    for token in frame:
        if token == PAD:
            break
        if asked:
            # What answers consist of is, right behind </call>, an answer that came back: nothing else can stand there.
            came_back = kind in ("returned", "call ended") and (is_digit(token) or TOKENS[token] in _ANSWERS)
            kind = "returned" if came_back else Channel(int(channel[state])).name.lower()
        out.append((TOKENS[token], kind))
        # A flat frame has thoughts before its </call>, and what follows is written by the agent like all of it.
        if asked and token == END_CALL and channel[state] == Channel.SUBTASK:
            kind = "call ended"
        asked = asked or token == EQUALS
        state = int(successor[state, token])
    return out


@cache
def _successor() -> npt.NDArray[np.uint8]:
    """Returns the tables of frames with calls and of flat ones as one: they differ in what ends a call."""
    nested, flat = (Grammar(calls=calls, functions=True).successor for calls in (True, False))
    return np.where(nested == State.ILLEGAL, flat, nested)


def _lines(
    frames: Sequence[Iterable[int]], width: float, indent: float, measure: Callable[[str], float]
) -> list[tuple[float, list[Span]]]:
    """Wraps the frames of a stack: each line is where it begins and its spans."""
    lines: list[tuple[float, list[Span]]] = []
    for depth, frame in enumerate(frames):
        start = min(indent * depth, width / 2)
        line: list[Span] = []
        used = start
        for text, kind in spans(frame):
            if used + measure(text) > width:
                lines.append((start, line))
                line, used = [], start
            line.append((text, kind))
            used += measure(text)
        lines.append((start, line))
    return lines


def draw_picture(frames: Sequence[Iterable[int]]) -> npt.NDArray[np.uint8]:
    """Returns ``[H, W, 3]`` pixels, always of the same size; of a stack that is too tall, the top frames."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=18)
    image = Image.new("RGB", SIZE, BACKGROUND)
    pen = ImageDraw.Draw(image)

    def measure(text: str) -> float:
        return pen.textlength(text, font=font) + 7

    lines = _lines(frames, SIZE[0] - 2 * MARGIN, 24, measure)
    for row, (start, line) in enumerate(lines[-((SIZE[1] - 2 * MARGIN) // LINE) :]):
        x = MARGIN + start
        for text, kind in line:
            pen.text((x, MARGIN + row * LINE), text, fill=COLOURS[kind], font=font)
            x += measure(text)
    return np.asarray(image)


class Window:
    """The live stack of frames in a terminal."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def show(self, frames: Sequence[Iterable[int]]) -> None:
        """Redraws the window."""
        from rich.live import Live

        if self._live is None:
            self._live = Live(auto_refresh=False)
            self._live.start()
        self._live.update(_as_text(frames, self._live.console.width), refresh=True)

    def close(self) -> None:
        """Leaves the last picture on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _as_text(frames: Sequence[Iterable[int]], columns: int) -> Text:
    from rich.text import Text

    out = Text()
    for start, line in _lines(frames, columns, 2, lambda text: len(text) + 1):
        out.append(" " * int(start))
        for text, kind in line:
            out.append(text + " ", style=COLOURS[kind])
        out.append("\n")
    return out
