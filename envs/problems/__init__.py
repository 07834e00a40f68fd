"""Families of problems, one file each; ``FAMILIES`` is their registry."""

from __future__ import annotations

from typing import Any

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.expression import RULES, Binary, Task
from o1nano.envs.problems.addition import Addition
from o1nano.envs.problems.base import Family, FunctionFamily
from o1nano.envs.problems.chains import Chains
from o1nano.envs.problems.comparison import Comparison
from o1nano.envs.problems.countdown import Countdown, GameOf24
from o1nano.envs.problems.division import Division
from o1nano.envs.problems.expressions import Expressions
from o1nano.envs.problems.gcd import GreatestCommonDivisor
from o1nano.envs.problems.ledger import Ledger
from o1nano.envs.problems.linear import LinearEquation
from o1nano.envs.problems.maximum import Maximum
from o1nano.envs.problems.modular import Modular
from o1nano.envs.problems.multiplication import Multiplication
from o1nano.envs.problems.recall import Recall
from o1nano.envs.problems.subtraction import Subtraction
from o1nano.envs.problems.total import ListSum
from o1nano.envs.vocab import DIVIDE, FUNCTIONS, ID, MINUS, PLUS, QUOTIENT_DIGIT, ROOT_FUNCTIONS, TIMES, TOKENS

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
        ConfigurationError: If the name is taken, or the function token is none or another family's.
    """
    if family.name in FAMILIES:
        raise ConfigurationError(f"family {family.name!r} exists already; accepted: another name")
    if isinstance(family, FunctionFamily):
        rules = RULES.get(family.op, family)
        # A subclass draws other problems of the same function.
        if TOKENS[family.op] not in (*FUNCTIONS, *ROOT_FUNCTIONS) or not isinstance(family, type(rules)):
            free = ", ".join(name for name in FUNCTIONS if ID[name] not in RULES)
            raise ConfigurationError(f"function token {TOKENS[family.op]!r} of {family.name!r}; accepted: {free}")
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
