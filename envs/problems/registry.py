"""The registry of families, and what depends on the family of a task: its answer, its verdict, its canonical key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import (
    Binary,
    Expr,
    Function,
    Task,
    canonical_arithmetic,
    divide,
    evaluate,
    render,
)
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import DIVIDE, FUNCTIONS, ID, QUOTIENT_DIGIT, REMAINDER, TOKENS
from o1nano.envs.problems.family import Family, FunctionFamily

FAMILIES: dict[str, Family[Any]] = {}
"""Every family by its name, in the order of registration: see ``register_family``."""


def register_family(family: Family[Any]) -> None:
    """Adds a family, so that ``operations`` may name it and its problems are read and verified.

    New processes, such as those of ``AsyncVectorEnv``, must import the module that registers it too.

    Args:
        family: The family. If its function token belongs to a registered family, its class must be derived from that
            family's class: it then draws other problems of the same function.

    Raises:
        ConfigurationError: If it is not a family, if its name is taken or is not a word, if a phrasing has a word
            without a token, or if its function token is not a function's or is taken.
    """
    # The class instead of an object is the most likely mistake.
    if not isinstance(family, Family):
        raise ConfigurationError(f"family {family!r}; expected an object of a class derived from Family")
    if not re.fullmatch(r"[A-Za-z]\w*", family.name, re.ASCII):
        raise ConfigurationError(f"family {family.name!r}; expected a name of letters, digits and '_'")
    if family.name in FAMILIES:
        raise ConfigurationError(f"family {family.name!r} exists already; choose another name")

    _check_phrasings(family)
    if isinstance(family, FunctionFamily):
        _check_function(family)
    FAMILIES[family.name] = family


def _check_phrasings(family: Family[Any]) -> None:
    """Raises ``ConfigurationError`` unless a family has phrasings, all of words in the vocabulary."""
    if not family.phrasings:
        raise ConfigurationError(f"family {family.name!r} has no phrasings; expected at least one")

    # Slots are in braces; everything else must be a token.
    for template in (family.symbolic, *family.phrasings):
        for word in template.split():
            if word[0] != "{" and word not in ID:
                raise ConfigurationError(
                    f"word {word!r} in a phrasing of {family.name!r}; expected words of o1nano.envs.language.vocab"
                )


def _check_function(family: FunctionFamily) -> None:
    """Raises ``ConfigurationError`` unless a family may have its function token."""
    # A class that is derived from the owner's draws other problems of the same function, as GameOf24 does.
    owners = _owners()
    owner = owners.get(family.op, family)
    is_function = family.op in map(ID.get, FUNCTIONS)
    if not is_function or not isinstance(family, type(owner)):
        free = ", ".join(f"ID[{name!r}]" for name in FUNCTIONS if ID[name] not in owners)
        raise ConfigurationError(f"function token op={family.op!r} of {family.name!r}; expected one of {free}")


def check_family(name: str) -> str:
    """Returns a family's name.

    Args:
        name: The name to check.

    Raises:
        ConfigurationError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ConfigurationError(f"operation {name!r}; expected one of {', '.join(FAMILIES)}")
    return name


def family_of(task: Task) -> Family[Any]:
    """Returns the family that a problem belongs to.

    Arithmetic with nested or negative operands is an expression, whatever its operator is.

    Args:
        task: The problem.

    Raises:
        ProblemError: If a function belongs to no family.
    """
    # Only numbers without a sign are operands of the four operations.
    if isinstance(task, Binary):
        for operand in (task.left, task.right):
            if not isinstance(operand, int) or operand < 0:
                return FAMILIES["expression"]

    owner = _owners().get(task.op)
    if owner is None:
        raise ProblemError(f"no family has the function {TOKENS[task.op]!r}; expected one of {_known_functions()}")
    return owner


def owner_of(op: int) -> Family[Any]:
    """Returns the family that an operator or function token belongs to.

    Args:
        op: The token, which belongs to one.
    """
    return _owners()[op]


def _owners() -> dict[int, Family[Any]]:
    """Returns the family of each operator and function token."""
    return _owners_among(tuple(FAMILIES.values()))


@lru_cache(maxsize=16)
def _owners_among(families: tuple[Family[Any], ...]) -> dict[int, Family[Any]]:
    """Returns the first family that has each token. It is cached, since every problem asks for it."""
    owners: dict[int, Family[Any]] = {}
    for family in families:
        for op in family.operators:
            # A family that was registered earlier keeps its tokens.
            owners.setdefault(op, family)
    return owners


