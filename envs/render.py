"""Draws a stack of frames: as text, live in a terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

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
"""Colours by the role of a token: of the prompt, of an answer that came back, or the channel that wrote it."""

SIZE = (800, 400)
"""Width and height of a picture, in pixels."""

BACKGROUND = "#14181d"
MARGIN = 16
LINE_HEIGHT = 26
FONT_SIZE = 18
SPACE = 7  # pixels between two tokens
INDENT = 24  # pixels, for each level of depth

_ANSWER_SYMBOLS = ("R", "_", "==", *"+-*/()<>")  # what answers consist of, besides digits
Token = tuple[str, str]  # the text of a token, and its role: a key of COLOURS


def draw_stack(frames: Iterable[Iterable[int]]) -> str:
    """Returns one line for each frame, indented by depth, the top frame last.

    Args:
        frames: The token ids of each open frame, the root first.
    """
    return "\n".join(f"{'  ' * depth}{spell(frame)}" for depth, frame in enumerate(frames))


def token_roles(frame: Iterable[int]) -> list[Token]:
    """Returns the tokens of a frame, each with its role: prompt, returned answer, or the channel that wrote it.

    Args:
        frame: Token ids; padding ends them.
    """
    channel = Grammar().channel
    successor = _successor()
    tokens: list[Token] = []
    state = 0
    in_prompt = True
    may_return = False  # whether the next token may belong to an answer that came back
    for token in frame:
        if token == PAD:
            break

        # Right after </call>, the tokens that answers consist of are an answer that came back: the grammar allows them
        # nowhere else before the next thought.
        may_return = may_return and (is_digit(token) or TOKENS[token] in _ANSWER_SYMBOLS)
        if in_prompt:
            role = "prompt"
        elif may_return:
            role = "returned"
        else:
            role = Channel(int(channel[state])).name.lower()
        tokens.append((TOKENS[token], role))

        # In a frame without a call stack, </call> ends thoughts, and the agent writes what follows.
        if not in_prompt and token == END_CALL and channel[state] == Channel.SUBTASK:
            may_return = True
        in_prompt = in_prompt and token != EQUALS
        state = int(successor[state, token])
    return tokens


@cache
def _successor() -> npt.NDArray[np.uint8]:
    """Returns one table for frames with and without a call stack, which differ only in what ends a call."""
    # What is illegal in one kind of frame is looked up in the other. A frame is of one kind only.
    nested = Grammar(calls=True, functions=True).successor
    flat = Grammar(calls=False, functions=True).successor
    return np.where(nested == State.ILLEGAL, flat, nested)


def _lines(
    frames: Sequence[Iterable[int]], width: float, indent: float, measure: Callable[[str], float]
) -> list[tuple[float, list[Token]]]:
    """Wraps the frames of a stack into lines.

    Args:
        frames: The token ids of each open frame, the root first.
        width: Width of the page.
        indent: Indentation of one level of depth.
        measure: Returns the width of a token.

    Returns:
        For each line, where it begins and its tokens.
    """
    lines: list[tuple[float, list[Token]]] = []
    for depth, frame in enumerate(frames):
        # Deep frames keep at least half of the width.
        start = min(indent * depth, width / 2)
        line: list[Token] = []
        used = start
        for text, role in token_roles(frame):
            if used + measure(text) > width:
                lines.append((start, line))
                line = []
                used = start
            line.append((text, role))
            used += measure(text)
        lines.append((start, line))
    return lines


def draw_picture(frames: Sequence[Iterable[int]]) -> npt.NDArray[np.uint8]:
    """Returns a picture of a stack, ``[H, W, 3]`` pixels. If the stack is too tall, the picture shows its top frames.

    Args:
        frames: The token ids of each open frame, the root first.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=FONT_SIZE)
    image = Image.new("RGB", SIZE, BACKGROUND)
    pen = ImageDraw.Draw(image)

    def measure(text: str) -> float:
        return pen.textlength(text, font=font) + SPACE

    width, height = SIZE
    lines = _lines(frames, width - 2 * MARGIN, INDENT, measure)
    # The top frame is drawn last, so the last lines are kept.
    visible = (height - 2 * MARGIN) // LINE_HEIGHT
    for row, (start, line) in enumerate(lines[-visible:]):
        x = MARGIN + start
        for text, role in line:
            pen.text((x, MARGIN + row * LINE_HEIGHT), text, fill=COLOURS[role], font=font)
            x += measure(text)
    return np.asarray(image)


def draw(frames: Sequence[Iterable[int]], mode: str | None) -> Any:
    """Returns a stack of frames: text in ``ansi`` mode, pixels in ``rgb_array`` mode, None in others.

    Args:
        frames: The token ids of each open frame, the root first.
        mode: The render mode.
    """
    if mode == "ansi":
        return draw_stack(frames)
    return draw_picture(frames) if mode == "rgb_array" else None


class Window:
    """The live stack of frames in a terminal."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def show(self, frames: Sequence[Iterable[int]]) -> None:
        """Redraws the window.

        Args:
            frames: The token ids of each open frame, the root first.
        """
        from rich.live import Live

        # The display starts with the first frame, so that environments which are never reset draw nothing.
        if self._live is None:
            self._live = Live(auto_refresh=False)
            self._live.start()
        self._live.update(_as_text(frames, self._live.console.width), refresh=True)

    def close(self) -> None:
        """Stops redrawing; the last picture stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _as_text(frames: Sequence[Iterable[int]], columns: int) -> Text:
    """Returns a stack as coloured text for a terminal with this number of columns."""
    from rich.text import Text

    page = Text()
    for start, line in _lines(frames, columns, 2, lambda text: len(text) + 1):
        page.append(" " * int(start))
        for text, role in line:
            page.append(text + " ", style=COLOURS[role])
        page.append("\n")
    return page
