"""The reader of LaTeX and plain text: the value of an answer as a sympy number or a Node.

An answer is first cleaned, so that all spellings of one thing become one (the table CLEANING).
Then it is cut into tokens, which a parser of our own reads from left to right (expression, atom).
Lists, relations and plus-minus signs are worked out last (settled, related).

Nothing of a text is executed, and nothing runs against a clock: every result of arithmetic comes
from `checked`, `power` or `bounded`, which refuse what would have too many digits.

Called by checker.py: `read` gives the values that it compares, `samples` their decimals.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

MAX_LENGTH = 600  # characters of an answer that is read; the caller refuses a longer one
MAX_DEPTH = 60  # nested expressions; a pair of brackets makes one or two
MAX_BITS = 24_000  # of a numerator or denominator: 2000! fits, 9^9^9 does not
MAX_ROOT_BITS = 256  # of a number under a root, which sympy tries to factor, or beside one
MAX_SIZE = 2_000  # absolute value of what a function or a factorial is taken of

# What reading and comparing may raise: the answer is refused, and equals only its own spelling.
REFUSALS = (ArithmeticError, ValueError, TypeError, AttributeError, LookupError, RuntimeError)


@dataclass(frozen=True)
class Node:
    r"""What is not a number.

    kind "()" "[]" "(]" "[)"   a tuple or an interval
         "{}"                  a set or a list; an answer like "2, 3" is one
         "∪" ":"               a union; a ratio
         "\matrix"             one part: rows joined by ";" of entries joined by ","
         "name"                (value, name): x = 5 is Node("name", (5, "x"))
         "=" "≠" "<" "≤"       one part, left side - right side, which is compared with 0
    """

    kind: str
    parts: tuple[Any, ...]


# ---------------------------------------------------------------- one spelling of what looks alike

NAMES = "sin cos tan cot sec csc sinh cosh tanh asin acos atan log ln exp floor ceiling Abs"
# In each group the sign that is read, then its other spellings: \cdot and \times are read as *.
SPELLINGS = r"""* \cdot \times × · ⋅; / \div ÷ ⁄; ^ **; - − – —; ± \pm; ∓ \mp; % \% percent pct
    < \lt; > \gt; ≤ \le \leq \leqslant <=; ≥ \ge \geq \geqslant >=; ≠ \ne \neq !=; ≈ \approx
    ∈ \in; ∪ \cup; ∞ \infty infinity inf; π \pi pi; ∅ \emptyset \varnothing
    , & and or; : \colon \mid |; \{ \lbrace; \} \rbrace
    \frac \dfrac \tfrac \cfrac; \binom \dbinom \tbinom
    \Abs abs; \ceiling \ceil; \asin \arcsin; \acos \arccos; \atan \arctan"""
SIGNS = {
    spelling: line.split()[0]
    for line in re.split("[;\n]", SPELLINGS)
    for spelling in line.split()[1:]
}
SIGNS |= {name: "\\" + name for name in NAMES.split()} | {"\\\\": ";"}  # the rows of a matrix

TEXT = r"\\(?:text\w*|[mh]box|math(?:rm|bf|it|sf)|operatorname)\s*\{([^{}]*)\}"
WORD = r'(?<![\\"A-Za-z])([A-Za-z]{3,}|[Nn]o|or|of|to|ln|pi|(?<=[\d)}°] )[A-Za-z]{2})(?![A-Za-z])'
THOUSANDS = r"(?<![\d.,])\d{1,3}((,\d{3})+|( \d{3})+(?![/⁄]))(?!,?\d)"
UNIT = (  # "cm, "miles "per "hour, /"h, "cm^2, ("pieces "of "candy), behind a number
    r'(?<=[\dπ)}%°])(?:\s*/?\s*"\w+(?:/[a-z]\b|\s*\^\s*\{?-?\d+\}?)?'
    r'|\s*\([^()\d+*^=\\]*"[^()]*\))+'
)
# Pattern and replacement, applied one after another: a rule sees what the rules above it have left.
CLEANING: list[tuple[str, Any]] = [
    # Unicode: 3½ becomes 3 1⁄2 (not 31/2), x² becomes x^{2} (not x2), and １２ becomes 12.
    ("([¼-¾⅐-⅞])|([⁰¹²³⁴-⁹]+)", lambda m: f" {m[1]}" if m[1] else f"^{{{m[2]}}}"),
    ("(?s).+", lambda m: unicodedata.normalize("NFKC", m[0])),
    # Thousands as TeX writes them: 1,\!000 and 1{,}000 become 1000.
    (r",\s*\\!\s*(?=\d{3})|\{\s*,\s*\}\s*(?=\d{3})", ""),
    # What only typesets: \(73\) and \$73 become 73, 5\,cm becomes 5 cm, \left( becomes (.
    (r"(?<!\\)\\[()\[\]]|\\?\$|\\!|[\"`€£¥₹¢\u200b\ufeff]", ""),
    (r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
    (
        r"\\(?:boxed|fbox|left|right|displaystyle|angle|triangle|vec|hat|overline(?!\{?\d))"
        r"(?![a-zA-Z])",
        " ",
    ),
    # Arguments without braces: \frac12 becomes \frac{1}{2}, and \frac123 becomes \frac{1}{2}3.
    (r"(\\[dtc]?(?:frac|binom))\s*(\d)", r"\1{\2}"),
    (r"(\\[dtc]?(?:frac|binom)\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
    # Functions: \sqrt[3]{8} becomes \root{3}{8}, \log_2 8 becomes \frac{1}{\log(2)}\log 8,
    # |x| becomes \Abs(x), \lfloor x \rfloor becomes \floor( x ).
    (r"(?:√|\\?sqrt(?![a-z]))(?:\s*\[([^\]]*)\])?", lambda m: f"\\root{{{m[1] or 2}}}"),
    (r"\\log\s*_\s*\{?(\w+)\}?", r"\\frac{1}{\\log(\1)}\\log "),
    (r"(?:\||\\[lr]?vert(?![a-z]))(.*?)(?:\||\\[lr]?vert(?![a-z]))", r"\\Abs(\1)"),
    (r"\\([lr])(floor|ceil)", lambda m: f"\\{m[2]}(" if m[1] == "l" else ")"),
    # Degrees: 90^\circ becomes 90°, a unit that is dropped below; \sin 30° is \sin 30\frac{π}{180}.
    (r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°)(?:\s*[CF](?![a-zA-Z]))?", "°"),
    (r"(\\(?:sin|cos|tan|cot|sec|csc)[^°]*)°", r"\1\\frac{π}{180}"),
    # Subscripts, the real numbers, matrices: x_{12} becomes x_12, \mathbb{R} becomes (-∞,∞),
    # \begin{pmatrix}1\\2\end{pmatrix} becomes \matrix 1\\2\end.
    (r"_\s*\{\s*(\w+)\s*\}", r"_\1 "),
    (r"\\mathbb\s*\{?\s*R\s*\}?", "(-∞,∞)"),
    (r"\\begin\s*\{([vV]?)(?:[pbB]?matrix|array)\}(?:\s*\{[clr| ]*\})?", r"\\matrix\1 "),
    (r"(?:\\\\)?\s*\\end\s*\{\w+\}", r"\\end "),
    # What stands around an answer: **73**, "73.", "The answer is 73" and "about 73" become 73,
    # and of x = 1/3 ≈ 0.33 the approximation is dropped.
    (r"^[\s*\\]+(?![a-zA-Z{])|[\s*\\.,:;]+$", ""),
    (r"(?i)^(the )?(final )?answer( is)?\b|^(about\b|approximately\b|\\approx|≈)", ""),
    (r"(=.*?)(?:≈|\\approx).*", r"\1"),
    # Repeating decimals: 0.1\overline{6} becomes (0.10+6/90).
    (
        r"(\d*\.(\d*))\\(?:overline|bar)\s*\{?(\d+)\}?",
        lambda m: f"({m[1]}0+{m[3]}/{'9' * len(m[3])}{'0' * len(m[2])})",
    ),
    # Words get a quotation mark in front: \text{13 years} becomes 13 "years, and 5cm becomes 5 "cm.
    # Letters get none: \mathrm{x} becomes {x}, and neighbours in the alphabet, like abc, are a
    # product (the blank between n and o keeps "no" a word). A marked word of the table SPELLINGS
    # becomes its sign: "and a comma, "pi π.
    (r"\\math(?:rm|bf|it|sf)\s*\{\s*([A-Za-z])\s*\}", r"{\1}"),
    (TEXT, lambda m: " " + re.sub("[A-Za-z]+", r'"\g<0>', m[1]) + " "),
    (r"(?<=\d)(mm|cm|km|kg|ml|mL|oz|lb|ft)(?![A-Za-z])", r' "\1'),
    (WORD, lambda m: m[0] if m[0].lower() in "abcdefghijklmn opqrstuvwxyz" else '"' + m[0]),
    (r'"(\w+)', lambda m: SIGNS.get(m[1], m[0])),
    # Commas: "1, 2, and 3" is now 1, 2, , 3 and becomes 1, 2, 3; thousands like 12,345 and 12 345
    # become 12345, but not behind a bracket, for (1,200) is a pair.
    (r",\s*(?:,\s*)+", ", "),
    (
        r"^(?:[^(\[\\]|\\[^{])*",
        lambda m: re.sub(THOUSANDS, lambda n: re.sub("[, ]", "", n[0]), m[0]),
    ),
    # Numbers in two parts: 1.2e5 becomes 1.2*10^{5}, and 1 2/3 becomes (1+2/3).
    (r"(?<=\d)[eE](?=[-+]?\d)([-+]?\d+)", r"*10^{\1}"),
    (r"(?<![\w.^])(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+[/⁄]\d+)", r"(\1+\2)"),
    # Units and blanks are dropped: 5 "cm^2 becomes 5, 60 "km/h becomes 60, 90° becomes 90.
    (UNIT, ""),
    (r"(?<=[^\w,])\s+|\s+(?=\W)|^\s+|\s+$|°", ""),
]


# ---------------------------------------------------------------- arithmetic within the limits


@lru_cache(maxsize=4096)
def samples(value: sympy.Expr) -> list[sympy.Expr]:
    """The value to 30 digits at three points; the points depend on the symbols' names alone.

    At the first point all symbols are positive, at the second negative, at the third their signs
    differ from letter to letter, which tells |xy| from xy.
    """
    found = []
    for point in range(3):
        draws = {
            s: int.from_bytes(f"{s}{point}".encode(), "big") ** 3 % 99991 + 1
            for s in value.free_symbols
        }
        chosen = {
            s: sympy.Float((1, -1, (-1) ** ord(str(s)[0]))[point] * d, 60) / 40009
            for s, d in draws.items()
        }
        found.append(value.evalf(30, subs=chosen))
        if not (found[-1] == 0 or abs(found[-1]).is_Float):
            raise ValueError("no value at a sample point")
    return found


def checked(value: Any) -> sympy.Expr:
    """A result of arithmetic, if it is a number and not too long."""
    numbers = [number for number in (value, *value.args) if isinstance(number, sympy.Rational)]
    is_long = any(
        max(abs(n.p), n.q).bit_length() > (MAX_BITS if n is value else MAX_ROOT_BITS)
        for n in numbers
    )
    if is_long or not isinstance(value, sympy.Expr) or value in (sympy.nan, sympy.zoo):
        raise ValueError("no number, or one with too many digits")
    return value


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """base ** exponent, if the lengths of both promise a result that is not too long."""
    bits = max(abs(base.p), base.q).bit_length() - 1 if isinstance(base, sympy.Rational) else 1
    if bits * max(map(abs, samples(exponent))) > MAX_BITS or (
        bits > MAX_ROOT_BITS and not exponent.is_Integer
    ):
        raise ValueError("a power with too many digits")
    if MARKS & exponent.free_symbols or (MARKS & base.free_symbols and abs(exponent) > 1):
        raise ValueError("a power that could grow when percent and plus-minus get their values")
    is_negative = isinstance(base, sympy.Rational) and base.p < 0
    if is_negative and exponent.is_Rational and exponent.q % 2:  # the real root
        return checked((-1) ** exponent.p * (-base) ** exponent)
    is_safe = exponent.is_Integer or base.is_Atom  # else sympy may expand the power
    return checked(sympy.Pow(base, exponent, evaluate=is_safe))


def bounded(function: Any, *arguments: sympy.Expr) -> sympy.Expr:
    """function(*arguments), if these are small enough; their own parts have been bounded before."""
    is_polynomial = function is sympy.binomial and not arguments[0].is_Integer
    limit = MAX_SIZE // 400 if is_polynomial else MAX_SIZE
    is_marked = any(MARKS & argument.free_symbols for argument in arguments)
    # Functions of complex numbers are slow, so these are refused too.
    if is_marked or any(abs(v) > limit or not v.is_real for a in arguments for v in samples(a)):
        raise ValueError("too large an argument, or none for a function")
    return checked(function(*arguments, evaluate=all(a.is_Rational for a in arguments)))


# ---------------------------------------------------------------- the parser

TOKEN = re.compile(r'"\w+(?: *"\w+)*|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[<>!]=|\*\*|\S')
SYMBOL = re.compile(r"[A-Za-z]|\\(?!end)[A-Za-z]{2,}")
PERCENT = sympy.Symbol("%")
PLUS_MINUS = sympy.Symbol("±")
MINUS_ONE = sympy.Integer(-1)
MARKS = {PERCENT, PLUS_MINUS}
CONSTANTS = {
    "π": sympy.pi,
    "∞": sympy.oo,
    "e": sympy.E,
    "i": sympy.I,
    "%": PERCENT,
    "∅": Node("{}", ()),
}
FUNCTIONS = {"\\" + name: getattr(sympy, name) for name in NAMES.split()}
CLOSING = {
    "(": ")]",
    "[": ")]",
    "{": "}",
    "\\{": ["\\}"],
    "\\matrix": ["\\end"],
    "\\matrixv": ["\\end"],
}
SUMS = {"+": 1, "-": -1, "±": PLUS_MINUS, "∓": -PLUS_MINUS}
OPERATIONS: dict[str, Any] = {
    "*": lambda a, b: checked(a * b),
    "/": lambda a, b: checked(a * power(b, MINUS_ONE)),
    "^": power,
    "\\frac": lambda a, b: checked(a * power(b, MINUS_ONE)),
    "\\root": lambda a, b: power(b, power(a, MINUS_ONE)),
    "\\binom": lambda a, b: bounded(sympy.binomial, a, b),
} | {sign: lambda a, b, factor=factor: checked(a + factor * b) for sign, factor in SUMS.items()}
# From weak to strong; "" is a product without a sign.
BINARY = [";", ",", "=≈∈≠<>≤≥", "∪:", "+-±∓", "*/", "", "^"]
LEVELS = {sign: level for level, signs in enumerate(BINARY) for sign in signs}
RELATION, SUM, PRODUCT, FACTOR, ATOM = 2, 4, 6, 7, 8


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The value of an answer, or its cleaned text if it is refused.

    The groups of "p=5,q=2; p=7,q=2" are tuples.
    """
    for pattern, replacement in CLEANING:
        text = re.sub(pattern, replacement, text)
    tokens = ["end", *(SIGNS.get(token, token) for token in reversed(TOKEN.findall(text)))]
    try:
        value = settled(expression(tokens, 0, 0), "{}")
        return value if tokens == ["end"] else text
    except REFUSALS:
        return text


