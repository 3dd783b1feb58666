r"""From the tokens of an answer to its value, whole or not at all.

    answer    item, item and item           a list, in any order
    item      name = chain                  x = 2 + 3 = 5; also an equation or an inequality
    quantity  expression unit (remark)      \$5, 5 cm, 4:30 PM, 18 eggs (9 left)
    expression, product, power, atom        2\pi r^2, from weak to strong

Brackets are matched first (nest), so that the rest may cut a level at its commas and relations.
Whatever is not foreseen here raises Unread; nothing is skipped. Called by checker.py and boxes.py
(read).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy

from support.answers import numbers, values, words
from support.answers.groups import BAR, Cursor, Group, Part, count, cut, cut_list, nest, replaced
from support.answers.quantities import (
    currency_in_front,
    ends_in_a_magnitude,
    has_letters,
    is_named,
    is_one_number,
    is_text,
    magnified,
    name_of,
    repeating,
    subscript,
    text_value,
    union_of_inequalities,
    unit_of,
    unknown,
    without_leading,
    without_remark,
    without_trailing,
)
from support.answers.tokens import Token, Unread, tokenize
from support.answers.values import EMPTY, Node

RECURSIVE = ("^", "\\frac", "\\binom")
MAX_RECURSION = 60  # of these and of functions, for \sin\sin\sin x is read by calls within calls

# "(C) 42", "C. 42", "\textbf{(C)}\ 42"; but not "(A) or (B)".
OPTION = re.compile(
    r"[\s$]*(?:\\(?:text|textbf|mathbf|mathrm|textrm)\{\(?([A-J])[).:]+\s*\}"
    r"|\(?([A-J])(?:\)|[.:])(?=[\s~\\]))(?:[\s~]|\\[ ,;:])*"
    r"((?!.*(?:\b(?:or|and)\b|\b[A-J][.):]))[^\s$].*)",
    re.DOTALL,
)
EQUALS = Token("sign", "=")
IS = ("is", "are", "equals")  # "the vertex is (1, 2)"

# ---------------------------------------------------------------- the answer


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The value of an answer: a sympy expression or a Node. Unread, if it is not understood."""
    choice = single_choice(text)
    if choice:
        return sympy.Symbol(choice)
    tokens = tokenize(text)
    if not tokens:
        raise Unread("no answer")
    if sum(token.text in RECURSIVE or token.kind == "function" for token in tokens) > MAX_RECURSION:
        raise Unread("too many functions, fractions and powers")
    return read_answer(nest(tokens))


def single_choice(text: str) -> str:
    """The letter of "B)", or an empty string."""
    plain = text.strip(" $*")
    is_choice = len(plain) == 2 and plain[0] in words.CHOICES and plain[1] in ").:"
    return plain[0] if is_choice else ""


def without_option(text: str, other: str) -> str:
    r"""An option of a multiple-choice question beside another answer: its letter, where that is a
    letter, else what it says.

    >>> without_option("(C) 42", "C"), without_option("C. 42", "42"), without_option("42", "C")
    ('C', '42', '42')
    """
    option = OPTION.fullmatch(text)
    if not option or OPTION.fullmatch(other):
        return text
    letter_in_braces, letter, content = option.groups()
    other_letters = re.sub(r"\\[a-z]+|\W", "", other)
    return letter_in_braces or letter if other_letters in list(words.CHOICES) else content


def read_answer(parts: list[Part]) -> Any:
    """p=5,q=2; p=7,q=2 is a list of two pairs, and so is x=1,y=2 or x=3,y=4."""
    pieces, signs = cut(parts, ";")
    if not signs:
        pieces, signs = cut(parts, {"or", "and", "\n"})
        are_pairs = all(count(piece, "=") > 1 and count(piece, ",") for piece in pieces)
        if not (signs and are_pairs):
            return read_list(parts)
    found = []
    for piece in pieces:
        items = read_items(piece)
        found.append(items[0] if len(items) == 1 else Node("()", tuple(items)))
    return values.a_list(found)


def read_list(parts: list[Part]) -> Any:
    """One value or several; x < 3 or x > 5 is a union of intervals."""
    pieces, signs = cut_list(parts)
    if "and" in signs and any(map(ends_in_a_magnitude, pieces[:-1])):
        raise Unread("a number in words: five hundred and six")
    items = read_items(parts)
    are_inequalities = all(count(piece, "<≤>≥") for piece in pieces)
    if signs - {"\n"} == {"or"} and are_inequalities and all(map(is_named, items)):
        return union_of_inequalities(items)
    if "or" in signs and all(item == items[0] for item in items):
        return items[0]  # 7/2, or 3.5: one value in two forms
    return values.a_list(items)


