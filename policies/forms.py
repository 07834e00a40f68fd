"""Forms of problems: how they are written and built, whatever their numbers are. A family has many."""

from __future__ import annotations

from o1nano.envs.language.expression import Expr, Function, Task
from o1nano.envs.language.reader import without_frame
from o1nano.envs.language.vocab import EQUALS_WORD, ID, MINUS, PLUS, TIMES, TOKENS, X, is_digit
from o1nano.envs.problems.draws import is_square
from o1nano.envs.problems.problem import Problem

# Words for operators and signs: "5 plus 3" is written as "5 + 3" is.
_IN_SYMBOLS = {
    **{ID["plus"]: PLUS, ID["minus"]: MINUS, ID["negative"]: MINUS, ID["times"]: TIMES},
    **{ID["squared"]: ID["^2"]},
}
_NUMBER = "n"
# Words of a prompt that stand next to each other in a form.
_WINDOW = 3


def forms_of(problem: Problem) -> set[str]:
    """Returns the forms of a problem: every three words of its prompt in a row, and every part of its calculation.

    Numbers are ``n``. The words are those of ``written``, between ``<`` and ``>``. A part is an operand with the
    operation that it belongs to: in ``3*-(2+3)`` the right operand of a product is a negated calculation.

    Args:
        problem: The problem.
    """
    words = ["<", *written(problem).split(), ">"]
    forms: set[str] = set()
    for start in range(max(1, len(words) - _WINDOW + 1)):
        forms.add(" ".join(words[start : start + _WINDOW]))
    forms.update(_parts(problem.expr))
    return forms


def written(problem: Problem) -> str:
    """Returns what a prompt asks, with ``n`` for every number: ``- ( n + n )`` for "what is -(2+3)?".

    Openings such as "what is" and endings such as "= ?" are left out, since they stand around every form.

    Args:
        problem: The problem.
    """
    words: list[str] = []
    asked = without_frame(problem.prompt[1:-1])
    # The "=" of "12 x 12 = ?" is left out, that of an equation stays.
    is_equation = EQUALS_WORD in asked
    for token in asked:
        if is_digit(token):
            if words[-1:] != [_NUMBER]:
                words.append(_NUMBER)
            continue

        # "12 x 12" is a product, "3 x + 4" is not.
        symbol = TIMES if token == X and not is_equation else _IN_SYMBOLS.get(token, token)
        words.append(TOKENS[symbol])
    return " ".join(words)


def _parts(task: Task) -> set[str]:
    """Returns the parts of a calculation, or of all arguments of a function."""
    parts: set[str] = set()
    if isinstance(task, Function):
        for arg in task.args:
            _add_parts(arg, TOKENS[task.op], parts)
    else:
        _add_parts(task, "whole", parts)
    return parts


def _add_parts(expr: Expr, place: str, parts: set[str]) -> None:
    """Adds an operand with its place, and the operands that it has itself."""
    kind = _kind(expr)
    parts.add(f"{place}: {kind}")
    # The operands of a square are numbers.
    if isinstance(expr, int) or is_square(expr):
        return
    if expr.negation:
        _add_parts(expr.right, kind, parts)
        return
    operator = TOKENS[expr.op]
    _add_parts(expr.left, f"left of {operator}", parts)
    _add_parts(expr.right, f"right of {operator}", parts)


def _kind(expr: Expr) -> str:
    """Returns what an operand is: a number, a number with a sign, a square, a negated calculation, an operation."""
    if isinstance(expr, int):
        return f"- {_NUMBER}" if expr < 0 else _NUMBER
    if expr.negation:
        return "- ( )"
    if is_square(expr):
        return f"{_NUMBER} ^2"
    operator = TOKENS[expr.op]
    return f"( {operator} )" if expr.parens else operator
