r"""Whether two values are equal: the rules of checker.py, case by case.

same_answer     of two whole answers: what may be left out only there
same            of values and of parts of values
may_be_paired   of the items of lists

Called by checker.py and boxes.py (Comparison).
"""

from dataclasses import dataclass, field
from typing import Any

import sympy

from support.answers import numbers
from support.answers.numbers import Work
from support.answers.quantities import alphabetical
from support.answers.values import Node
from support.answers.words import CHOICES, GREEK

WRAPPINGS = ("chain", "≈", "name", "unit")  # nodes that hold a value, from outside to inside
Parts = tuple[Any, ...]  # of a Node


@dataclass
class Comparison:
    """Comparisons of the values of two answers; their work is counted, and has a bound."""

    work: Work = field(default_factory=Work)

    def same_answer(self, a: Any, b: Any) -> bool:
        r"""Of whole answers: 25% may also be 25 or 1/4, C may be c, and \{5\} may be 5."""
        a = only_element(a)
        b = only_element(b)
        if is_symbol(a) and is_symbol(b) and a.name.upper() in CHOICES:
            return a.name.upper() == b.name.upper()
        for value, other in ((a, b), (b, a)):
            percentage = without_name(value)
            if is_percentage(percentage) and isinstance(other, sympy.Expr):
                number = percentage.parts[0]
                share = numbers.quotient(number, sympy.Integer(100))
                return self.same(number, other) or self.same(share, other)
        return self.same(a, b)

    def same(self, a: Any, b: Any) -> bool:
        """Of any two values; the one with more around its value is looked at first."""
        self.work.spend(20)
        a, b = sorted((a, b), key=wrapping)
        match a, b:
            case Node("chain", sides), _:
                are_equal = all(self.same(side, sides[-1]) for side in sides)
                return are_equal and self.same(sides[-1], b)
            case Node("≈", (value, decimals)), _:
                return numbers.is_near(decimals, value, self.work) and self.same(value, b)
            case Node("name" | "="), Node("name" | "="):
                return self.same_statement(a, b)
            case Node("name", (value, _)), _:
                return self.same(value, b)
            case Node("unit", (value, unit)), Node("unit", (other, other_unit)):
                return unit == other_unit and self.same(value, other)
            case Node("unit", (value, unit)), _:
                return unit != "%" and self.same(value, b)
            case sympy.Expr(), sympy.Expr():
                return numbers.equal_numbers(a, b, self.work)
            case tuple(), tuple():  # the rows of matrices
                return self.same_in_order(a, b)
            case Node(), Node():
                return self.same_parts(a, b)
        return False

    def same_parts(self, a: Node, b: Node) -> bool:
        """Of lists, tuples, intervals, inequalities and texts."""
        kinds = {a.kind, b.kind}
        if "{}" in kinds and kinds <= {"{}", "()"} and name_the_others(a.parts, b.parts):
            return self.same_in_order(by_name(a.parts), by_name(b.parts))
        if a.kind != b.kind:
            return False
        if a.kind in ("{}", "∪"):
            return self.same_in_any_order(a.parts, b.parts)
        if a.kind in ("≠", "<", "≤"):
            return self.same_relation(a.parts[0], b.parts[0], a.kind)
        if a.kind in ("text", "base"):
            return a == b
        return self.same_in_order(a.parts, b.parts)

    def same_statement(self, a: Node, b: Node) -> bool:
        """x = 5 and 5 = x; y = 2x + 3 and 2x - y + 3 = 0, of which one is a multiple. But where x
        is asked for, 2x + 3 = 13 is the question, and not x = 5."""
        if a.kind == b.kind == "name" and a.parts[1] == b.parts[1]:
            return self.same(a.parts[0], b.parts[0])
        if is_solved(a) or is_solved(b):
            return False
        difference = as_difference(a)
        other = as_difference(b)
        if difference is None or other is None:
            return False
        return self.same_relation(difference, other, "=")

    def same_relation(self, a: sympy.Expr, b: sympy.Expr, sign: str) -> bool:
        """x + y < 2 is 2x + 2y < 4, but not -x - y < -2."""
        ratio = numbers.proportion(a, b, self.work)
        return bool(ratio > 0 if sign in "<≤" else ratio != 0)

    def same_in_order(self, parts: Parts, others: Parts) -> bool:
        return len(parts) == len(others) and all(map(self.same, parts, others))

    def same_in_any_order(self, parts: Parts, others: Parts) -> bool:
        """1, 1, 2 and 2, 1, 1: each part is paired with one of the other list."""
        if len(parts) != len(others) or not may_be_paired(parts, others):
            return False
        rest = list(others)
        for part in parts:
            places = (i for i, other in enumerate(rest) if self.same(part, other))
            place = next(places, None)
            if place is None:
                return False
            rest.pop(place)
        return True


