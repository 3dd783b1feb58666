r"""Arithmetic within bounds, and whether two expressions have the same value.

A number that is a fraction is a sympy.Rational and is compared exactly. Everything else is a tree
of sympy's that sympy never rewrites (evaluate=False): its value is computed by mpmath to a given
number of digits, at a few points where it has letters. Every node that is visited is counted, and
the count has a bound (Work), so no answer can take long.

Called by values.py, grammar.py and comparison.py.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import mpmath
import sympy

from support.answers.tokens import Unread

MAX_BITS = 24_000  # of a numerator or denominator: 2000! fits, 9^9^9 does not
MAX_SIZE = 2_000  # absolute value of what a function or a factorial is taken of
MAX_FACTORS = 50  # of a binomial coefficient of letters
MAX_LETTERS = 8  # different ones in an expression
MAX_WORK = 150_000  # see Work; at most some 0.2 seconds
DIGITS = 50  # of the first look
MAX_DIGITS = 1_500  # of the second
MAX_DIGITS_OF_FACTORIALS = 200  # such as n! and \pi!, of which 1,000 digits take seconds
MAX_RANGE = 300  # powers of ten between the parts of an expression

CONTEXT = mpmath.MPContext()  # mpmath with a precision of its own
ZERO = sympy.Integer(0)
ONE = sympy.Integer(1)
INFINITIES = (sympy.oo, -sympy.oo)


@dataclass
class Work:
    """What one comparison has cost so far, and the values that it has computed.

    A node of an expression that is evaluated costs 1, and 1 more for every 50 digits; a function
    costs 20 times that. To compare two values costs 20, and 6 at each point.
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


def bits_of(fraction: sympy.Rational) -> int:
    """The length of its numerator or denominator."""
    return max(abs(fraction.p), fraction.q).bit_length()


def rational(value: sympy.Expr) -> sympy.Expr:
    """An exact result, if it is a number and not too long."""
    if not value.is_Rational:
        raise Unread("no number")
    if bits_of(value) > MAX_BITS:
        raise Unread("too many digits")
    return value


def expressions(values: Sequence[Any]) -> None:
    """Refuses what is no finite number: arithmetic has no tuples and no infinity."""
    for value in values:
        if not isinstance(value, sympy.Expr) or value in INFINITIES:
            raise Unread("arithmetic with something that is no number")


def total(terms: list[Any]) -> sympy.Expr:
    return folded(terms, ZERO, sympy.Add)


def product(factors: list[Any]) -> sympy.Expr:
    return folded(factors, ONE, sympy.Mul)


def folded(parts: list[Any], neutral: sympy.Expr, build: Any) -> sympy.Expr:
    """A sum or a product: of its fractions the exact result, the rest is left as it is."""
    expressions(parts)
    fraction = neutral
    others = []
    for part in parts:
        if part.is_Rational:
            fraction = rational(build(fraction, part))
        else:
            others.append(part)
    if not others:
        return fraction
    if fraction == neutral and len(others) == 1:
        return others[0]
    return build(fraction, *others, evaluate=False)


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
    if (bits_of(base) - 1) * abs(exponent) > MAX_BITS:
        raise Unread("a power with too many digits")
    if exponent.is_Integer:
        if base == 0 and exponent <= 0:
            raise Unread("0^0, or a division by zero")
        return rational(base**exponent)
    return sympy.Pow(base, exponent, evaluate=False)


def apply(name: str, argument: Any) -> sympy.Expr:
    """A function of the table FUNCTIONS."""
    expressions([argument])
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
    if bottom > MAX_FACTORS:
        raise Unread("too large a binomial coefficient of letters")
    return sympy.Function("\\binom")(top, bottom, evaluate=False)


# ---------------------------------------------------------------- the value to many digits