def expression(tokens: list[str], level: int, depth: int) -> Any:
    """The value of what binds at least as strongly as the level, taken from the tokens.

    The tokens are reversed: the next one is the last of the list.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    value = atom(tokens, level, depth + 1)
    while level < ATOM:
        sign = tokens[-1]
        if LEVELS.get(sign, -1) >= level:
            tokens.pop()
            right = expression(tokens, FACTOR if sign in "*/^" else LEVELS[sign] + 1, depth + 1)
            if sign in OPERATIONS:
                value = OPERATIONS[sign](value, right)
            else:  # lists and relations gather their parts
                kind = "relation" if LEVELS[sign] == RELATION else sign
                before = value.parts if value.kind == kind else (value,)
                value = Node(kind, (*before, right) if kind == sign else (*before, sign, right))
        elif sign == "!":
            tokens.pop()
            value = bounded(sympy.factorial, value)
        elif level + (sign in FUNCTIONS) <= PRODUCT and (
            sign in "({" or sign in CONSTANTS or SYMBOL.fullmatch(sign)
        ):
            # A product without a sign; but not 1 2, nor cos a in sin b cos a.
            value = checked(value * expression(tokens, FACTOR, depth + 1))
        else:
            break
    return value


def atom(tokens: list[str], level: int, depth: int) -> Any:
    """The value of what begins with the next token: a number, a name, a function, a bracket."""
    token = tokens.pop()
    if token in SUMS:
        return checked(SUMS[token] * expression(tokens, max(level, SUM + 1), depth))
    if re.match(r"\.?\d", token):
        return checked(sympy.Rational(token))
    if token in CONSTANTS:
        return CONSTANTS[token]
    if token in FUNCTIONS:  # sin^2 x, sin^{-1} x, sin 2x, sin(x)y
        has_exponent = tokens[-1] == "^" and tokens.pop()
        exponent = expression(tokens, ATOM, depth) if has_exponent else sympy.Integer(1)
        argument = expression(tokens, ATOM if tokens[-1] in "({" else PRODUCT, depth)
        function = FUNCTIONS["\\a" + token[1:] if exponent == -1 else token]
        return power(bounded(function, argument), sympy.Integer(1) if exponent == -1 else exponent)
    if token in OPERATIONS:  # \frac, \root, \binom
        return OPERATIONS[token](expression(tokens, ATOM, depth), expression(tokens, ATOM, depth))
    if token in CLOSING:
        value = expression(tokens, 0, depth)
        closing = tokens.pop()
        CLOSING[token].index(closing)  # a ValueError if it does not close
        if token.startswith("\\matrix"):
            return Node(token, (value,))
        is_list = token == "\\{" or value.kind in (",", "relation")
        return settled(value, "{}" if "{" in token else token + closing) if is_list else value
    if token[0] == '"':
        return sympy.Symbol(token.replace('"', "").casefold())
    if not SYMBOL.fullmatch(token):
        raise ValueError(f"cannot read {token!r}")
    return sympy.Symbol(token + tokens.pop() + tokens.pop() if tokens[-1] == "_" else token)


def settled(value: Any, kind: str) -> Any:
    """The value, its relations and plus-minus signs worked out; several values are a Node."""
    if value.kind == ";":
        return Node("{}", tuple(settled(part, "()") for part in value.parts))
    values = []
    for part in value.parts if value.kind == "," else (value,):
        part = related(part.parts) if part.kind == "relation" else part
        inner, *name = part.parts if part.kind == "name" else (part,)
        has_two = PLUS_MINUS in getattr(inner, "free_symbols", ())
        readings = (
            [checked(inner.subs(PLUS_MINUS, sign)) for sign in (1, -1)] if has_two else [inner]
        )
        values += [Node("name", (reading, *name)) if name else reading for reading in readings]
    return values[0] if len(values) == 1 else Node(kind, tuple(values))


def related(parts: tuple[Any, ...]) -> Any:
    """An equation or an inequality; of a chain x = 2 + 3 = 5 the two ends count."""
    if parts[1] in ">≥" or (parts[1] in "=≈" and is_name(parts[-1]) and not is_name(parts[0])):
        parts = tuple({">": "<", "≥": "≤"}.get(part, part) for part in parts[::-1])
    first = parts[0]
    sign = parts[1]
    last = parts[-1]
    if sign in "=≈∈" and is_name(first):
        return Node("name", (last, str(first)))
    if sign in "<≤" and len(parts) == 3 and (first.is_Symbol or last.is_Symbol):
        parts = (-sympy.oo, "<", *parts) if first.is_Symbol else (*parts, "<", sympy.oo)
    if sign in "<≤" and len(parts) == 5 and parts[2].is_Symbol:  # an interval that bears a name
        brackets = "(["["<≤".index(parts[1])] + ")]"["<≤".index(parts[3])]
        return Node("name", (Node(brackets, parts[::4]), str(parts[2])))
    difference = checked(first - last)
    if sign not in "=≈" and len(parts) > 3:
        raise ValueError("a chain of inequalities about no symbol")
    return Node(sign, (difference,)) if difference.free_symbols else last


def is_name(left: Any) -> bool:
    """Whether a left side only names its value.

    Names are x, a_3, AB, f(x), A:B, NO/BO, (p,q) and area; x^2 and a+b are none.
    """
    if isinstance(left, Node):
        return left.kind in ("()", ":") and all(map(is_name, left.parts))
    factors = [f.base if f.is_Pow and f.exp == -1 else f for f in sympy.Mul.make_args(left)]
    return all(factor.is_Symbol for factor in factors)