def read_items(parts: list[Part]) -> list[Any]:
    found = []
    for piece in cut_list(parts)[0]:
        found.extend(read_item(piece))
    return found


def read_item(parts: list[Part]) -> list[Any]:
    """One value, or the two values of a plus-minus sign."""
    signs = count(parts, "±")
    if signs > 1:
        raise Unread("more than one plus-minus sign")
    if not signs:
        return [read_statement(parts)]
    return [read_statement(replaced(parts, "±", sign)) for sign in "+-"]


# ---------------------------------------------------------------- equations and inequalities


def read_statement(parts: list[Part]) -> Any:
    """A quantity, x = 5, an equation or an inequality."""
    parts = [EQUALS if part.word in IS else part for part in parts]
    parts = without_leading(without_remark(parts))
    while parts and parts[0].text in ("=", "≈", ":"):
        parts = parts[1:]
    exact, approximations = cut(parts, "≈")
    if approximations and name_of(exact[0]):  # x ≈ 11
        return read_statement([*exact[0], EQUALS, *read_rest(exact)])
    if approximations:  # 2\pi ≈ 6.28
        return Node("≈", (read_statement(exact[0]), read_expression(read_rest(exact))))
    sides, signs = cut(parts, "=∈<>≤≥≠")
    if not signs:
        return read_quantity(parts)
    if set(signs) <= set("=∈"):
        return read_equation(sides)
    if set(signs) <= set("<≤") or set(signs) <= set(">≥"):
        return read_inequality(sides, signs)
    if signs == ["≠"]:
        return Node("≠", (read_difference(*sides),))
    raise Unread("a chain of different signs")


def read_rest(exact: list[list[Part]]) -> list[Part]:
    """What stands after the only sign ≈."""
    if len(exact) != 2:
        raise Unread("an approximation of an approximation")
    return exact[1]


def read_equation(sides: list[list[Part]]) -> Any:
    """x = 2 + 3 = 5 has a name and a value; the sides of a chain must be equal."""
    name = name_of(sides[0])
    if not name and len(sides) == 2 and name_of(sides[1]):
        sides = sides[::-1]
        name = name_of(sides[0])
    if name:
        return Node("name", (read_chain(sides[1:]), name))
    if len(sides) == 2 and has_letters(sides[0] + sides[1]):
        return Node("=", (read_difference(*sides),))
    return read_chain(sides)


def read_chain(sides: list[list[Part]]) -> Any:
    """The value of equal sides; whether they are equal is seen when they are compared."""
    found = [read_quantity(side) for side in sides]
    are_alike = all(value == found[-1] for value in found)
    return found[-1] if are_alike else Node("chain", tuple(found))


def read_difference(left: list[Part], right: list[Part]) -> sympy.Expr:
    difference = values.add([read_expression(left), numbers.negative(read_expression(right))])
    if not isinstance(difference, sympy.Expr) or not difference.free_symbols:
        raise Unread("a statement about numbers")
    return difference


def read_inequality(sides: list[list[Part]], signs: list[str]) -> Any:
    """x > 3 and 3 < x < 5 are intervals that bear a name; x + y < 3 is an inequality."""
    if signs[0] in ">≥":
        sides = sides[::-1]
        signs = [{">": "<", "≥": "≤"}[sign] for sign in reversed(signs)]
    first = sides[0]
    last = sides[-1]
    if len(sides) == 3 and unknown(sides[1]):
        ends = (read_expression(first), read_expression(last))
        return named_interval(unknown(sides[1]), signs[0], signs[1], ends)
    if len(sides) > 2:
        raise Unread("a chain of inequalities about no letter")
    if unknown(first) and not has_letters(last):
        return named_interval(unknown(first), "<", signs[0], (-sympy.oo, read_expression(last)))
    if unknown(last) and not has_letters(first):
        return named_interval(unknown(last), signs[0], "<", (read_expression(first), sympy.oo))
    return Node(signs[0], (read_difference(first, last),))


def named_interval(name: str, lower: str, upper: str, ends: tuple[Any, Any]) -> Node:
    """The interval between two ends; the signs "<" and "≤" say which end belongs to it."""
    opening = "(" if lower == "<" else "["
    closing = ")" if upper == "<" else "]"
    return Node("name", (Node(opening + closing, ends), name))


# ---------------------------------------------------------------- quantities


