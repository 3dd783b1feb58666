r"""What stands around a value: its name, its unit, a remark, and words that say nothing.

    x = 5    \angle ABC = 30^\circ    f(2) = 5        names
    \$5    5 cm^2    60 miles per hour    18 eggs     units
    18 eggs (9 left)                                  a remark
    about 5    72 clips in total                      words that are left out

What is doubtful is Unread.

Called by grammar.py and comparison.py.
"""

from typing import Any

import sympy

from support.answers import values, words
from support.answers.groups import Cursor, Group, Part, cut
from support.answers.tokens import Unread
from support.answers.values import Node

# ---------------------------------------------------------------- names


def name_of(parts: list[Part]) -> str:
    r"""The name that a left side is, or an empty string.

    Names are x, x', a_3, AB, f(2), f'(2), f^{-1}(2), P(X=3), \sin A, \angle ABC, |AB|, A:B, NO/BO,
    (p, q) and words. x^2, 2x and a+b are none.
    """
    if len(parts) == 1 and isinstance(parts[0], Group):
        return name_of_group(parts[0])
    if len(parts) == 3 and parts[0].text == "\\frac":
        return joined_names([inside(parts[1]), inside(parts[2])], "/")
    for sign in (":", "/"):
        pieces, signs = cut(parts, sign)
        if len(signs) == 1:
            return joined_names(pieces, sign)
    if parts and parts[0].kind == "function":
        return name_of_application(parts)
    function = without_marks(parts)
    if is_application(function):
        return "".join(full_text(part) for part in parts)
    return plain_name(parts)


def name_of_group(group: Group) -> str:
    """(x, y), in the order of the alphabet; |AB|, a size; [ABC], an area."""
    parts = list(group.parts)
    if group.text == "(":
        pieces, _ = cut(parts, ",")
        names = [name_of(piece) for piece in pieces]
        return ",".join(names) if all(names) and names == sorted(names, key=alphabetical) else ""
    if group.text in ("[", "\\mid"):
        name = plain_name(parts)
        return group.opening + name + group.closing if name else ""
    return ""


def alphabetical(name: str) -> tuple[bool, str]:
    r"""A key to sort names by: a, B, x, \theta."""
    return name.startswith("\\"), name.lower()


def joined_names(pieces: list[list[Part]], sign: str) -> str:
    names = [name_of(piece) for piece in pieces]
    return sign.join(names) if all(names) else ""


def name_of_application(parts: list[Part]) -> str:
    r"""\sin A and \cos(A): a function of an angle that bears a name."""
    function, *rest = parts
    argument = inside(rest[0]) if len(rest) == 1 else rest
    is_named = function.text in words.TRIGONOMETRIC and plain_name(argument)
    return "".join(full_text(part) for part in parts) if is_named else ""


def without_marks(parts: list[Part]) -> list[Part]:
    """f(2) for f'(2), f''(2) and f^{-1}(2)."""
    if len(parts) < 3:
        return parts
    head, *marks, argument = parts
    texts = "".join(full_text(mark) for mark in marks)
    return [head, argument] if texts in ("'", "''", "^(-1)") else parts


def is_application(parts: list[Part]) -> bool:
    """f(2), P(X=3), f(f(2)) and V(r); but not x(y), nor n(n+1), a product."""
    if len(parts) != 2:
        return False
    head, argument = parts
    is_function = head.text.isupper() or head.text in "fghpqrn"
    if not (head.kind == "letter" and is_function and argument.text == "("):
        return False
    inner = inside(argument)
    followers = [part.text for part in inner[1:]] + [""]
    return all(
        part.text != head.text or after == "(" for part, after in zip(inner, followers, strict=True)
    )


def plain_name(parts: list[Part]) -> str:
    r"""Letters with their subscripts and marks, or words: AB, x_1, \angle ABC, side length."""
    names: list[str] = []
    rest = list(parts)
    while rest:
        part = rest.pop(0)
        if part.word in words.NO_NAME:
            return ""
        if part.text in words.NAME_MARKS:
            names.append(part.text)
        elif part.text == "_" and names and rest:
            names.append(subscript(rest.pop(0)))
        elif part.kind in ("letter", "word") or (part.text == "'" and names):
            names.append(part.text)
        elif part.text == "{" and (inner := plain_name(inside(part))):
            names.append(inner)
        else:
            return ""
    return "".join(names)


def inside(part: Part) -> list[Part]:
    return list(part.parts) if isinstance(part, Group) else [part]


def full_text(part: Part) -> str:
    if isinstance(part, Group):
        return "(" + "".join(full_text(inner) for inner in part.parts) + ")"
    return part.text


def has_letters(parts: list[Part]) -> bool:
    """Whether the parts hold a variable."""
    for part in parts:
        if isinstance(part, Group):
            if has_letters(list(part.parts)):
                return True
        elif part.kind == "letter" and part.text not in ("e", "i"):
            return True
    return False


