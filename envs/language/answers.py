r"""Which answer a text gives: the rule by which answers are read that people and language models write.

A text gives an answer only where there is no doubt about it; everything else gives none:

1. Hidden reasoning is not read. What stands up to the last ``</think>`` is dropped; a ``<think>`` that is not closed
   leaves nothing.
2. If the text has ``<answer> ... </answer>``, the last pair holds the answer. Otherwise the last ``\boxed{...}`` does,
   inside that pair or in the whole text. Otherwise what follows the last sentence that begins "the
   answer is", "answer:", "so the final answer is" and the like does. Otherwise the whole text is the answer.
3. Nothing may follow the answer but spaces, markup (``* $ ` "``) and one ``.`` or ``!``: "143 or 144" gives none.
4. The answer itself is a number, a quotient with a remainder, a formula, a sign of comparison, or ``_``:

   ============  ===========================================================================================
   number        ``143``, ``-19``, ``−19``, ``1,234,567`` (also ``1{,}234`` and thin spaces), ``x = 143``
   remainder     ``139 R 18``, ``139R18``, ``139 remainder 18``, ``139 with remainder 18``
   formula       ``(7-8/8)*4``, also with ``×``, ``÷``, ``\times``, ``\cdot``, ``\div``, and spaces
   comparison    ``<``, ``>``, ``==``, ``=``
   nothing       ``_``: there is no such thing
   ============  ===========================================================================================

   Digits are ASCII. Nothing is computed or rounded: ``98+45``, ``143.0``, ``+143`` and ``0143`` are not ``143``.

Every step takes time linear in the length of the text.
"""

from __future__ import annotations

import re

_MARKUP = ' \t\r\n*$`"'
_SPACE = r"[ \t\r\n]{0,8}"  # bounded, so that a search takes linear time

# The beginning of a sentence that gives the answer; "I doubt the answer is 143" is not one.
_ANSWER_IS = re.compile(
    r"(?:^|[.!?:;\n>*])[ \t]{0,8}"
    rf"(?:(?:so|thus|hence|then|therefore),?{_SPACE})?"
    rf"(?:(?:the|my|our){_SPACE})?"
    rf"(?:(?:final|correct|right|exact){_SPACE})?"
    rf"answer{_SPACE}[*]{{0,2}}{_SPACE}(?:is{_SPACE}:?|:|=)",
    re.IGNORECASE | re.ASCII,
)
_ALIKE = (
    *(("−", "-"), ("×", "*"), ("÷", "/"), ("·", "*"), ("⋅", "*")),
    *((r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), (r"\left", ""), (r"\right", "")),
    *(("{,}", ","), ("\u2009", ","), ("\u202f", ","), (r"\_", "_")),
)
_NUMBER = r"-?[0-9]{1,3}(?:,[0-9]{3})+|- ?[0-9]+|[0-9]+"
_REMAINDER = r" ?[Rr] ?|,? (?:with )?(?:a )?remainder (?:of )?"
_ONE_NUMBER = re.compile(rf"(?:x ?= ?)?({_NUMBER})", re.ASCII)
_QUOTIENT = re.compile(rf"({_NUMBER})(?:{_REMAINDER})({_NUMBER})", re.ASCII)
_FORMULA = re.compile(r"[-(0-9][-+*/()0-9 ]*[0-9)]", re.ASCII)
_GAP = re.compile(r"[0-9] +[0-9]", re.ASCII)
_BOX = re.compile(r"\\boxed\{")
_BRACE = re.compile(r"[{}]")
_SIGNS = {"<": "<", ">": ">", "==": "==", "=": "==", "_": "_"}


def read_answer(text: str) -> str | None:
    """Returns the answer that a text gives, as ``vocab.answer_text`` writes it, or None if it gives none.

    Args:
        text: What a person or a language model wrote. See the module for the rule.
    """
    visible = _visible(text)
    given = None if visible is None else _given(visible)
    return None if given is None else read_value(given)


def read_value(text: str) -> str | None:
    """Returns an answer that stands alone, as ``vocab.answer_text`` writes it, or None if the text is none.

    Args:
        text: Such as ``143``, ``−19``, ``1,234``, ``139 remainder 18``, ``(7-8/8)×4``: the fourth part of the rule.
    """
    plain = _bare(text)
    for written, meant in _ALIKE:
        plain = plain.replace(written, meant)

    if plain in _SIGNS:
        return _SIGNS[plain]
    if number := _ONE_NUMBER.fullmatch(plain):
        return _joined(number[1])
    if quotient := _QUOTIENT.fullmatch(plain):
        return f"{_joined(quotient[1])} R {_joined(quotient[2])}"
    return plain if _FORMULA.fullmatch(plain) and not _GAP.search(plain) else None


def _visible(text: str) -> str | None:
    """Returns what follows the hidden reasoning, or None if that has no end."""
    rest = text.rpartition("</think>")[2]
    return None if "<think>" in rest else rest


def _given(text: str) -> str | None:
    """Returns the part of a text that is the answer, or None if something else follows it."""
    tagged = _tagged(text)
    if tagged is None:
        return None
    if _BOX.search(tagged):
        return _boxed(tagged)
    start = 0
    for sentence in _ANSWER_IS.finditer(tagged):
        start = sentence.end()  # the last one counts
    return tagged[start:]


def _tagged(text: str) -> str | None:
    """Returns what stands in the last ``<answer> ... </answer>``; the text itself if there are no such tags."""
    opening, closing = "<answer>", "</answer>"
    if opening not in text and closing not in text:
        return text
    before, closed, after = text.rpartition(closing)
    if not closed or opening not in before or _bare(after):
        return None
    return before.rpartition(opening)[2]


def _boxed(text: str) -> str | None:
    r"""Returns what stands in the last ``\boxed{...}`` that is in no other, or None if it has no end."""
    content = ""
    rest = 0  # where the text after the last box begins
    for opening in _BOX.finditer(text):
        if opening.start() < rest:
            continue  # a box in a box
        end = _closing(text, opening.end())
        if end < 0:
            return None
        content = text[opening.end() : end]
        rest = end + 1
    return None if _bare(text[rest:]) else content


def _closing(text: str, start: int) -> int:
    """Returns the index of the brace that closes one opened before ``start``; -1 if none does."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.start()
    return -1


def _bare(text: str) -> str:
    """Returns a text without the markup around it and the mark that ends its sentence."""
    for bracket in (r"\(", r"\)", r"\[", r"\]"):
        text = text.replace(bracket, "$")
    text = text.strip(_MARKUP)
    if text.endswith((".", "!")):
        text = text[:-1].rstrip(_MARKUP)
    return text


def _joined(number: str) -> str:
    """Returns a number without separators between its digits."""
    return number.replace(",", "").replace(" ", "")
