"""The vocabulary: a hundred symbols and words, one token each, and nothing is ever mapped to padding.

Ids are part of every checkpoint, so tokens are only ever appended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from o1nano.envs.errors import TokenizationError

DIGITS = tuple("0123456789")
WORDS = (
    *("calculate", "what", "is", "the", "sum", "difference", "product", "quotient", "of", "and", "between"),
    *("plus", "minus", "times", "divided", "by", "?"),
)
FUNCTIONS = ("gcd", "mod", "total", "max", "min", "compare", "solve", "make", "recall", "f", "g", "h")
ROOT_FUNCTIONS = ("balance",)  # words that name a function too, in problems only: no call can
MORE_WORDS = (
    *("greatest", "common", "divisor", "remainder", "when", "modulo", "all", "in", "list", "numbers"),
    *("which", "larger", "smaller", "largest", "smallest", "maximum", "minimum", "or", "how", "does", "to"),
    *("for", "if", "equals", "find", "from", "using", "with", "key", "value", "entry", "balance"),
)
TOKENS: tuple[str, ...] = (
    "<pad>",
    *DIGITS,
    *("+", "-", "*", "/", "(", ")", "="),
    "R",  # remainder
    "\\",  # one quotient digit with remainder: the helper operation of long division
    "_",  # no digit here
    ";",  # step done
    *("<problem>", "<subtask>", "<think>", "</think>", "<call>", "</call>", "<goto>"),
    *("<ok>", "<wrong>", "<revise>"),
    "%",  # digit sum mod 9, for self-checks
    "<eos>",
    *WORDS,
    *(",", ":", "<", ">", "==", "x"),
    *FUNCTIONS,
    *MORE_WORDS,
)
VOCAB_SIZE = len(TOKENS)
ID: dict[str, int] = {token: index for index, token in enumerate(TOKENS)}

PAD, ZERO, NINE = ID["<pad>"], ID["0"], ID["9"]
PLUS, MINUS, TIMES, DIVIDE = ID["+"], ID["-"], ID["*"], ID["/"]
OPEN, CLOSE, EQUALS, REMAINDER, QUOTIENT_DIGIT = ID["("], ID[")"], ID["="], ID["R"], ID["\\"]
COMMA, COLON, LESS, GREATER, SAME, NOTHING = ID[","], ID[":"], ID["<"], ID[">"], ID["=="], ID["_"]
STEP, PROBLEM, SUBTASK = ID[";"], ID["<problem>"], ID["<subtask>"]
THINK, END_THINK, CALL, END_CALL, GOTO = ID["<think>"], ID["</think>"], ID["<call>"], ID["</call>"], ID["<goto>"]
OK, WRONG, REVISE, CHECK, EOS = ID["<ok>"], ID["<wrong>"], ID["<revise>"], ID["%"], ID["<eos>"]

ACCEPTED = '"98+45", "(4-7)*3", "What is 98 plus 45?", "Calculate the quotient of 98 and 45", "gcd(48, 36)"'
_DIGIT_TOKENS = bytes.maketrans(b"0123456789", bytes(range(ZERO, NINE + 1)))
_PIECES = re.compile(r"\d|[a-z]+|\S")
_IN_PROBLEMS = frozenset((*DIGITS, *"+-*/()=,:x", *WORDS, *FUNCTIONS, *MORE_WORDS))
_FUNCTIONS = frozenset(ID[name] for name in (*FUNCTIONS, *ROOT_FUNCTIONS))
# An equation is symbols all the same: the word stands in it because a prompt ends with its only "=".
_WORDS = frozenset(ID[word] for word in (*WORDS, *MORE_WORDS)) - {ID["equals"]} - _FUNCTIONS


def tokenize(text: str) -> list[int]:
    """Turns the text of a problem into token ids, numbers most significant digit first.

    Args:
        text: A problem as people write it, symbolic or in words, in any case; ``×``, ``÷`` and ``−`` are read too.

    Returns:
        Token ids, without ``<problem>`` and without the final ``=`` (one in the text is dropped). Any other ``=``
        becomes ``equals``: a prompt ends with its only ``=``.

    Raises:
        TokenizationError: Names the first word or sign that has no token.
    """
    plain = text.strip().lower().replace("×", "*").replace("÷", "/").replace("−", "-")
    if re.search(r"\d[\s]+\d", plain):
        raise TokenizationError(f"two numbers with nothing between them in {text.strip()[:80]!r}; accepted: {ACCEPTED}")
    pieces = _PIECES.findall(plain)
    for piece in pieces:
        if piece not in _IN_PROBLEMS or not piece.isascii():
            raise TokenizationError(f"unknown word {piece[:40]!r} in {text.strip()[:80]!r}; accepted: {ACCEPTED}")
    ids = [ID[piece] for piece in pieces]
    if ids and ids[-1] == EQUALS:
        ids.pop()
    return [ID["equals"] if token == EQUALS else token for token in ids]


def digits_of(value: int, least_first: bool) -> list[int]:
    """Returns the digit tokens of a non-negative integer."""
    digits = str(value).encode().translate(_DIGIT_TOKENS)
    return [*reversed(digits)] if least_first else [*digits]


def is_digit(token: int) -> bool:
    """Tells whether a token id is a digit."""
    return ZERO <= token <= NINE


def value_of(digits: Sequence[int], least_first: bool) -> int:
    """Returns the integer that digit tokens stand for."""
    text = "".join(TOKENS[digit] for digit in digits)
    return int(text[::-1] if least_first else text)


def answer_text(tokens: Iterable[int]) -> str:
    """Renders a visible answer, most significant digit first: ``143``, ``-19``, ``139 R 18``."""
    return "".join(TOKENS[token] for token in tokens).replace("R", " R ")


def is_worded(tokens: Iterable[int]) -> bool:
    """Tells whether a problem is asked in words rather than in symbols."""
    return not _WORDS.isdisjoint(tokens)


def problem_text(tokens: Sequence[int]) -> str:
    """Renders a problem as people write it: ``98+45``, ``gcd(48, 36)``, ``3*x+4=19``, ``what is 98 plus 45 ?``."""
    if is_worded(tokens):
        return re.sub(r"(?<=\d) (?=\d)| (?=,)", "", spell(tokens))
    named = [f" {TOKENS[token]} " if token in _FUNCTIONS else TOKENS[token] for token in tokens]
    return "".join(named).replace(" (", "(").replace(",", ", ").replace("equals", "=").strip()


def spell(tokens: Iterable[int]) -> str:
    """Renders any tokens, separated by spaces; padding is left out."""
    return " ".join(TOKENS[token] for token in tokens if token != PAD)