# ---------------------------------------------------------------- words and remarks


def without_leading(parts: list[Part]) -> list[Part]:
    """Without "about", "the answer"; a single letter "a" counts only in front of a word.

    The "is" of "the answer is 5" is a sign by now, and read_statement leaves it out.
    """
    rest = list(parts)
    while len(rest) > 1 and rest[0].text.lower() in words.LEADING:
        if rest[0].kind == "letter" and rest[1].kind != "word":
            break
        rest.pop(0)
        while len(rest) > 1 and rest[0].text == ":":
            rest.pop(0)
    return rest


def without_trailing(parts: list[Part]) -> list[Part]:
    """Without "in total" and the like."""
    for phrase in words.TRAILING:
        ending = [part.text.lower() for part in parts[-len(phrase) :]]
        if ending == phrase and len(parts) > len(phrase):
            return parts[: -len(phrase)]
    return parts


def without_remark(parts: list[Part]) -> list[Part]:
    r"""Without a bracket of words at the end: 18 eggs (9 left).

    5 (cents) becomes 5 cents, and \frac56 (\approx 0.83) becomes \frac56 \approx 0.83. A number
    alone, 18 eggs (9), and a word that may change the value, 5 (or 6), are Unread.
    """
    if len(parts) < 2:
        return parts
    *before, bracket = parts
    if bracket.text != "(" or not bracket.spaced or is_text(before):
        return parts
    inner = inside(bracket)
    texts = {part.text.lower() for part in inner}
    if is_one_number(inner) or texts & words.NO_REMARK:
        raise Unread("a bracket that may change the value")
    if inner[0].text in ("≈", "="):
        return [*before, *inner]
    is_behind_words = any(part.word for part in before)  # its unit, or "about"
    if is_text(inner):  # one or two words behind a bare number are its unit
        return before if is_behind_words or len(inner) > 2 else [*before, *inner]
    if texts & set("+-*/^="):
        return parts
    has_words = any(part.word for part in inner)
    has_unit = any(unit_word(part) for part in inner)
    is_remark = is_behind_words and has_words and not has_unit
    return before if is_remark or texts & words.COUNTS_IN_REMARKS else parts


def is_text(parts: list[Part]) -> bool:
    return bool(parts) and all(part.word for part in parts)


def text_value(parts: list[Part]) -> Any:
    """An answer in words."""
    text = " ".join(part.word for part in parts)
    if text in words.EMPTY_SETS:
        return values.EMPTY
    if text in words.NUMBER_WORDS:
        return sympy.Integer(words.NUMBER_WORDS[text])
    return Node("text", (text,))


# ---------------------------------------------------------------- units


def currency_in_front(parts: list[Part]) -> tuple[str, list[Part]]:
    r"""The currency of \$5, -\$5 and "USD 20", and the other parts."""
    sign = parts[:1] if parts[0].text in ("-", "+") else []
    rest = parts[len(sign) :]
    unit = unit_word(rest[0]) if rest else ""
    if unit in words.CURRENCIES and len(rest) > 1:
        return unit, sign + rest[1:]
    return "", parts


def is_one_number(parts: list[Part]) -> bool:
    r"""Only digits, / and \frac behind at most one sign: -12.5, 3/4, \frac{1}{2}; also nothing."""
    is_signed = bool(parts) and parts[0].text in ("-", "+")
    unsigned = parts[1:] if is_signed else parts
    return all(map(is_in_one_number, unsigned))


def is_in_one_number(part: Part) -> bool:
    if part.text == "{":
        return is_one_number(inside(part))
    return part.kind in ("number", "repeat") or part.text in ("/", "\\frac")


def magnified(value: Any, cursor: Cursor, is_simple: bool) -> Any:
    """The value times the magnitudes after it: 5 hundred thousand; of one number only."""
    while cursor.word() in words.MAGNITUDES:
        if not is_simple:
            raise Unread("a magnitude of more than one number")
        magnitude = words.MAGNITUDES[cursor.word()]
        cursor.take()
        value = values.multiply([value, sympy.Integer(magnitude)])
    return value


def unit_of(parts: list[Part], currency: str) -> str:
    """The unit that the parts are, whole, beside a currency in front; empty if there is none."""
    if not parts:
        return currency
    cursor = Cursor(parts)
    # \$18 per day, \$18 on apples: of the currency in front; 18 for Tom: of none
    is_place = cursor.word() in words.PLACES and (bool(currency) or cursor.word() != "in")
    unit = currency if is_place or is_per(cursor) else simple_unit(cursor)
    skip_contents(cursor)
    if currency and unit != currency:
        raise Unread("two units")
    while is_per(cursor):
        cursor.take()
        while cursor.word() in ("a", "an", "each"):
            cursor.take()
        unit += "/" + simple_unit(cursor)
    if cursor.rest() or not (unit or is_place):
        raise Unread("words after a value that are no unit")
    return words.SPEEDS.get(unit, unit)


