"""Families of problems, one file each; ``FAMILIES`` is their registry."""

from __future__ import annotations

import re
from typing import Any

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import RULES, Binary, Task
from o1nano.envs.language.vocab import DIVIDE, FUNCTIONS, ID, MINUS, PLUS, QUOTIENT_DIGIT, ROOT_FUNCTIONS, TIMES
from o1nano.envs.problems.addition import Addition
from o1nano.envs.problems.chains import Chains
from o1nano.envs.problems.comparison import Comparison
from o1nano.envs.problems.countdown import Countdown, GameOf24
from o1nano.envs.problems.division import Division
from o1nano.envs.problems.expressions import Expressions
from o1nano.envs.problems.family import Family, FunctionFamily
from o1nano.envs.problems.gcd import GreatestCommonDivisor
from o1nano.envs.problems.ledger import Ledger
from o1nano.envs.problems.linear import LinearEquation
from o1nano.envs.problems.maximum import Maximum
from o1nano.envs.problems.modular import Modular
from o1nano.envs.problems.multiplication import Multiplication
from o1nano.envs.problems.recall import Recall
from o1nano.envs.problems.subtraction import Subtraction
from o1nano.envs.problems.total import ListSum

FAMILIES: dict[str, Family[Any]] = {}
SUMS, PRODUCTS = ("addition", "subtraction"), ("multiplication", "division")
FOUR_OPERATIONS = (*SUMS, *PRODUCTS)
_BY_OPERATOR = {
    PLUS: "addition",
    MINUS: "subtraction",
    TIMES: "multiplication",
    DIVIDE: "division",
    QUOTIENT_DIGIT: "division",
}


def register_family(family: Family[Any]) -> None:
    """Adds a family, one's own too: from then on ``operations`` may name it, and its function has rules.

    Processes that are started afresh, such as those of ``AsyncVectorEnv``, must import what registers it as well.

    Raises:
        ConfigurationError: If it is no family, its name is taken or no word, a phrasing has a word that there is no
            token for, or the function token is none or another family's.
    """
    if not isinstance(family, Family):
        raise ConfigurationError(f"family {family!r}; accepted: an object of a class derived from Family")
    if not re.fullmatch(r"[A-Za-z]\w*", family.name, re.ASCII):
        raise ConfigurationError(f"family {family.name!r}; accepted: a name of letters, digits and '_'")
    for template in (family.symbolic, *family.phrasings):
        words = [word for word in template.split() if word[0] != "{" and word not in ID]
        if words:
            raise ConfigurationError(
                f"word {words[0]!r} in a phrasing of {family.name!r}; accepted: those of o1nano.envs.language.vocab"
            )
    if not family.phrasings:
        raise ConfigurationError(f"family {family.name!r} without phrasings; accepted: at least one")
    if family.name in FAMILIES:
        raise ConfigurationError(f"family {family.name!r} exists already; accepted: another name")
    if isinstance(family, FunctionFamily):
        rules = RULES.get(family.op, family)
        # A subclass draws other problems of the same function.
        if family.op not in map(ID.get, (*FUNCTIONS, *ROOT_FUNCTIONS)) or not isinstance(family, type(rules)):
            free = ", ".join(f"ID[{name!r}]" for name in FUNCTIONS if ID[name] not in RULES)
            raise ConfigurationError(f"function token op={family.op!r} of {family.name!r}; accepted: {free}")
        if family.op not in RULES:
            RULES[family.op] = family
            _BY_OPERATOR[family.op] = family.name
    FAMILIES[family.name] = family


_ARITHMETIC = (Addition(), Subtraction(), Multiplication(), Division(), Expressions(), Chains())
_FUNCTIONS = (GreatestCommonDivisor(), Modular(), ListSum(), Comparison(), Maximum(), LinearEquation())
_SEARCHES = (Countdown(), GameOf24())
_LONG = (Recall(), Ledger())
for _family in (*_ARITHMETIC, *_FUNCTIONS, *_SEARCHES, *_LONG):
    register_family(_family)


def family_of(task: Task) -> Family[Any]:
    """Returns the family that a problem belongs to: nested or negative operands make arithmetic an expression."""
    if isinstance(task, Binary) and not all(
        isinstance(operand, int) and operand >= 0 for operand in (task.left, task.right)
    ):
        return FAMILIES["expression"]
    return FAMILIES[_BY_OPERATOR[task.op]]