def read_quantity(parts: list[Part]) -> Any:
    r"""A value with its currency, magnitude, unit and remark: \$2.5 million (in all)."""
    parts = without_trailing(without_leading(parts))
    if not parts:
        raise Unread("nothing where a value is expected")
    if is_text(parts):
        return text_value(parts)
    ratio = read_ratio(parts)
    if ratio:
        return ratio
    currency, parts = currency_in_front(parts)
    cursor = Cursor(parts)
    value = read_sets(cursor)
    is_simple = is_one_number(parts[: cursor.position])
    value = magnified(value, cursor, is_simple)
    compared = words.COMPARED.get(cursor.word(), "")
    if compared:
        cursor.take()
    rest = cursor.rest()
    if rest and rest[-1].word in words.COMPARED and not compared:
        compared = words.COMPARED[rest[-1].word]
        rest = rest[:-1]
    unit = " ".join(filter(None, (compared, unit_of(rest, currency))))
    if unit == "%" and not is_simple:
        raise Unread("a percentage of more than one number")
    return Node("unit", (value, unit)) if unit else value


def read_ratio(parts: list[Part]) -> Any:
    """3:2, "3 to 2", 4:30 PM; None for anything else."""
    parts = [Token("sign", ":") if part.text == "to" else part for part in parts]
    pieces, signs = cut(parts, ":")
    if not signs or not all(pieces):
        return None
    if any(piece[0].word for piece in pieces):
        raise Unread("a word in a ratio")
    *firsts, last = pieces
    ending = read_quantity(last)
    unit = ""
    if isinstance(ending, Node) and ending.kind == "unit":
        ending, unit = ending.parts
    ratio = Node(":", (*(read_expression(piece) for piece in firsts), ending))
    return Node("unit", (ratio, unit)) if unit else ratio


def read_sets(cursor: Cursor) -> Any:
    r"""Unions of sets, and what is taken out of one: (-\infty,0) \cup (0,\infty)."""
    value = read_sum(cursor)
    while cursor.next_is("∪", "\\setminus"):
        sign = cursor.take().text
        other = read_sum(cursor)
        value = values.unite(value, other) if sign == "∪" else values.without(value, other)
    return value


# ---------------------------------------------------------------- expressions


def read_expression(parts: list[Part] | tuple[Part, ...]) -> Any:
    """The value of parts that hold nothing else."""
    cursor = Cursor(list(parts))
    value = read_sets(cursor)
    if cursor.rest():
        raise Unread(f"{cursor.rest()[0].text!r} is not understood here")
    return value


def read_sum(cursor: Cursor) -> Any:
    terms = [read_term(cursor)]
    while cursor.next_is("+", "-"):
        sign = cursor.take().text
        term = read_term(cursor)
        terms.append(values.multiply([sympy.Integer(-1), term]) if sign == "-" else term)
    return terms[0] if len(terms) == 1 else values.add(terms)


def read_term(cursor: Cursor) -> Any:
    """A product, with at most one sign in front."""
    if not cursor.next_is("+", "-"):
        return read_product(cursor)
    sign = cursor.take().text
    value = read_product(cursor)
    if sign == "+":
        return value
    if value in numbers.INFINITIES:
        return -value
    return values.multiply([sympy.Integer(-1), value])


def read_product(cursor: Cursor) -> Any:
    r"""2 * 3 / 4, from left to right; 2\pi r without signs."""
    factors = [read_power(cursor)]
    while True:
        if cursor.next_is("*", "/") and not cursor.word(1):  # 60 km/h
            sign = cursor.take().text
            factor = read_signed_power(cursor)
            factors.append(numbers.quotient(numbers.ONE, factor) if sign == "/" else factor)
        elif cursor.starts_a_factor():
            factors.append(read_power(cursor))
        else:
            break
    return factors[0] if len(factors) == 1 else values.multiply(factors)


def read_signed_power(cursor: Cursor) -> Any:
    """2 * -3 and 2^-3: one sign may stand after an operator."""
    if cursor.next_is("-"):
        cursor.take()
        return numbers.negative(read_power(cursor))
    return read_power(cursor)


def read_power(cursor: Cursor) -> Any:
    """2^3^2 is 2^9, and -2^2 is -4."""
    base = read_factorial(cursor)
    if not cursor.next_is("^"):
        return base
    cursor.take()
    return numbers.power(base, read_exponent(cursor))


def read_exponent(cursor: Cursor) -> Any:
    """2^-3, 2^{n} and the 3^2 of 2^3^2; 2^3! is not clear."""
    is_negative = cursor.next_is("-")
    if is_negative:
        cursor.take()
    value = read_atom(cursor)
    if cursor.next_is("!"):
        raise Unread("it is not clear what the factorial is taken of")
    if cursor.next_is("^"):
        cursor.take()
        value = numbers.power(value, read_exponent(cursor))
    return numbers.negative(value) if is_negative else value


