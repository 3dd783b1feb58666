r"""What an answer can be that is no number, and the arithmetic of matrices.

Called by grammar.py, quantities.py and comparison.py.
"""

from dataclasses import dataclass
from typing import Any

import sympy

from support.answers import numbers
from support.answers.tokens import Unread


@dataclass(frozen=True)
class Node:
    r"""A value that is no number.

    kind "()" "[]" "(]" "[)"   a tuple or an interval
         "{}"                  a set or a list; an answer like "2, 3" is one
         "∪" ":"               a union of intervals; a ratio or a time of day
         "matrix"              its rows, each a tuple of entries
         "name"                (value, name): x = 5 is Node("name", (5, "x"))
         "unit"                (value, unit): 5 cm, 30°, $5, 25% and 18 eggs
         "chain"               the sides of x = 2 + 3 = 5, which may turn out to be different
         "≈"                   (value, decimals): 2π ≈ 6.28, which may turn out to be wrong
         "base"                (digits, base): 101_2
         "text"                words: no solution
         "=" "≠" "<" "≤"       one part, left side - right side, which is compared with 0
    """

    kind: str
    parts: tuple[Any, ...]


EMPTY = Node("{}", ())


def add(terms: list[Any]) -> Any:
    """The sum of numbers, or of matrices of one shape."""
    if not any(is_matrix(term) for term in terms):
        return numbers.total(terms)
    shapes = {shape(term) for term in terms}
    if len(shapes) > 1:
        raise Unread("a sum of different shapes")
    cells = [list(row) for row in terms[0].parts]
    for i, row in enumerate(cells):
        for j in range(len(row)):
            row[j] = numbers.total([term.parts[i][j] for term in terms])
    return Node("matrix", tuple(tuple(row) for row in cells))


def multiply(factors: list[Any]) -> Any:
    """The product of numbers, or of numbers and one matrix."""
    matrices = [factor for factor in factors if is_matrix(factor)]
    if not matrices:
        return numbers.product(factors)
    if len(matrices) > 1:
        raise Unread("a product of matrices")
    scale = numbers.product([factor for factor in factors if not is_matrix(factor)])
    rows = [tuple(numbers.product([scale, cell]) for cell in row) for row in matrices[0].parts]
    return Node("matrix", tuple(rows))


def is_matrix(value: Any) -> bool:
    return isinstance(value, Node) and value.kind == "matrix"


def shape(value: Any) -> tuple[int, int]:
    if not is_matrix(value):
        raise Unread("a sum of a matrix and a number")
    return len(value.parts), len(value.parts[0])


def without(whole: Any, removed: Any) -> Any:
    """Intervals or a set without the numbers of a set: R without 0 is (-∞, 0) and (0, ∞)."""
    points = elements(removed)
    if not all(isinstance(point, sympy.Rational) for point in points):
        raise Unread("a set difference without plain numbers")
    if is_list(whole):
        if not all(isinstance(part, sympy.Rational) for part in whole.parts):
            raise Unread("a set difference without plain numbers")
        return Node("{}", tuple(part for part in whole.parts if part not in points))
    intervals = parts_of_union(whole)
    for point in points:
        intervals = [piece for interval in intervals for piece in split(interval, point)]
    return union(intervals)


def split(interval: Node, point: sympy.Rational) -> list[Node]:
    """An interval without one point."""
    low, high = interval.parts
    if not (is_end(low) and is_end(high)):
        raise Unread("a set difference without plain numbers")
    opening = interval.kind[0]
    closing = interval.kind[1]
    if point < low or point > high:
        return [interval]
    if point == low:
        return [Node("(" + closing, interval.parts)]
    if point == high:
        return [Node(opening + ")", interval.parts)]
    return [Node(opening + ")", (low, point)), Node("(" + closing, (point, high))]


def is_end(value: Any) -> bool:
    return isinstance(value, sympy.Rational) or value in numbers.INFINITIES


def unite(left: Any, right: Any) -> Any:
    """A union of intervals, or of finite sets."""
    if not (is_list(left) or is_list(right)):
        return union([*parts_of_union(left), *parts_of_union(right)])
    together = list(elements(left))
    for value in elements(right):
        if value not in together:
            together.append(value)
    return Node("{}", tuple(together))


def elements(value: Any) -> tuple[Any, ...]:
    """Of a finite set; {3} without a backslash is read as 3."""
    if is_list(value):
        return value.parts
    if isinstance(value, sympy.Expr):
        return (value,)
    raise Unread("a union of a finite set and something else")


def union(intervals: list[Node]) -> Node:
    return intervals[0] if len(intervals) == 1 else Node("∪", tuple(intervals))


def parts_of_union(value: Any) -> list[Node]:
    """The intervals that a value consists of."""
    if not isinstance(value, Node):
        raise Unread("a union of something that is no set")
    if value.kind == "∪":
        return list(value.parts)
    if value.kind in ("()", "[]", "(]", "[)") and len(value.parts) == 2:
        return [value]
    raise Unread("a union of something that is no set")


def is_list(value: Any) -> bool:
    return isinstance(value, Node) and value.kind == "{}"


def a_list(values: list[Any]) -> Any:
    """Several values, in any order; one stands for itself."""
    return values[0] if len(values) == 1 else Node("{}", tuple(values))
