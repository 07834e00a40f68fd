"""Families of problems, one file each; ``FAMILIES`` is their registry."""

from __future__ import annotations

from o1nano.envs.expression import Binary
from o1nano.envs.problems.addition import Addition
from o1nano.envs.problems.base import Family
from o1nano.envs.problems.division import Division
from o1nano.envs.problems.expressions import Expressions
from o1nano.envs.problems.multiplication import Multiplication
from o1nano.envs.problems.subtraction import Subtraction
from o1nano.envs.vocab import DIVIDE, MINUS, PLUS, QUOTIENT_DIGIT, TIMES

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Addition(), Subtraction(), Multiplication(), Division(), Expressions())
}
FOUR_OPERATIONS = ("addition", "subtraction", "multiplication", "division")
_BY_OPERATOR = {
    PLUS: "addition",
    MINUS: "subtraction",
    TIMES: "multiplication",
    DIVIDE: "division",
    QUOTIENT_DIGIT: "division",
}


def family_of(expr: Binary) -> Family:
    """Returns the family that an expression belongs to: nested or negative operands make it an expression."""
    plain = all(isinstance(operand, int) and operand >= 0 for operand in (expr.left, expr.right))
    return FAMILIES[_BY_OPERATOR[expr.op] if plain else "expression"]