def read_factorial(cursor: Cursor) -> Any:
    """5! is a factorial; 5!! is not read."""
    value = read_atom(cursor)
    if cursor.next_is("!"):
        cursor.take()
        value = numbers.factorial(value)
    if cursor.next_is("!"):
        raise Unread("a double factorial")
    return value


def read_atom(cursor: Cursor) -> Any:
    part = cursor.take()
    if isinstance(part, Group):
        return read_group(part)
    if part.kind == "number":
        return read_number(part, cursor)
    if part.kind == "repeat":
        return repeating(part.text)
    if part.kind == "letter":
        return read_letter(part, cursor)
    if part.kind == "function":
        return read_function(part, cursor)
    if part.text in CONSTANTS:
        return CONSTANTS[part.text]
    if part.text in ("\\frac", "\\binom"):
        top = read_argument(cursor)
        bottom = read_argument(cursor)
        return OPERATIONS[part.text](top, bottom)
    raise Unread(f"{part.text!r} is not understood here")


def read_number(part: Token, cursor: Cursor) -> Any:
    r"""12, 101_2 and the mixed numbers 1 2/3 and 1\frac{2}{3}."""
    value = numbers.decimal(part.text)
    if cursor.next_is("_"):
        cursor.take()
        base = read_argument(cursor)
        return Node("base", (part.text, base))
    if not part.text.isdigit():
        return value
    fraction = read_fraction_behind(cursor)
    return value if fraction is None else numbers.total([value, fraction])


def read_fraction_behind(cursor: Cursor) -> Any:
    r"""The fraction of a mixed number, or None; 1/2 1/3 and 1/2\frac13 are not clear."""
    is_denominator = cursor.peek(-2).text == "/"
    if cursor.peek(-2).text == "^":
        return None
    if cursor.next_is("\\frac") and cursor.are_numbers(1, 2):
        cursor.take()
        top = read_argument(cursor)
        bottom = read_argument(cursor)
    elif cursor.is_plain_fraction():
        top = sympy.Rational(cursor.take().text)
        cursor.take()
        bottom = sympy.Rational(cursor.take().text)
    else:
        return None
    if is_denominator or not 0 < top < bottom:
        raise Unread("a mixed number in a fraction, or with an improper one")
    return numbers.quotient(top, bottom)


def read_letter(part: Token, cursor: Cursor) -> Any:
    name = part.text
    if name in ("f", "g") and cursor.peek().text == "(":
        raise Unread("a function that is not known")
    if cursor.next_is("_"):
        cursor.take()
        name += subscript(cursor.take())
    elif name in CONSTANTS:
        return CONSTANTS[name]
    return sympy.Symbol(name)


def read_function(part: Token, cursor: Cursor) -> Any:
    r"""\sin x, \sin^2 x, \sin^{-1} x, \log_2 8, \sqrt[3]{8}, |x| by name."""
    name = part.text
    if name == "\\sqrt":
        return read_root(cursor)
    base = None
    if name == "\\log" and cursor.next_is("_"):
        cursor.take()
        base = read_argument(cursor)
    exponent = None
    if cursor.next_is("^"):
        cursor.take()
        exponent = signed_power_of_argument(cursor)
    if exponent == -1:
        name = "\\arc" + name[1:]
        exponent = None
        if name not in numbers.NUMERIC:
            raise Unread("an inverse function that is not known")
    argument = read_argument_of(name, cursor)
    value = numbers.logarithm(argument, base) if name == "\\log" else numbers.apply(name, argument)
    return value if exponent is None else numbers.power(value, exponent)


def signed_power_of_argument(cursor: Cursor) -> Any:
    if cursor.next_is("-"):
        cursor.take()
        return numbers.negative(read_argument(cursor))
    return read_argument(cursor)


def read_argument_of(name: str, cursor: Cursor) -> Any:
    """In brackets, or what follows up to the next sign or function: sin 2x cos y."""
    following = cursor.peek()
    if isinstance(following, Group) and following.text in ("(", "{", "["):
        inner = Cursor(list(cursor.take().parts))
        value = with_degrees(name, read_sum(inner), inner)
        if inner.rest():
            raise Unread("an argument that is not understood")
        return with_degrees(name, value, cursor)
    if following.kind == "number" and not following.spaced and cursor.peek(1).text == "(":
        raise Unread("a number between a function and its brackets")
    factors = [read_power(cursor)]
    while cursor.starts_a_factor() and cursor.peek().kind != "function":
        factors.append(read_power(cursor))
    value = numbers.product(factors)
    value = with_degrees(name, value, cursor)
    if cursor.next_is("/") and cursor.peek(1).kind != "function":
        raise Unread("it is not clear where the argument of a function ends")
    return value