@dataclass
class Evaluation:
    """The value of an expression at one point, computed with a number of digits.

    range is the largest power of ten, or of a tenth, among its parts. What cancels is wrong in the
    digits after it: 10^20 + x - 10^20, with 50 digits, has 30 right ones.
    """

    point: dict[str, Any]  # the letters' values
    digits: int
    work: Work
    range: int = 0

    def value(self, expression: sympy.Expr) -> Any:
        """An mpmath number; Unread where there is none, or none that can be computed with."""
        price = 1 + self.digits // 50
        self.work.spend(price)
        if expression.is_Rational:
            return self.noted(CONTEXT.mpf(expression.p) / expression.q)
        if expression.is_Symbol:
            return self.noted(self.point[expression.name])
        if expression in CONSTANTS:
            return CONSTANTS[expression]()
        parts = [self.value(part) for part in expression.args]
        if expression.is_Add:
            return self.noted(CONTEXT.fsum(parts))
        if expression.is_Mul:
            return self.product(parts)
        self.work.spend(20 * price)
        if expression.is_Pow:
            return self.noted(self.power(parts[0], parts[1], expression.args[1]))
        return self.noted(self.function(expression.func.__name__, *parts))

    def noted(self, found: Any) -> Any:
        """A value, when its range has been taken down."""
        if not CONTEXT.isfinite(found):
            raise Unread("no finite number")
        if found:
            digits = abs(CONTEXT.mag(found)) // 3
            if digits > MAX_BITS // 3:
                raise Unread("too large or too small a number")
            self.range = max(self.range, digits)
        return found

    def product(self, factors: Sequence[Any]) -> Any:
        found = CONTEXT.mpf(1)
        for factor in factors:
            found = self.noted(found * factor)
        return found

    def power(self, base: Any, exponent: Any, written: sympy.Expr) -> Any:
        """The base to the exponent; of negative numbers the real root, where there is one."""
        if base == 0:
            if CONTEXT.re(exponent) <= 0:
                raise Unread("0^0, or a division by zero")
            return base
        if abs(exponent) * (1 + abs(CONTEXT.mag(base))) > MAX_BITS:
            raise Unread("too large or too small a power")
        is_negative = CONTEXT.im(base) == 0 and CONTEXT.re(base) < 0
        if is_negative and written.is_Rational and written.q % 2:
            return (-1) ** written.p * CONTEXT.power(-base, exponent)
        return CONTEXT.power(base, exponent)

    def function(self, name: str, x: Any, bottom: Any = None) -> Any:
        if name == "\\abs":
            return abs(x)
        if name in ROUNDINGS:  # \lfloor 3 \rfloor must be 3, also where 3 is 2.999...
            nearest = CONTEXT.nint(x)
            is_whole = abs(x - nearest) < CONTEXT.mpf(10) ** -(self.digits // 2)
            return nearest if is_whole else ROUNDINGS[name](x)
        if abs(x) > MAX_SIZE:
            raise Unread("too large an argument of a function")
        if name == "\\binom":  # x (x - 1) (x - 2) / 6, for a bottom of 3
            factors = [(x - i) / (i + 1) for i in range(int(CONTEXT.nint(bottom)))]
            self.work.spend(len(factors))
            return self.product(factors)
        if name in GROWING:
            self.range = max(self.range, int(abs(x)))
        try:
            return NUMERIC[name](x)
        except (ValueError, ArithmeticError) as reason:  # a pole, such as ln 0
            raise Unread(f"no value of {name}") from reason


NUMERIC: dict[str, Callable[[Any], Any]] = {
    "\\" + name: getattr(CONTEXT, name) for name in "sin cos tan cot sec csc sinh cosh tanh".split()
} | {
    "\\arcsin": CONTEXT.asin,
    "\\arccos": CONTEXT.acos,
    "\\arctan": CONTEXT.atan,
    "\\ln": CONTEXT.log,
    "\\exp": CONTEXT.exp,
    "!": CONTEXT.factorial,
}
GROWING = ("\\exp", "\\sinh", "\\cosh", "\\tanh")  # e^x is among the parts of these
ROUNDINGS: dict[str, Callable[[Any], Any]] = {"\\floor": CONTEXT.floor, "\\ceil": CONTEXT.ceil}
CONSTANTS: dict[Any, Callable[[], Any]] = {
    sympy.pi: lambda: +CONTEXT.pi,
    sympy.E: lambda: +CONTEXT.e,
    sympy.I: lambda: CONTEXT.mpc(0, 1),
}

# ---------------------------------------------------------------- comparing


@lru_cache(maxsize=512)
def points(letters: tuple[str, ...], is_wide: bool, digits: int) -> list[dict[str, Any]]:
    """Where expressions are compared: the signs of the letters tell |xy| from xy.

    At the first point all letters are positive, at the second negative; then each is negative
    alone; then all are whole numbers. Where sizes and rounding play a part (is_wide), they are
    large, too, and whole numbers of many remainders: 5040 is a multiple of 1 to 10, MULTIPLE one of
    1 to 31. Without letters there is one point.
    """
    if len(letters) > MAX_LETTERS:
        raise Unread("too many letters")
    if not letters:
        return [{}]
    CONTEXT.dps = digits + 10
    everywhere = set(letters)
    negative_ones = [set(), everywhere]
    if len(letters) > 1:
        negative_ones.extend({letter} for letter in letters)
    found = [point_of(letters, negative, i) for i, negative in enumerate(negative_ones)]
    primes = zip(letters, PRIMES, strict=False)
    found.append({letter: CONTEXT.mpf(prime) for letter, prime in primes})
    if is_wide:
        for scale in (30, 400, 10_000, 10**8):
            for negative in (set(), everywhere):
                point = point_of(letters, negative, scale)
                found.append({letter: scale * value for letter, value in point.items()})
        for number in (*range(1, 13), 5039, 5040):
            step = 5 + number % 7  # between the letters
            places = enumerate(letters)
            found.append({letter: CONTEXT.mpf(number + step * i) for i, letter in places})
        for less in (0, 1):
            places = enumerate(letters, start=1)
            found.append({letter: CONTEXT.mpf(MULTIPLE * i - less) for i, letter in places})
    return found


MULTIPLE = math.lcm(*range(1, 32))
PRIMES = (17, 19, 23, 29, 31, 37, 41, 43)


def point_of(letters: tuple[str, ...], negative: set[str], number: int) -> dict[str, Any]:
    """A value from 0.3 to 3 for each letter, by its name and the number of the point."""
    point = {}
    for letter in letters:
        draw = random.Random(f"{letter}{number}").randint(10**6, 10**7)
        point[letter] = CONTEXT.mpf(-draw if letter in negative else draw) / 3_333_331
    return point


@dataclass(frozen=True)
class Sample:
    """An expression's value at one point, None if it has none, and the range of its parts."""

    value: Any
    range: int


@dataclass(frozen=True)
class Look:
    """At which points, and with how many digits, two expressions are compared."""

    letters: tuple[str, ...]
    is_wide: bool
    digits: int

    def samples(self, expression: sympy.Expr, work: Work) -> list[Sample]:
        key = (expression, self)
        if key not in work.known:
            found = points(self.letters, self.is_wide, self.digits)
            CONTEXT.dps = self.digits + 10
            needed = len(self.letters) + 1  # without the others, 1/(x - 17) can be compared, too
            work.known[key] = [
                self.sample(expression, point, work, i < needed) for i, point in enumerate(found)
            ]
        return work.known[key]

    def sample(
        self, expression: sympy.Expr, point: dict[str, Any], work: Work, is_needed: bool
    ) -> Sample:
        evaluation = Evaluation(point, self.digits, work)
        try:
            value = evaluation.value(expression)
        except Unread:
            if is_needed or work.spent > MAX_WORK:
                raise
            return Sample(None, 0)
        if evaluation.range > MAX_RANGE and not is_needed:  # x^20 at a very large x
            return Sample(None, 0)
        return Sample(value, evaluation.range)

    def pairs(self, a: sympy.Expr, b: sympy.Expr, work: Work) -> list[tuple[Sample, Sample]]:
        """The samples of two expressions at the points where both have a value."""
        found = list(zip(self.samples(a, work), self.samples(b, work), strict=True))
        work.spend(6 * len(found))
        return [(x, y) for x, y in found if x.value is not None and y.value is not None]

    def agree(self, u: Any, v: Any, lost: int) -> bool:
        """Whether two values are the same in half of the digits, but for those that were lost."""
        size = max(1, abs(u), abs(v))
        return bool(abs(u - v) <= CONTEXT.mpf(10) ** (lost - self.digits // 2) * size)


def first_look(a: sympy.Expr, b: sympy.Expr) -> Look:
    letters = letters_of(a) | letters_of(b)
    is_wide = has_corners(a) or has_corners(b)
    return Look(tuple(sorted(letters)), is_wide, DIGITS)


@lru_cache(maxsize=4096)
def letters_of(expression: sympy.Expr) -> frozenset[str]:
    return frozenset(symbol.name for symbol in expression.free_symbols)


@lru_cache(maxsize=4096)
def functions_of(expression: sympy.Expr) -> frozenset[str]:
    return frozenset(part.func.__name__ for part in expression.atoms(sympy.Function))


@lru_cache(maxsize=4096)
def has_corners(expression: sympy.Expr) -> bool:
    r"""Whether it can be |x|, \sqrt{x^2} or \lfloor x \rfloor, which differ from x elsewhere."""
    exponents = [part.exp for part in expression.atoms(sympy.Pow)]
    has_roots = any(e.is_Rational and not e.is_Integer for e in exponents)
    return has_roots or bool(functions_of(expression) & {"\\floor", "\\ceil", "\\abs"})


def second_look(look: Look, a: sympy.Expr, b: sympy.Expr, work: Work) -> Look:
    """With digits for a difference as small as the numbers involved can make it."""
    fractions = a.atoms(sympy.Rational) | b.atoms(sympy.Rational)
    bits = sum(bits_of(fraction) for fraction in fractions)
    samples = look.samples(a, work) + look.samples(b, work)
    widest = max(sample.range for sample in samples)
    if widest > MAX_RANGE:
        raise Unread("numbers of too different sizes")
    has_factorials = "!" in functions_of(a) | functions_of(b)
    most = MAX_DIGITS_OF_FACTORIALS if has_factorials else MAX_DIGITS
    digits = 2 * (DIGITS + bits // 3 + 2 * widest)
    return Look(look.letters, look.is_wide, min(digits, most))


def equal_numbers(a: sympy.Expr, b: sympy.Expr, work: Work) -> bool:
    """Fractions and infinities exactly, everything else by its digits, in two looks."""
    if (a.is_Rational and b.is_Rational) or a in INFINITIES or b in INFINITIES:
        return a == b
    look = first_look(a, b)
    for x, y in look.pairs(a, b, work):
        if not look.agree(x.value, y.value, lost=max(x.range, y.range)):
            return False
    look = second_look(look, a, b, work)
    pairs = look.pairs(a, b, work)
    return all(look.agree(x.value, y.value, lost=0) for x, y in pairs)


def proportion(a: sympy.Expr, b: sympy.Expr, work: Work) -> Any:
    """The real number c with a = c b at every point; 0 if there is none.

    2x + 3y - 6 and 4x + 6y - 12 have 1/2.
    """
    look = first_look(a, b)
    if not are_proportional(look, a, b, work, lost=2):
        return 0
    look = second_look(look, a, b, work)
    if not are_proportional(look, a, b, work, lost=0):
        return 0
    first, other = look.pairs(a, b, work)[0]
    ratio = first.value / other.value
    return CONTEXT.re(ratio) if CONTEXT.im(ratio) == 0 else 0


def are_proportional(look: Look, a: sympy.Expr, b: sympy.Expr, work: Work, lost: int) -> bool:
    """Whether the ratio is at every point what it is at the first.

    lost: how many digits are lost, in ranges of the samples, for a product loses those of both.
    """
    pairs = look.pairs(a, b, work)
    first, other = pairs[0]
    if look.agree(first.value, 0, 0) or look.agree(other.value, 0, 0):
        return False
    for x, y in pairs[1:]:
        left = x.value * other.value
        right = y.value * first.value
        if not look.agree(left, right, lost * max(x.range, y.range)):
            return False
    return True


def is_near(decimals: Any, value: Any, work: Work) -> bool:
    """Whether decimals are an approximation of a number, to a twentieth of it."""
    for side in (decimals, value):
        if not isinstance(side, sympy.Expr) or side in INFINITIES or letters_of(side):
            return False
    (x, y) = Look((), False, DIGITS).pairs(decimals, value, work)[0]
    return bool(20 * abs(x.value - y.value) <= abs(y.value))
