r"""Arithmetic within bounds, and whether two expressions have the same value.

A number that is a fraction is a sympy.Rational and is compared exactly. Everything else is a tree
of sympy's that sympy never rewrites (evaluate=False): its value is computed by mpmath to a given
number of digits, at a few points where it has letters. Every node that is visited is counted, and
the count has a bound (Work), so no answer can take long. Called by grammar.py and checker.py.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath
import sympy

from support.answers.tokens import Unread

MAX_BITS = 24_000  # of a numerator or denominator: 2000! fits, 9^9^9 does not
MAX_SIZE = 2_000  # absolute value of what a function or a factorial is taken of
MAX_LETTERS = 8  # different ones in an expression
MAX_WORK = 150_000  # see Work; at most some 0.2 seconds
DIGITS = 50  # of the first look
MAX_DIGITS = 1_500  # of the second

CONTEXT = mpmath.MPContext()  # mpmath with a precision of its own
ZERO = sympy.Integer(0)
ONE = sympy.Integer(1)
INFINITIES = (sympy.oo, -sympy.oo)


@dataclass
class Work:
    """What one comparison has cost so far, and the values that it has computed.

    A node of an expression that is evaluated costs 1, and 1 more for every 50 digits; a function
    costs 20 times that. To compare two values costs 10, and 3 at each point.
    """

    spent: int = 0
    known: dict[Any, list[Any]] = field(default_factory=dict)

    def spend(self, units: int) -> None:
        self.spent += units
        if self.spent > MAX_WORK:
            raise Unread("too much work")


# ---------------------------------------------------------------- building expressions


def decimal(text: str) -> sympy.Rational:
    """The fraction that 12, .5 or 1.2e-3 spells."""
    digits, _, exponent = text.lower().partition("e")
    if len(exponent) > 5 or abs(int(exponent or 0)) > MAX_BITS // 4:
        raise Unread("too many digits")
    return sympy.Rational(digits) * sympy.Integer(10) ** int(exponent or 0)


def rational(value: sympy.Expr) -> sympy.Expr:
    """An exact result, if it is a number and not too long."""
    if not value.is_Rational:
        raise Unread("no number")
    if max(abs(value.p), value.q).bit_length() > MAX_BITS:
        raise Unread("too many digits")
    return value


def expressions(values: Sequence[Any]) -> None:
    """Refuses what is no finite number: arithmetic has no tuples and no infinity."""
    for value in values:
        if not isinstance(value, sympy.Expr) or value in INFINITIES:
            raise Unread("arithmetic with something that is no number")


def total(terms: list[Any]) -> sympy.Expr:
    """The sum; its fractions are added exactly, the rest is left as it is."""
    expressions(terms)
    fraction = ZERO
    others = []
    for term in terms:
        if term.is_Rational:
            fraction = rational(fraction + term)
        else:
            others.append(term)
    if not others:
        return fraction
    if fraction == 0 and len(others) == 1:
        return others[0]
    return sympy.Add(fraction, *others, evaluate=False)


def product(factors: list[Any]) -> sympy.Expr:
    """The product; its fractions are multiplied exactly, the rest is left as it is."""
    expressions(factors)
    fraction = ONE
    others = []
    for factor in factors:
        if factor.is_Rational:
            fraction = rational(fraction * factor)
        else:
            others.append(factor)
    if not others:
        return fraction
    if fraction == 1 and len(others) == 1:
        return others[0]
    return sympy.Mul(fraction, *others, evaluate=False)


def negative(value: Any) -> Any:
    if value in INFINITIES:
        return -value
    return product([sympy.Integer(-1), value])


def quotient(top: Any, bottom: Any) -> sympy.Expr:
    if bottom == 0:
        raise Unread("division by zero")
    return product([top, power(bottom, sympy.Integer(-1))])


def power(base: Any, exponent: Any) -> sympy.Expr:
    """base ** exponent: exact, where it is a fraction that is not too long."""
    expressions([base, exponent])
    if not (base.is_Rational and exponent.is_Rational):
        return sympy.Pow(base, exponent, evaluate=False)
    bits = max(abs(base.p), base.q).bit_length() - 1
    if bits * abs(exponent) > MAX_BITS:
        raise Unread("a power with too many digits")
    if exponent.is_Integer:
        if base == 0 and exponent <= 0:
            raise Unread("0^0, or a division by zero")
        return rational(base**exponent)
    root = exact_root(base, exponent.q)
    if root is not None:
        return power(root, sympy.Integer(exponent.p))
    return sympy.Pow(base, exponent, evaluate=False)


def exact_root(base: sympy.Expr, degree: int) -> sympy.Expr | None:
    r"""\sqrt{4/9} is 2/3, \sqrt[3]{-8} is -2; None, if the root is no fraction."""
    sign = -1 if base < 0 else 1
    if (sign < 0 and degree % 2 == 0) or degree > MAX_SIZE:
        return None
    top, top_is_exact = sympy.integer_nthroot(abs(base.p), degree)
    bottom, bottom_is_exact = sympy.integer_nthroot(base.q, degree)
    if top_is_exact and bottom_is_exact:
        return sympy.Rational(sign * top, bottom)
    return None


def apply(name: str, argument: Any) -> sympy.Expr:
    """A function of the table FUNCTIONS: exact for the floor and size of a fraction."""
    expressions([argument])
    if argument.is_Rational and name in EXACT:
        return rational(EXACT[name](argument))
    return sympy.Function(name)(argument, evaluate=False)


def logarithm(argument: Any, base: Any) -> sympy.Expr:
    r"""\log_2 8; without a base, \log 100, it is that of ten; \ln is the natural one."""
    if base is None:
        base = sympy.Integer(10)
    return quotient(apply("\\ln", argument), apply("\\ln", base))


def factorial(value: Any) -> sympy.Expr:
    expressions([value])
    if not value.is_Rational:
        return sympy.Function("!")(value, evaluate=False)
    if not value.is_Integer or not 0 <= value <= MAX_SIZE:
        raise Unread("a factorial of no small natural number")
    return rational(sympy.factorial(value))


def binomial(top: Any, bottom: Any) -> sympy.Expr:
    r"""\binom{10}{3}; of letters as well: \binom{n}{2} is n(n-1)/2."""
    expressions([top, bottom])
    if not (bottom.is_Integer and 0 <= bottom <= MAX_SIZE):
        raise Unread("a binomial coefficient without a small natural number below")
    if top.is_Integer:
        if abs(top) > MAX_SIZE:
            raise Unread("too large a binomial coefficient")
        return rational(sympy.binomial(top, bottom))
    return sympy.Function("\\binom")(top, bottom, evaluate=False)


EXACT: dict[str, Callable[[Any], Any]] = {
    "\\floor": sympy.floor,
    "\\ceil": sympy.ceiling,
    "\\abs": abs,
}

# ---------------------------------------------------------------- the value to many digits


@dataclass
class Evaluation:
    """The value of an expression at one point, to a number of digits.

    largest is the largest absolute value of a part so far: errors are measured by it.
    """

    point: dict[str, Any]  # the letters' values
    digits: int
    work: Work
    largest: Any = 0

    def value(self, expression: sympy.Expr) -> Any:
        """An mpmath number; Unread where there is none, or none that can be relied on."""
        price = 1 + self.digits // 50
        self.work.spend(price)
        if expression.is_Rational:
            found = CONTEXT.mpf(expression.p) / expression.q
        elif expression.is_Symbol:
            found = self.point[expression.name]
        elif expression in CONSTANTS:
            found = CONSTANTS[expression]()
        elif expression.is_Add:
            found = self.sum(expression.args)
        elif expression.is_Mul:
            found = CONTEXT.mpf(1)
            for factor in expression.args:
                found = self.bounded(found * self.value(factor))
        elif expression.is_Pow:
            self.work.spend(20 * price)
            found = self.power(*expression.args)
        else:
            self.work.spend(20 * price)
            found = self.function(expression.func.__name__, *expression.args)
        return self.bounded(found)

    def bounded(self, found: Any) -> Any:
        """The value, unless it is too large or too small to be computed with."""
        size = abs(found)
        if size and abs(CONTEXT.mag(size)) > MAX_BITS:
            raise Unread("too large or too small a number")
        self.largest = max(self.largest, size)
        return found

    def sum(self, terms: Sequence[sympy.Expr]) -> Any:
        values = [self.value(term) for term in terms]
        largest = max(abs(value) for value in values)
        for value in values:
            if value and self.digits > DIGITS and abs(value) <= tolerance(self.digits) * largest:
                raise Unread("a term is too small to be seen beside the others")
        return CONTEXT.fsum(values)

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> Any:
        b = self.value(base)
        e = self.value(exponent)
        if b == 0:
            if CONTEXT.re(e) <= 0:
                raise Unread("0^0, or a division by zero")
            return CONTEXT.mpf(0)
        if abs(e) * (1 + abs(CONTEXT.mag(b))) > MAX_BITS:
            raise Unread("too large or too small a power")
        is_negative = CONTEXT.im(b) == 0 and CONTEXT.re(b) < 0
        if is_negative and exponent.is_Rational and exponent.q % 2:  # the real root
            return (-1) ** exponent.p * CONTEXT.power(-b, e)
        return CONTEXT.power(b, e)

    def function(self, name: str, argument: sympy.Expr, bottom: sympy.Expr = ZERO) -> Any:
        x = self.value(argument)
        if abs(x) > MAX_SIZE:
            raise Unread("too large an argument of a function")
        if name == "\\binom":
            return self.binomial(x, int(bottom))
        if name in ROUNDINGS and abs(x - CONTEXT.nint(x)) <= tolerance(self.digits):
            return CONTEXT.nint(x)
        try:
            return NUMERIC[name](x)
        except (ValueError, ArithmeticError) as error:  # a pole, such as ln 0
            raise Unread(f"no value of {name}") from error

    def binomial(self, x: Any, bottom: int) -> Any:
        """x (x - 1) (x - 2) / 6, for a bottom of 3."""
        self.work.spend(bottom)
        found = CONTEXT.mpf(1)
        for i in range(bottom):
            found = self.bounded(found * (x - i) / (i + 1))
        return found


def tolerance(digits: int) -> Any:
    """Below this part of the numbers involved, a difference is not told from a rounding error."""
    return CONTEXT.mpf(10) ** -(digits // 2)


NUMERIC: dict[str, Callable[[Any], Any]] = {
    "\\" + name: getattr(CONTEXT, name) for name in "sin cos tan cot sec csc sinh cosh tanh".split()
} | {
    "\\arcsin": CONTEXT.asin,
    "\\arccos": CONTEXT.acos,
    "\\arctan": CONTEXT.atan,
    "\\ln": CONTEXT.log,
    "\\exp": CONTEXT.exp,
    "\\abs": abs,
    "\\floor": CONTEXT.floor,
    "\\ceil": CONTEXT.ceil,
    "!": CONTEXT.factorial,
}
ROUNDINGS = ("\\floor", "\\ceil")
CONSTANTS: dict[Any, Callable[[], Any]] = {
    sympy.pi: lambda: +CONTEXT.pi,
    sympy.E: lambda: +CONTEXT.e,
    sympy.I: lambda: CONTEXT.mpc(0, 1),
}

# ---------------------------------------------------------------- comparing


def points(letters: tuple[str, ...]) -> list[dict[str, Any]]:
    """Where expressions are compared: the signs of the letters tell |xy| from xy.

    At the first point all letters are positive, at the second negative; then each is negative
    alone. Without letters there is one point.
    """
    if len(letters) > MAX_LETTERS:
        raise Unread("too many letters")
    signs = [dict.fromkeys(letters, 1)]
    if letters:
        signs.append(dict.fromkeys(letters, -1))
    if len(letters) > 1:
        signs.extend({**signs[0], alone: -1} for alone in letters)
    found = []
    for i, sign_of in enumerate(signs):
        point = {}
        for letter in letters:
            draw = random.Random(f"{letter}{i}").randint(10**6, 10**7)
            point[letter] = sign_of[letter] * CONTEXT.mpf(draw) / 3_333_331  # from 0.3 to 3
        found.append(point)
    return found


def sampled(
    expression: sympy.Expr, letters: tuple[str, ...], digits: int, work: Work
) -> list[tuple[Any, Any]]:
    """The expression's value at each point, and the largest number met on the way."""
    key = (expression, letters, digits)
    if key not in work.known:
        CONTEXT.dps = digits + 10
        found = []
        for point in points(letters):
            evaluation = Evaluation(point, digits, work)
            value = evaluation.value(expression)
            found.append((value, evaluation.largest))
        work.known[key] = found
    return work.known[key]


