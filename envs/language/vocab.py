"""The vocabulary: about 150 symbols and words, one token each. No text is ever mapped to padding.

Token ids are part of every checkpoint, so tokens are only ever appended.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from o1nano.envs.errors import TokenizationError

DIGITS = tuple("0123456789")
# The words of the phrasings of the four operations.
WORDS = (
    *("calculate", "what", "is", "the", "sum", "difference", "product", "quotient", "of", "and", "between"),
    *("plus", "minus", "times", "divided", "by", "?"),
)
# Names of functions that a frame may call. "f", "g" and "h" are free for families that users add.
CALLABLE_FUNCTIONS = ("gcd", "mod", "total", "max", "min", "compare", "solve", "make", "recall", "f", "g", "h")
# All names of functions. "balance" fills a whole frame, so no call has room for it.
FUNCTIONS = (*CALLABLE_FUNCTIONS, "balance")
# The words of the other phrasings.
MORE_WORDS = (
    *("greatest", "common", "divisor", "remainder", "when", "modulo", "all", "in", "list", "numbers"),
    *("which", "larger", "smaller", "largest", "smallest", "maximum", "minimum", "or", "how", "does", "to"),
    *("for", "if", "equals", "find", "from", "using", "with", "key", "value", "entry", "balance"),
)
# The words of everyday phrasings: "what's 7 squared", "take 3 away from 10". "^2" is the square in symbols.
EVERYDAY_WORDS = (
    *("what's", "much", "compute", "evaluate", "work", "out", "tell", "give", "me", "please", "result", "equal"),
    *("add", "up", "subtract", "take", "away", "multiply", "multiplied", "divide", "over", "increased", "decreased"),
    *("square", "squared", "^2", "half", "double", "twice", "triple", "negative", "together", "number", "than"),
    *("highest", "biggest", "bigger", "factor", "compared", "get", "do", "you", "use", "reach", "hcf", "gcf"),
)
TOKENS: tuple[str, ...] = (
    "<pad>",
    *DIGITS,
    *("+", "-", "*", "/", "(", ")", "="),
    "R",  # remainder
    "\\",  # one quotient digit with remainder: the helper operation of long division
    "_",  # separates a key from its value; as an answer, "there is none"
    ";",  # ends a step of the reasoning
    *("<problem>", "<subtask>", "<think>", "</think>", "<call>", "</call>", "<goto>"),
    *("<ok>", "<wrong>", "<revise>"),
    "%",  # digit sum modulo 9, for self-checks
    "<eos>",
    *WORDS,
    *(",", ":", "<", ">", "==", "x"),
    *CALLABLE_FUNCTIONS,
    *MORE_WORDS,
    *EVERYDAY_WORDS,
)
VOCAB_SIZE = len(TOKENS)
ID: dict[str, int] = {token: index for index, token in enumerate(TOKENS)}

# The ids that code refers to by name.
PAD = ID["<pad>"]
ZERO = ID["0"]
NINE = ID["9"]
# Arithmetic.
PLUS = ID["+"]
MINUS = ID["-"]
TIMES = ID["*"]
DIVIDE = ID["/"]
QUOTIENT_DIGIT = ID["\\"]
OPEN = ID["("]
CLOSE = ID[")"]
EQUALS = ID["="]
REMAINDER = ID["R"]
# In problems: the unknown, or a sign of multiplication; and any "=" but the prompt's own.
X = ID["x"]
EQUALS_WORD = ID["equals"]
# Lists and the answers of functions.
COMMA = ID[","]
COLON = ID[":"]
LESS = ID["<"]
GREATER = ID[">"]
SAME = ID["=="]
NOTHING = ID["_"]
# Frames.
PROBLEM = ID["<problem>"]
SUBTASK = ID["<subtask>"]
THINK = ID["<think>"]
END_THINK = ID["</think>"]
CALL = ID["<call>"]
END_CALL = ID["</call>"]
GOTO = ID["<goto>"]
EOS = ID["<eos>"]
# Reasoning.
STEP = ID[";"]
OK = ID["<ok>"]
WRONG = ID["<wrong>"]
REVISE = ID["<revise>"]
CHECK = ID["%"]

EXAMPLES = '"98+45", "(4-7)*3", "What is 98 plus 45?", "Calculate the quotient of 98 and 45", "gcd(48, 36)"'
"""Problems that error messages show."""

# Maps the ASCII codes of the digits to their token ids: b"143" becomes the bytes 2, 5, 4.
_DIGIT_TOKENS = bytes.maketrans(b"0123456789", bytes(range(ZERO, NINE + 1)))
# Splits a text into single digits, whole words, "==", "^2", and other single characters. "what's" is one word.
_PIECES = re.compile(r"\d|[a-z]+(?:'[a-z]+)?|==|\^2(?!\d)|\S")
_IN_PROBLEMS = (*DIGITS, *"+-*/()=,:x", *WORDS, *FUNCTIONS, *MORE_WORDS, *EVERYDAY_WORDS)
# Other spellings of tokens, tried in this order: signs that word processors write, "**2", and the square as one sign.
_SPELLINGS = (
    *(("×", "*"), ("·", "*"), ("⋅", "*"), ("∗", "*"), ("÷", "/"), ("−", "-"), ("–", "-"), ("’", "'")),
    (re.compile(r"\bwhats\b"), "what's"),
    *((re.compile(r"(?<=[\d)])\s*²"), "^2"), (re.compile(r"(?<=[\d)])\s*(?:\*\*|\^)\s*2(?!\d)"), "^2")),
)
_END_OF_SENTENCE = re.compile(r"\s*[.!]+\s*$")
# What people write that is not part of any task, with the reason.
_NOT_A_TASK = (
    (re.compile(r"\d[.]\d|(?<!\d)[.]\d"), "a decimal point ({}); expected whole numbers, as {}"),
    (re.compile(r"\^|\*\*|[²³]|\bcubed\b|\bpower\b"), "a power other than the square ({}); expected, for example, {}"),
    (re.compile(r"\b0[xbo][0-9a-f]+"), "a number in another base ({}); expected decimal numbers, as {}"),
    (re.compile(r"\bbinary\b|\bhexadecimal\b|\boctal\b|\bhex\b"), "another base ({}); expected decimal numbers, as {}"),
    (re.compile(r"%|\bpercent\b"), 'a percentage ({}); expected "mod" for a remainder; other forms are {}'),
)
_IN_ANSWERS = ("<", ">", "==", "_")
# Texts are read in lower case, so "R" is found as "r".
_READABLE = {token: ID[token] for token in (*_IN_PROBLEMS, *_IN_ANSWERS)} | {"r": REMAINDER}
_MAX_DIGITS = 1000
# The sum of many numbers is longer than each of them.
_SPARE_DIGITS = 10
_FUNCTION_TOKENS = frozenset(ID[name] for name in FUNCTIONS)
# "equals" does not make a problem worded: it is in the symbolic form of equations, because a prompt ends with its
# only "=". Neither do "?" and the square.
_SYMBOLS_AMONG_WORDS = {ID["equals"], ID["?"], ID["^2"]}
_WORD_TOKENS = frozenset(ID[word] for word in (*WORDS, *MORE_WORDS, *EVERYDAY_WORDS))
_WORD_TOKENS -= _SYMBOLS_AMONG_WORDS | _FUNCTION_TOKENS


def tokenize(text: str) -> list[int]:
    """Turns the text of a problem into token ids, numbers most significant digit first.

    Args:
        text: A problem as people write it, in symbols or in words, in upper or lower case. ``×``, ``÷`` and ``−`` are
            read too, and so is the text of an answer, such as ``139 R 18``.

    Returns:
        Token ids, without ``<problem>`` and without a final ``=``. Any other ``=`` becomes ``equals``, because a prompt
        ends with its only ``=``.

    Raises:
        TokenizationError: If a word or sign has no token. The message names the first one.
    """
    ids = tokenize_answer(_END_OF_SENTENCE.sub("", text))
    if ids and ids[-1] == EQUALS:
        ids.pop()
    return [ID["equals"] if token == EQUALS else token for token in ids]


def tokenize_answer(text: str) -> list[int]:
    """Turns the text of a visible answer into token ids. It is the inverse of ``answer_text``.

    Args:
        text: For example ``143``, ``-19``, ``139 R 18``, ``(7-8/8)*4`` or ``==``.

    Raises:
        TokenizationError: If a word or sign has no token. The message names the first one.
    """
    plain = _spelled(text)
    shown = repr(text.strip()[:80])
    _check_kind(plain, shown)

    # "12 34" would become the number 1234, because spaces are dropped.
    if re.search(r"\d[\s]+\d", plain):
        raise TokenizationError(f"two numbers with nothing between them in {shown}; expected, for example, {EXAMPLES}")

    ids = []
    for piece in _PIECES.findall(plain):
        if piece not in _READABLE:
            raise TokenizationError(f"unknown word {piece[:40]!r} in {shown}; expected, for example, {EXAMPLES}")
        ids.append(_READABLE[piece])
    return ids


def _spelled(text: str) -> str:
    """Returns a text in lower case, with one spelling for each token."""
    plain = text.strip().lower()
    for written, token in _SPELLINGS:
        plain = plain.replace(written, token) if isinstance(written, str) else written.sub(token, plain)
    return plain


def _check_kind(plain: str, shown: str) -> None:
    """Raises ``TokenizationError`` with the reason if a text asks for something that is not part of any task."""
    for pattern, reason in _NOT_A_TASK:
        # "^2" after a number is a token: it is not a power that nobody reads.
        found = pattern.search(re.sub(r"(?<=[\d)])\^2(?!\d)", "", plain))
        if found:
            raise TokenizationError(f"{reason.format(repr(found[0]), EXAMPLES)}; it was {shown}")


def without_leading_zeros(text: str) -> str:
    """Removes the leading zeros of the numbers in a text: ``007+50`` becomes ``7+50``.

    Args:
        text: A problem as people write it.
    """
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", text)


def longest_number() -> int:
    """Returns the number of digits that a number in a problem may have.

    It is 1,000, or less if ``PYTHONINTMAXSTRDIGITS`` limits the numbers that Python converts to text. An answer may be
    ``_SPARE_DIGITS`` digits longer than the longest number of its problem.
    """
    limit = sys.get_int_max_str_digits()
    # 0 means that Python has no limit.
    return min(_MAX_DIGITS, limit - _SPARE_DIGITS) if limit else _MAX_DIGITS


def digits_of(value: int, least_first: bool) -> list[int]:
    """Returns the digit tokens of a number.

    Args:
        value: A non-negative integer.
        least_first: Whether the least significant digit comes first.
    """
    digits = str(value).encode().translate(_DIGIT_TOKENS)
    return [*reversed(digits)] if least_first else [*digits]


def is_digit(token: int) -> bool:
    """Returns True if a token id is a digit."""
    return ZERO <= token <= NINE


def value_of(digits: Sequence[int], least_first: bool) -> int:
    """Returns the integer that digit tokens stand for.

    Args:
        digits: Digit tokens, at least one.
        least_first: Whether the least significant digit comes first.
    """
    text = "".join(TOKENS[digit] for digit in digits)
    return int(text[::-1] if least_first else text)


def answer_text(tokens: Iterable[int]) -> str:
    """Renders a visible answer: ``143``, ``-19``, ``139 R 18``.

    Args:
        tokens: The answer of a root frame, most significant digit first.
    """
    return "".join(TOKENS[token] for token in tokens).replace("R", " R ")


def is_worded(tokens: Iterable[int]) -> bool:
    """Returns True if a problem is asked in words, False if in symbols."""
    return not _WORD_TOKENS.isdisjoint(tokens)


def problem_text(tokens: Sequence[int]) -> str:
    """Renders a problem as people write it: ``98+45``, ``gcd(48, 36)``, ``3*x+4=19``, ``what is 98 plus 45 ?``."""
    if is_worded(tokens):
        # Digits of one number are joined, and commas follow their word: "1 2 , 3" becomes "12, 3".
        return re.sub(r"(?<=\d) (?=\d)| (?=,)", "", spell(tokens))

    # Function names stand apart from numbers, but not from their parenthesis: "12 mod 7", "gcd(48, 36)".
    named = [f" {TOKENS[token]} " if token in _FUNCTION_TOKENS else TOKENS[token] for token in tokens]
    text = "".join(named).replace(" (", "(").replace(",", ", ")
    return re.sub(r" +", " ", text.replace("equals", "=")).strip()


def spell(tokens: Iterable[int]) -> str:
    """Renders any tokens, separated by spaces. Padding is left out."""
    return " ".join(TOKENS[token] for token in tokens if token != PAD)