def function_readings() -> dict[int, tuple[str, ...]]:
    """Returns the templates of the ways to ask for each function, by its token."""
    return _readings_among(tuple(FAMILIES.values()))


@lru_cache(maxsize=16)
def _readings_among(families: tuple[Family[Any], ...]) -> dict[int, tuple[str, ...]]:
    readings = {}
    # Operators are read by the grammar of arithmetic, without templates.
    for op, family in _owners_among(families).items():
        if isinstance(family, FunctionFamily):
            readings[op] = family.readings
    return readings


def all_readings() -> dict[int, tuple[str, ...]]:
    """Returns the templates of everyday ways to ask for each operator, and of all ways to ask for each function."""
    return _all_readings_among(tuple(FAMILIES.values()))


@lru_cache(maxsize=16)
def _all_readings_among(families: tuple[Family[Any], ...]) -> dict[int, tuple[str, ...]]:
    readings = {}
    for op, family in _owners_among(families).items():
        # Division has a second operator, which nobody asks for.
        if op == family.operators[0]:
            readings[op] = family.readings
    return readings


def _known_functions() -> str:
    """Returns the names of the functions that families have, for messages."""
    return ", ".join(TOKENS[op] for op in function_readings())


def read_task(tokens: Sequence[int], least_first: bool) -> Expr | Task:
    """Reads the problem that stands in a prompt, with the functions of all families.

    Args:
        tokens: The prompt without its first token and its ``=``.
        least_first: Whether numbers are written least significant digit first, as in subtasks.

    Raises:
        ProblemError: If the tokens are not a problem.
    """
    return parse(tokens, least_first, function_readings() if least_first else all_readings())


def expected_answer(task: Expr | Task, least_first: bool) -> list[int]:
    """Returns the tokens of the exact answer; of one of them, where a function has several.

    A single division of two numbers is answered by quotient and remainder. A remainder of 0 is written in subtasks,
    whose answers have one form, and left out at the root.

    Args:
        task: The problem.
        least_first: Whether numbers are written least significant digit first, as in subtasks. It is False at the root.

    Raises:
        ProblemError: If the problem has no answer.
    """
    if isinstance(task, Function):
        family, numbers = _function_of(task)
        return family.answer(numbers, least_first)

    # "17/5" is answered by "3 R 2", "15/5" at the root by "3" and in a subtask by "3 R 0".
    if isinstance(task, Binary) and task.op in (DIVIDE, QUOTIENT_DIGIT):
        quotient, remainder = divide(task)
        tokens = render(quotient, least_first)
        if least_first or remainder:
            # The remainder of a negative divisor is negative.
            tokens += [REMAINDER, *render(remainder, least_first)]
        return tokens

    return render(evaluate(task), least_first)


def is_right(task: Task, given: bytes, least_first: bool) -> bool:
    """Returns True if an answer is exactly right. This is the verifier.

    Args:
        task: The problem.
        given: The answer as token bytes.
        least_first: Whether its numbers are written least significant digit first.

    Raises:
        ProblemError: If the problem has no answer.
    """
    if isinstance(task, Function):
        family, numbers = _function_of(task)
        return family.accepts(numbers, given, least_first)
    return given == bytes(expected_answer(task, least_first))


def _function_of(task: Function) -> tuple[FunctionFamily, tuple[int, ...]]:
    """Returns the family of a function and the values of the arguments, which have been checked."""
    family = family_of(task)
    assert isinstance(family, FunctionFamily)
    numbers = tuple(map(evaluate, task.args))
    # Raises the reason if there is no answer.
    family.check(numbers)
    return family, numbers


def canonical(task: Expr | Task) -> str:
    """Returns a key that all rearrangements of a problem share. The split, and what counts as distinct, go by it.

    Args:
        task: A number, arithmetic (see ``canonical_arithmetic``), or a function. Which arguments of a function may
            change places depends on its family.
    """
    if not isinstance(task, Function):
        return canonical_arithmetic(task)
    family = family_of(task)
    assert isinstance(family, FunctionFamily)
    # The arguments' keys are canonical themselves: gcd(1+2, 6) and gcd(6, 2+1) share a key.
    keys = family.canonical([canonical_arithmetic(arg) for arg in task.args])
    return f"{task.op}[{' '.join(keys)}]"