def letters_of(*expressions: sympy.Expr) -> tuple[str, ...]:
    names = {symbol.name for expression in expressions for symbol in expression.free_symbols}
    return tuple(sorted(names))


def second_look(*expressions: sympy.Expr) -> int:
    """Digits that show a difference as small as the numbers in the expressions can make it."""
    fractions = {part for expression in expressions for part in expression.atoms(sympy.Rational)}
    bits = sum(max(abs(part.p), part.q).bit_length() for part in fractions)
    return min(2 * DIGITS + 2 * bits, MAX_DIGITS)


def equal_numbers(a: sympy.Expr, b: sympy.Expr, work: Work) -> bool:
    """Fractions and infinities exactly, everything else by its digits, in two looks."""
    if (a.is_Rational and b.is_Rational) or a in INFINITIES or b in INFINITIES:
        return a == b
    letters = letters_of(a, b)
    for digits in (DIGITS, second_look(a, b)):
        pairs = zip(
            sampled(a, letters, digits, work), sampled(b, letters, digits, work), strict=True
        )
        for (value, size), (other, other_size) in pairs:
            work.spend(3)
            if abs(value - other) > tolerance(digits) * max(size, other_size):
                return False
    return True


def proportion(a: sympy.Expr, b: sympy.Expr, work: Work) -> Any:
    """The real number c with a = c b at every point; 0 if there is none.

    2x + 3y - 6 and 4x + 6y - 12 have 1/2.
    """
    letters = letters_of(a, b)
    ratio = 0
    for digits in (DIGITS, second_look(a, b)):
        left = sampled(a, letters, digits, work)
        right = sampled(b, letters, digits, work)
        work.spend(3 * len(left))
        if left[0][0] == 0 or right[0][0] == 0:
            return 0
        ratio = left[0][0] / right[0][0]
        for (value, size), (other, other_size) in zip(left, right, strict=True):
            largest = max(size, abs(ratio) * other_size)
            if abs(value - ratio * other) > tolerance(digits) * largest:
                return 0
    return ratio if CONTEXT.im(ratio) == 0 else 0