def wrapping(value: Any) -> int:
    """How far outside a node stands; a bare value comes last."""
    is_wrapped = isinstance(value, Node) and value.kind in WRAPPINGS
    return WRAPPINGS.index(value.kind) if is_wrapped else len(WRAPPINGS)


def is_symbol(value: Any) -> bool:
    return isinstance(value, sympy.Symbol)


def only_element(value: Any) -> Any:
    r"""\{5\} is 5, as far as a whole answer goes."""
    match value:
        case Node("{}", (sympy.Expr() as element,)):
            return element
    return value


def without_name(value: Any) -> Any:
    return value.parts[0] if isinstance(value, Node) and value.kind == "name" else value


def is_solved(statement: Node) -> bool:
    """x = 5, and not y = 2x nor x + y = 5."""
    match without_name(statement):
        case sympy.Expr() as value if statement.kind == "name":
            return not value.free_symbols
    return False


def is_percentage(value: Any) -> bool:
    match value:
        case Node("unit", (sympy.Expr(), "%")):
            return True
    return False


def may_be_paired(parts: Parts, others: Parts) -> bool:
    """Not 5 dollars and 25 cents with 25 and 5: of two units none may be left out."""
    units = sorted(attribute(part, "unit") for part in parts)
    other_units = sorted(attribute(part, "unit") for part in others)
    are_mixed = len({*units, *other_units} - {""}) > 1
    return not are_mixed or units == other_units


def name_the_others(parts: Parts, others: Parts) -> bool:
    """y = 2, x = 1 and 1, 2: one list has names, a different letter for each item, in an order that
    the other must have: that of the alphabet, for x, y, z and a, b, c however they stand.

    x_1 = 1, x_2 = 2 are two values of x, in any order.
    """
    names = letters_of_names(parts)
    other_names = letters_of_names(others)
    if any(names) == any(other_names):
        return False
    letters = names if any(names) else other_names
    are_different = all(letters) and len(set(letters)) == len(letters)
    have_an_order = set(letters) <= set("xyz") or set(letters) <= set("abcd")
    return are_different and (have_an_order or letters == sorted(letters, key=alphabetical))


def letters_of_names(parts: Parts) -> list[str]:
    return [attribute(part, "name").partition("_")[0] for part in parts]


def by_name(parts: Parts) -> Parts:
    """Parts with names in the order of these, x = 1, y = 2; others as they stand."""
    return tuple(sorted(parts, key=lambda part: alphabetical(attribute(part, "name"))))


def attribute(value: Any, kind: str) -> str:
    """The name or the unit of a value, also of one that has both; empty if it has none."""
    if not isinstance(value, Node):
        return ""
    if value.kind == "name" and kind == "unit":
        return attribute(value.parts[0], kind)
    return value.parts[1] if value.kind == kind else ""


def as_difference(statement: Node) -> sympy.Expr | None:
    """Left minus right side of an equation; of a name only if it is a letter, such as x or x_1."""
    if statement.kind == "=":
        return statement.parts[0]
    value, name = statement.parts
    letter = name.partition("_")[0]
    is_letter = len(letter) == 1 or letter in GREEK
    if not (is_letter and isinstance(value, sympy.Expr)):
        return None
    return numbers.total([sympy.Symbol(name), numbers.negative(value)])