def is_per(cursor: Cursor) -> bool:
    """Whether "per", "/", or "every" in front of a time follows: \\$18 every day."""
    is_every = cursor.word() in ("every", "each") and unit_word(cursor.peek(1)) in words.TIMES
    return is_every or cursor.word() == "per" or cursor.next_is("/")


def simple_unit(cursor: Cursor) -> str:
    """cm, square feet, cm^2, degrees, or one or two words: what is counted."""
    area = words.AREAS.get(cursor.word(), "")
    if area and unit_word(cursor.peek(1)):
        cursor.take()
        return unit_word(cursor.take()) + area
    word = cursor.word()
    part = cursor.take()
    is_behind_per = cursor.position > 1
    if is_behind_per and part.kind == "letter" and part.text in words.ONE_LETTER_UNITS:
        return part.text + unit_exponent(cursor)  # the h of km/h
    unit = unit_word(part)
    if unit:
        unit += unit_exponent(cursor)
        if is_counted(cursor.word()) and unit != "%" and not is_per(cursor):
            unit += " " + cursor.take().text.lower()  # 13 years old, 20 degrees Celsius
    else:
        unit = counted(word, cursor)
    skip_contents(cursor)
    return unit


def counted(word: str, cursor: Cursor) -> str:
    """What is counted, in one or two words, the first of which was taken: eggs, large eggs."""
    if not is_counted(word):
        raise Unread(f"{word!r} is no unit")
    following = cursor.word()
    counts_two = is_counted(following)
    if (following if counts_two else word) in words.TAKES_BACK:
        raise Unread("a value that is taken back")
    if not counts_two:
        return words.noun(word)
    cursor.take()
    return words.noun(word) + " " + words.noun(following)


def skip_contents(cursor: Cursor) -> None:
    """2 cups of flour, 18 apples in the basket, 18 students with glasses: what stands after "of",
    "in" and "with" is not the unit."""
    if cursor.word() in words.PLACES | {"of"} and is_counted(cursor.word(1)):
        cursor.take()
        while is_counted(cursor.word()):
            cursor.take()


def is_counted(word: str) -> bool:
    """Whether a word can be a thing that is counted."""
    is_other = word in words.UNITS or word in words.PLACES or words.changes_a_value(word)
    return bool(word) and not is_other


def unit_word(part: Any) -> str:
    r"""The unit that a part names, or an empty string: cm, %, °, \$."""
    if part.kind not in ("word", "sign"):
        return ""
    if part.text in words.ORDINALS:
        return "th"
    return words.UNITS.get(part.text) or words.UNITS.get(part.text.lower(), "")


def unit_exponent(cursor: Cursor) -> str:
    """The "^2" of cm^2, or an empty string."""
    if not cursor.next_is("^"):
        return ""
    cursor.take()
    exponent = "".join(part.text for part in inside(cursor.take()))
    if exponent not in ("2", "3", "-1", "-2", "-3"):
        raise Unread("an exponent of no unit")
    return "^" + exponent


# ---------------------------------------------------------------- numbers in special spelling


def repeating(text: str) -> sympy.Rational:
    r"""0.1\overline{6} is 1/6; 0.\dot{1}4285\dot{7} is 1/7."""
    before, _, after = text.partition("\\")
    whole, _, fixed = before.partition(".")
    period = "".join(character for character in after if character.isdigit())
    scale = 10 ** len(fixed)
    nines = 10 ** len(period) - 1
    beginning = int(whole + fixed or "0")
    return sympy.Rational(beginning, scale) + sympy.Rational(int(period), scale * nines)


def subscript(part: Part) -> str:
    """The "_3" of a_3 and a_{3}."""
    return "_" + "".join(full_text(inner) for inner in inside(part))


# ---------------------------------------------------------------- intervals by inequalities


def unknown(side: list[Part]) -> str:
    """The name that an inequality is about, x or x_1, or an empty string.

    Other names of three parts pass too: xyz > 3 and a/b > 3 are intervals that bear these names.
    """
    if len(side) not in (1, 3):
        return ""
    letter = side[0]
    if letter.kind != "letter" or letter.text in "ei":
        return ""
    return name_of(side)


def ends_in_a_magnitude(parts: list[Part]) -> bool:
    return parts[-1].word in words.MAGNITUDES


def is_named(value: Any) -> bool:
    return isinstance(value, Node) and value.kind == "name"


def union_of_inequalities(items: list[Any]) -> Any:
    """x < -3 or x > 3."""
    intervals = [item.parts[0] for item in items]
    names = {item.parts[1] for item in items}
    if len(names) > 1:
        return values.a_list(items)
    return Node("name", (values.union(intervals), names.pop()))
