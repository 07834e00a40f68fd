"""How problems are said: the templates of functions and phrasings.

A template is both the way to say a function and the way to read it: words and signs of the vocabulary, and slots.
``{a}``, ``{b}``, ... stand for its arguments, ``{list}`` for all the others with commas between them, ``{+b}`` for a
number written with its sign (``+ 4``, ``- 4``), ``{op}`` for the function's token; ``{pairs}`` for all the others as
``3 : 1 4 , 1 5 : 9``; ``{expr}``, which is only said, for a whole expression.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from o1nano.envs.language.expression import PRECEDENCE, Expr, Function, Task, listed, render
from o1nano.envs.language.vocab import COLON, COMMA, ID, MINUS, PLUS, TIMES, digits_of

# What stands before and behind a slot decides how much of an expression may stand in it without parentheses.
_BEFORE: dict[int | str, int] = {ID["mod"]: 2, ID["modulo"]: 2, ID["by"]: 2}
_BEHIND: dict[int | str, int] = {ID["mod"]: 1, ID["modulo"]: 1, TIMES: 2, ID["x"]: 2, "+b": 1}


def say(template: str, task: Task) -> list[int]:
    """Writes a problem in one of its family's templates, numbers as people write them."""
    args = task.args if isinstance(task, Function) else (task.left, task.right)
    tokens: list[int] = []
    for piece, floor in pieces(template):
        if isinstance(piece, int):
            tokens.append(piece)
        elif piece == "op":
            tokens.append(task.op)
        elif piece == "expr":
            tokens += render(task, least_first=False)
        elif piece == "list":
            tokens += listed(args[_slots(template) :], least_first=False)
        elif piece == "pairs":
            tokens += listed(args[_slots(template) :], least_first=False, separators=(COLON, COMMA))
        elif piece[0] == "+":
            number = args[slot_index(piece)]
            assert isinstance(number, int)
            tokens += [MINUS if number < 0 else PLUS, *digits_of(abs(number), least_first=False)]
        else:
            tokens += render(_wrap(args[slot_index(piece)], floor), least_first=False)
    return tokens


@cache
def fitting(templates: tuple[str, ...], arguments: int) -> tuple[str, ...]:
    """Returns the templates that have a place for every argument, or operand."""
    return tuple(template for template in templates if _fits(template, arguments))


def _fits(template: str, arguments: int) -> bool:
    spare = arguments - _slots(template)
    return spare > 0 if "{list}" in template or "{pairs}" in template else spare == 0 or "{expr}" in template


@cache
def pieces(template: str) -> tuple[tuple[int | str, int], ...]:
    """Returns tokens and names of slots, each with the precedence that an operator in a slot must exceed."""
    words = [word[1:-1] if word[0] == "{" else ID[word] for word in template.split()]
    around = zip(["", *words[:-1]], words, [*words[1:], ""], strict=True)
    return tuple((word, max(_BEFORE.get(before, 0), _BEHIND.get(behind, 0))) for before, word, behind in around)


@cache
def _slots(template: str) -> int:
    """Counts the slots of single arguments."""
    return sum(isinstance(piece, str) and len(piece.lstrip("+")) == 1 for piece, _ in pieces(template))


def slot_index(slot: str) -> int:
    """Returns which argument a slot such as ``b`` or ``+b`` stands for."""
    return ord(slot[-1]) - ord("a")


def _wrap(arg: Expr, floor: int) -> Expr:
    """Adds the parentheses without which an argument would not be read back."""
    return arg if isinstance(arg, int) else replace(arg, parens=PRECEDENCE[arg.op] <= floor)
