"""Families of problems, one file each. ``FAMILIES`` is their registry."""

from __future__ import annotations

from o1nano.envs.problems.addition import Addition
from o1nano.envs.problems.chains import Chains
from o1nano.envs.problems.comparison import Comparison
from o1nano.envs.problems.countdown import Countdown, GameOf24
from o1nano.envs.problems.counted import Counted
from o1nano.envs.problems.division import Division
from o1nano.envs.problems.expressions import Expressions
from o1nano.envs.problems.gcd import GreatestCommonDivisor
from o1nano.envs.problems.ledger import Ledger
from o1nano.envs.problems.linear import LinearEquation
from o1nano.envs.problems.lists import ListSum, Maximum
from o1nano.envs.problems.modular import Modular
from o1nano.envs.problems.multiplication import Multiplication
from o1nano.envs.problems.recall import Recall
from o1nano.envs.problems.registry import FAMILIES, family_of, register_family
from o1nano.envs.problems.signed import Signed
from o1nano.envs.problems.subtraction import Subtraction

__all__ = ["FAMILIES", "FOUR_OPERATIONS", "PRODUCTS", "SUMS", "family_of", "register_family"]

SUMS = ("addition", "subtraction")
PRODUCTS = ("multiplication", "division")
FOUR_OPERATIONS = (*SUMS, *PRODUCTS)

# The order matters: a token belongs to the first family that has it, as "make" to Countdown and not to GameOf24.
_ARITHMETIC = (Addition(), Subtraction(), Multiplication(), Division(), Expressions(), Chains())
_FUNCTIONS = (GreatestCommonDivisor(), Modular(), ListSum(), Comparison(), Maximum(), LinearEquation())
_SEARCHES = (Countdown(), GameOf24())
_LONG = (Recall(), Ledger())
for _family in (*_ARITHMETIC, *_FUNCTIONS, *_SEARCHES, *_LONG):
    register_family(_family)
# Derived families draw the same problems in other ways. Countdown has no negative numbers, and the families that fill a
# frame have signs of their own.
for _family in (*_ARITHMETIC, *_FUNCTIONS):
    register_family(Signed(_family))
for _name in ("expression", "chain", "list_sum", "maximum"):
    register_family(Counted(FAMILIES[_name]))