def with_degrees(name: str, value: Any, cursor: Cursor) -> Any:
    if not cursor.next_is("°"):
        return value
    if name not in words.TRIGONOMETRIC:
        raise Unread("degrees in a function of no angle")
    cursor.take()
    return numbers.product([value, numbers.quotient(sympy.pi, sympy.Integer(180))])


def read_root(cursor: Cursor) -> Any:
    degree: Any = sympy.Integer(2)
    following = cursor.peek()
    if isinstance(following, Group) and following.text == "[":
        degree = read_expression(cursor.take().parts)
    radicand = read_argument(cursor)
    return numbers.power(radicand, numbers.quotient(numbers.ONE, degree))


def read_argument(cursor: Cursor) -> Any:
    r"""A group or one digit, as TeX takes them: \frac12 and \frac{1}{2}."""
    part = cursor.take()
    if isinstance(part, Group):
        return read_group(part)
    if part.kind == "number" and len(part.text) == 1:
        return sympy.Rational(part.text)
    if part.kind == "letter":
        return CONSTANTS.get(part.text, sympy.Symbol(part.text))
    if part.kind == "function" or part.text in ("\\frac", "\\binom"):
        cursor.back()
        return read_atom(cursor)
    if part.text in CONSTANTS:
        return CONSTANTS[part.text]
    raise Unread(f"{part.text!r} is no argument")


# ---------------------------------------------------------------- groups


def read_group(group: Group) -> Any:
    """What brackets hold: an expression, a tuple, an interval, a set, a matrix."""
    parts = list(group.parts)
    if group.opening.startswith("\\begin"):
        return read_matrix(group)
    if group.opening in ROUND_UP_OR_DOWN:
        return numbers.apply(ROUND_UP_OR_DOWN[group.opening], read_expression(parts))
    if group.opening == "\\{":
        return read_set(parts)
    if not parts and group.opening == "{":
        return EMPTY
    pieces, signs = cut(parts, {"\\over"})
    if len(signs) == 1 and group.opening == "{":
        top, bottom = pieces
        return numbers.quotient(read_expression(top), read_expression(bottom))
    pieces, _ = cut_list(parts)
    if len(pieces) == 1:
        is_matched = group.opening + group.closing in ("()", "[]", "{}")
        if not is_matched:
            raise Unread("brackets that do not match")
        return read_expression(parts)
    if group.opening == "{":
        return Node("{}", tuple(read_items(parts)))
    found = [read_statement(piece) for piece in pieces]
    return Node(group.opening + group.closing, tuple(found))


def read_set(parts: list[Part]) -> Any:
    r"""\{1, 2\}, \{\}, and \{x : x > 3\}, which is an interval."""
    if not parts:
        return EMPTY
    pieces, signs = cut(parts, {":", BAR})
    if len(signs) == 1:
        return read_set_builder(*pieces)
    return Node("{}", tuple(read_items(parts)))


def read_set_builder(left: list[Part], right: list[Part]) -> Any:
    domain, signs = cut(left, "∈")
    if signs and read_expression(domain[1]) != REALS:
        raise Unread("a set of other than real numbers")
    condition = read_list(right)
    if isinstance(condition, Node) and condition.kind == "name":
        value, name = condition.parts
        if name == name_of(domain[0]) and isinstance(value, Node):
            return value
    raise Unread("a set that is not known")


def read_matrix(group: Group) -> Node:
    if "vmatrix" in group.opening.lower():
        raise Unread("a determinant")
    lines, _ = cut(list(group.parts), {"\n"})
    rows = []
    for line in filter(None, lines):
        cells, _ = cut(line, "&")
        rows.append(tuple(read_expression(cell) for cell in cells))
    if not rows or len({len(row) for row in rows}) > 1:
        raise Unread("a matrix with rows of different lengths")
    return Node("matrix", tuple(rows))


CONSTANTS: dict[str, Any] = {"π": sympy.pi, "∞": sympy.oo, "e": sympy.E, "i": sympy.I, "∅": EMPTY}
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "\\frac": numbers.quotient,
    "\\binom": numbers.binomial,
}
ROUND_UP_OR_DOWN = {"\\lfloor": "\\floor", "\\lceil": "\\ceil", BAR: "\\abs"}
REALS = Node("()", (-sympy.oo, sympy.oo))
