"""Reads problems: arithmetic in symbols and in words, functions in the ways that their templates say them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Expr, Task
from o1nano.envs.language.reader import Reader
from o1nano.envs.language.templates import may_begin, read_function, read_template
from o1nano.envs.language.vocab import COMMA, OPEN, longest_number

MAX_PARENTHESES = 200
"""Keeps the recursive descent far from Python's recursion limit."""

Readings = Mapping[int, Sequence[str]]
"""Templates of the ways to ask for each function, by its token."""

_IN_SUBTASKS = "{op} {list}"


def parse(tokens: Sequence[int], least_first: bool, functions: Readings) -> Expr | Task:
    """Reads the tokens of a prompt that stand between its first token and its ``=``.

    Args:
        tokens: Token ids of a problem, in symbols or in words.
        least_first: Whether the prompt is that of a subtask, whose numbers are written least significant digit first.
        functions: The functions that problems may ask for, with the templates of each.

    Returns:
        The problem as it is written, with all parentheses but those around a whole argument.

    Raises:
        ProblemError: If the tokens are not a problem.
    """
    tokens = list(tokens)
    _check_lengths(tokens)
    if not least_first:
        return _parse_root(tokens, functions)

    # Subtasks have one form: no words, and functions only as "gcd 8 4 , 6 3".
    reader = Reader(tokens, least_first)
    if tokens and tokens[0] in functions:
        return read_function(_IN_SUBTASKS, tokens[0], reader)
    return reader.problem()


def _check_lengths(tokens: list[int]) -> None:
    """Raises ``ProblemError`` if numbers could be too long, or parentheses too deep.

    Numbers and products of two numbers stay below Python's limit for converting text, and trees below that of
    recursion.
    """
    longest = _longest_part(tokens)
    if longest > longest_number():
        raise ProblemError(f"{longest} tokens without a comma among them; expected at most {longest_number()}")
    parentheses = tokens.count(OPEN)
    if parentheses > MAX_PARENTHESES:
        raise ProblemError(f"{parentheses} parentheses; expected at most {MAX_PARENTHESES} pairs")


def _longest_part(tokens: list[int]) -> int:
    """Returns the length of the longest part between commas."""
    longest = 0
    start = 0
    # The comma that is added at the end closes the last part.
    for index, token in enumerate([*tokens, COMMA]):
        if token == COMMA:
            longest = max(longest, index - start)
            start = index + 1
    return longest


def _parse_root(tokens: list[int], functions: Readings) -> Expr | Task:
    """Tries arithmetic, then every template. The error is that of the attempt that got furthest."""
    best = Reader(tokens, least_first=False)
    try:
        return best.problem()
    except ProblemError as error:
        reason = error

    # Templates begin at the first word, or after an opening such as "how much is".
    opened = Reader(tokens, least_first=False)
    starts = (0, opened.position) if opened.opening() else (0,)
    # A template does not fit as soon as one word differs, so most attempts end after a token or two.
    for start, op, template in _attempts(tokens, starts, functions):
        reader = Reader(tokens, least_first=False)
        reader.position = start
        try:
            return read_template(template, op, reader)
        except ProblemError as error:
            # What got furthest is most likely what was meant.
            if reader.position > best.position:
                best = reader
                reason = error
    raise reason


def _attempts(tokens: Sequence[int], starts: Sequence[int], functions: Readings) -> Iterator[tuple[int, int, str]]:
    """Yields every place where a template may begin, with every operator or function and each of its templates."""
    for start in starts:
        if start == len(tokens):
            continue
        for op, templates in functions.items():
            for template in templates:
                if may_begin(template, op, tokens[start]):
                    yield start, op, template
