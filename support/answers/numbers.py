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
MAX_FACTORS = 50  # of a binomial coefficient of letters
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
    if (bits_of(base) - 1) * abs(exponent) > MAX_BITS:
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
    if bottom > MAX_FACTORS:
        raise Unread("too large a binomial coefficient of letters")
    return sympy.Function("\\binom")(top, bottom, evaluate=False)


EXACT: dict[str, Callable[[Any], Any]] = {
    "\\floor": sympy.floor,
    "\\ceil": sympy.ceiling,
    "\\abs": abs,
}

# ---------------------------------------------------------------- the value to many digits


@dataclass
class Evaluation:
    """The value of an expression at one point, to a number of digits, and how sure it is.

    Every value comes with the largest error that it may have, worked out from the errors of its
    parts; so what cancels, as in 10^9 - 10^9, is seen to be uncertain.
    """

    point: dict[str, Any]  # the letters' values
    digits: int
    work: Work
    range: int = 0  # the largest power of ten, or of a tenth, among the parts

    def value(self, expression: sympy.Expr) -> tuple[Any, Any]:
        """An mpmath number and its error; Unread where there is none."""
        price = 1 + self.digits // 50
        self.work.spend(price)
        if expression.is_Rational:
            return self.rounded(CONTEXT.mpf(expression.p) / expression.q, 0)
        if expression.is_Symbol:
            return self.point[expression.name], 0
        if expression in CONSTANTS:
            return self.rounded(CONSTANTS[expression](), 0)
        parts = [self.value(part) for part in expression.args]
        if expression.is_Add:
            return self.sum(parts)
        if expression.is_Mul:
            return self.product(parts)
        self.work.spend(20 * price)
        if expression.is_Pow:
            return self.power(parts[0], parts[1], expression.args[1])
        return self.function(expression.func.__name__, *parts)

    def rounded(self, found: Any, error: Any) -> tuple[Any, Any]:
        """A value with its error and that of rounding; neither too large nor too small."""
        size = abs(found)
        if size > error:
            digits = abs(CONTEXT.mag(size)) // 3
            if digits > MAX_BITS // 3:
                raise Unread("too large or too small a number")
            self.range = max(self.range, digits)
        return found, error + size * CONTEXT.mpf(10) ** -self.digits

    def sum(self, parts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        values = [value for value, _ in parts]
        errors = [error for _, error in parts]
        return self.rounded(CONTEXT.fsum(values), sum(errors))

    def product(self, parts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        found = CONTEXT.mpf(1)
        error: Any = 0
        for factor, factor_error in parts:
            error = abs(found) * factor_error + abs(factor) * error + error * factor_error
            found, error = self.rounded(found * factor, error)
        return found, error

    def power(self, base: Any, exponent: Any, written: sympy.Expr) -> tuple[Any, Any]:
        b, b_error = base
        e, e_error = exponent
        if abs(b) <= b_error:  # it may be zero
            if b_error or CONTEXT.im(e) or CONTEXT.re(e) <= 0:
                raise Unread("0^0, or a division by zero, or by what may be zero")
            return CONTEXT.mpf(0), 0
        if abs(e) * (1 + abs(CONTEXT.mag(b))) > MAX_BITS:
            raise Unread("too large or too small a power")
        is_negative = CONTEXT.im(b) == 0 and CONTEXT.re(b) < 0
        if is_negative and written.is_Rational and written.q % 2:  # the real root
            found = (-1) ** written.p * CONTEXT.power(-b, e)
        else:
            found = CONTEXT.power(b, e)
        relative = abs(e) * b_error / abs(b) + abs(CONTEXT.log(b)) * e_error
        return self.rounded(found, 2 * abs(found) * relative)

    def function(self, name: str, argument: Any, bottom: Any = None) -> tuple[Any, Any]:
        """The error is what the function changes by where its argument is off by its own error."""
        x, error = argument
        if bottom:
            return self.binomial(argument, int(CONTEXT.nint(bottom[0])))
        if name in ROUNDINGS:
            nearest = CONTEXT.nint(x)
            return (nearest, 0) if abs(x - nearest) <= error else (ROUNDINGS[name](x), 0)
        if name == "\\abs":
            return self.rounded(abs(x), error)
        if abs(x) > MAX_SIZE:
            raise Unread("too large an argument of a function")
        if name in GROWING:
            self.range = max(self.range, int(abs(x)))
        if name == "!" and self.digits > 2 * DIGITS:
            raise Unread("a factorial to too many digits")
        try:
            found = NUMERIC[name](x)
            change = abs(NUMERIC[name](x + error) - found) if error else 0
        except (ValueError, ArithmeticError) as reason:  # a pole, such as ln 0
            raise Unread(f"no value of {name}") from reason
        if change > 1 + abs(found):
            raise Unread(f"the value of {name} is too uncertain")
        return self.rounded(found, 2 * change)

    def binomial(self, top: tuple[Any, Any], bottom: int) -> tuple[Any, Any]:
        """x (x - 1) (x - 2) / 6, for a bottom of 3."""
        self.work.spend(bottom * (1 + self.digits // 50))
        value, error = top
        return self.product([((value - i) / (i + 1), error) for i in range(bottom)])


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
GROWING = ("\\exp", "\\sinh", "\\cosh", "\\tanh")
ROUNDINGS: dict[str, Callable[[Any], Any]] = {"\\floor": CONTEXT.floor, "\\ceil": CONTEXT.ceil}
CONSTANTS: dict[Any, Callable[[], Any]] = {
    sympy.pi: lambda: +CONTEXT.pi,
    sympy.E: lambda: +CONTEXT.e,
    sympy.I: lambda: CONTEXT.mpc(0, 1),
}

# ---------------------------------------------------------------- comparing


def points(letters: tuple[str, ...], is_wide: bool) -> list[dict[str, Any]]:
    """Where expressions are compared: the signs of the letters tell |xy| from xy.

    At the first point all letters are positive, at the second negative; then each is negative
    alone; then all are whole numbers. Where sizes and rounding play a part (is_wide), they are
    large, too. Without letters there is one point.
    """
    if len(letters) > MAX_LETTERS:
        raise Unread("too many letters")
    if not letters:
        return [{}]
    everywhere = set(letters)
    negative_ones = [set(), everywhere]
    if len(letters) > 1:
        negative_ones.extend({letter} for letter in letters)
    found = [point_of(letters, negative, i) for i, negative in enumerate(negative_ones)]
    found.append(
        {letter: CONTEXT.mpf(prime) for letter, prime in zip(letters, PRIMES, strict=False)}
    )
    if is_wide:
        for scale in (30, 400):
            for negative in (set(), everywhere):
                point = point_of(letters, negative, scale)
                found.append({letter: scale * value for letter, value in point.items()})
    return found


PRIMES = (5, 7, 11, 13, 17, 19, 23, 29)


def point_of(letters: tuple[str, ...], negative: set[str], number: int) -> dict[str, Any]:
    """A value from 0.3 to 3 for each letter, by its name and the number of the point."""
    point = {}
    for letter in letters:
        draw = random.Random(f"{letter}{number}").randint(10**6, 10**7)
        point[letter] = CONTEXT.mpf(-draw if letter in negative else draw) / 3_333_331
    return point


@dataclass(frozen=True)
class Sample:
    """An expression's value at one point, its error, and the range of its parts."""

    value: Any
    error: Any
    range: int


@dataclass(frozen=True)
class Look:
    """At which points, and to how many digits, two expressions are compared."""

    letters: tuple[str, ...]
    is_wide: bool
    digits: int

    def samples(self, expression: sympy.Expr, work: Work) -> list[Sample]:
        key = (expression, self)
        if key not in work.known:
            CONTEXT.dps = self.digits + 10
            found = []
            for point in points(self.letters, self.is_wide):
                evaluation = Evaluation(point, self.digits, work)
                value, error = evaluation.value(expression)
                found.append(Sample(value, error, evaluation.range))
            work.known[key] = found
        return work.known[key]

    def pairs(self, a: sympy.Expr, b: sympy.Expr, work: Work) -> list[tuple[Sample, Sample]]:
        found = list(zip(self.samples(a, work), self.samples(b, work), strict=True))
        work.spend(6 * len(found))
        return found


def functions_of(expression: sympy.Expr) -> set[str]:
    return {part.func.__name__ for part in expression.atoms(sympy.Function)}


def first_look(a: sympy.Expr, b: sympy.Expr) -> Look:
    names = {symbol.name for symbol in a.free_symbols | b.free_symbols}
    functions = functions_of(a) | functions_of(b)
    exponents = [part.exp for part in a.atoms(sympy.Pow) | b.atoms(sympy.Pow)]
    has_roots = any(e.is_Rational and not e.is_Integer for e in exponents)
    is_wide = has_roots or bool(functions & {"\\floor", "\\ceil", "\\abs"})
    return Look(tuple(sorted(names)), is_wide, DIGITS)


def second_look(look: Look, a: sympy.Expr, b: sympy.Expr, work: Work) -> Look:
    """To digits that show a difference as small as the numbers involved can make it."""
    fractions = a.atoms(sympy.Rational) | b.atoms(sympy.Rational)
    bits = sum(bits_of(fraction) for fraction in fractions)
    samples = look.samples(a, work) + look.samples(b, work)
    widest = max(sample.range for sample in samples)
    digits = 2 * (DIGITS + bits // 3 + widest)
    if "!" in functions_of(a) | functions_of(b):
        digits = 2 * DIGITS
    if widest > MAX_DIGITS // 2:
        raise Unread("numbers of too different sizes")
    return Look(look.letters, look.is_wide, min(digits, MAX_DIGITS))


def are_close(u: Any, v: Any, error: Any, digits: int) -> bool:
    """Whether two values are the same, as far as can be seen.

    Unread, if that is not as far as half of the digits (0: this is a first look, and may be short).
    """
    if abs(u - v) > 4 * error:
        return False
    if digits and error > CONTEXT.mpf(10) ** -(digits // 2) * max(1, abs(u), abs(v)):
        raise Unread("values that are too uncertain to be compared")
    return True


def equal_numbers(a: sympy.Expr, b: sympy.Expr, work: Work) -> bool:
    """Fractions and infinities exactly, everything else by its digits, in two looks."""
    if (a.is_Rational and b.is_Rational) or a in INFINITIES or b in INFINITIES:
        return a == b
    look = first_look(a, b)
    if not are_same(look.pairs(a, b, work), 0):
        return False
    look = second_look(look, a, b, work)
    return are_same(look.pairs(a, b, work), look.digits)


def are_same(pairs: list[tuple[Sample, Sample]], digits: int) -> bool:
    return all(are_close(x.value, y.value, x.error + y.error, digits) for x, y in pairs)


def proportion(a: sympy.Expr, b: sympy.Expr, work: Work) -> Any:
    """The real number c with a = c b at every point; 0 if there is none.

    2x + 3y - 6 and 4x + 6y - 12 have 1/2.
    """
    look = first_look(a, b)
    if not are_proportional(look.pairs(a, b, work), 0):
        return 0
    look = second_look(look, a, b, work)
    pairs = look.pairs(a, b, work)
    if not are_proportional(pairs, look.digits):
        return 0
    first, other = pairs[0]
    ratio = first.value / other.value
    return ratio if CONTEXT.im(ratio) == 0 else 0


def are_proportional(pairs: list[tuple[Sample, Sample]], digits: int) -> bool:
    """Whether the ratio of two expressions is the same at every point as at the first."""
    first, other = pairs[0]
    if abs(first.value) <= first.error or abs(other.value) <= other.error:
        return False
    for x, y in pairs[1:]:
        error = x.error * abs(other.value) + y.error * abs(first.value)
        error += other.error * abs(x.value) + first.error * abs(y.value)
        if not are_close(x.value * other.value, y.value * first.value, error, digits):
            return False
    return True


def is_near(decimals: Any, value: Any, work: Work) -> bool:
    """Whether decimals are an approximation of a number, to a twentieth of it."""
    if isinstance(value, sympy.Expr) and not (value.free_symbols | decimals.free_symbols):
        (x, y) = Look((), False, DIGITS).pairs(decimals, value, work)[0]
        return bool(20 * abs(x.value - y.value) <= abs(y.value))
    return False
