r"""The answer checker, which is the reward: the final answer of a text, and whether two answers are equal.

extract_answer finds the answer in a solution. is_equal reads two answers, LaTeX, unicode or plain, with a parser
of its own into sympy numbers and Nodes (tuples, intervals, sets, ...) and compares them by kind.

Tolerance: none. A decimal is the exact rational that it spells: 0.33 is not 1/3. Irrational numbers and
    expressions with symbols are equal if they agree to 25 digits at three points.
Percent: 25% equals 25 (the sign is a unit) and 1/4 (its value); the bare numbers 25 and 1/4 differ.
Units, currency and words after a number count for nothing. x = 5 equals 5, but not y = 5. Lists are unordered
    and equal sets; tuples are ordered. Only the percent and the name rule keep equality from being transitive.

Nothing of a text is executed and nothing runs against a clock: what could explode is refused before it is
built (HABITS.md, traps 10 and 11). An answer that is refused or unreadable equals only its own spelling.
"""

import re
import sys
import unicodedata
import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy

MAX_LENGTH = 1000  # characters of an answer that is parsed
MAX_DEPTH = 60  # nested expressions; a pair of brackets makes one or two
MAX_BITS = 24_000  # of a numerator or denominator: 2000! fits, 9^9^9 does not
MAX_ROOT_BITS = 256  # of a number under a root, which sympy tries to factor
MAX_SIZE = 2_000  # absolute value of what a function or a factorial is taken of
REFUSALS = (ArithmeticError, ValueError, TypeError, AttributeError, LookupError, NotImplementedError)

# ---------------------------------------------------------------- extraction

END = re.compile(r"(?<=\S)\s*(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)")
BOX = re.compile(r"\\f?box(?:ed)?\s*(?:\{|([^\s{}$\\]+))")
HASHES = re.compile(r"####[ \t]*([^\s#][^\n#]*)")
SAID = re.compile(
    r"(?:\banswer\b[*_ ]*(?:\bis\b|[:=]|\bshould be\b)|^[*_# ]*final answer[*_: ]*$|^[*_ ]*(?-i:A:))"
    r"[\s*_:]*(?=(\S[^\n]{0,300}))",
    re.I | re.M,
)
BOLD = re.compile(r"\*\*([-$\\(\d](?:[^*\n.:]|\.\d){0,200})\.?\*\*")
LAST_NUMBER = re.compile(r"([-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?%?|[-−]?\.\d+)")
REASON = re.compile(
    r"\.(?=\s|$)|,?\s\(?(?:because|since|as|so|which|where)\b|,(?=\s(?!and\b|or\b)[a-z]{3})", re.I
)


def extract_answer(text: str, strict: bool = True) -> str | None:
    r"""The final answer that a text states, or None.

    In this order: the last \boxed{} or \fbox{}; the last "#### 42"; the last "the answer is 42", "Answer: 42"
    or line "A: 42"; the last bold **42**; with strict=False the last number, which pays for coincidences.
    What follows an end-of-turn mark does not count, nor what stands before </think>.
    """
    end = END.search(text)
    text = (text[: end.start()] if end else text).rpartition("</think>")[2]
    if box := BOX.match(text, max(text.rfind("\\boxed"), text.rfind("\\fbox"), 0)):
        return box[1].rstrip(".,") or None if box[1] else boxed_content(text[box.end() :])
    for mark in [HASHES, SAID, BOLD] if strict else [HASHES, SAID, BOLD, LAST_NUMBER]:
        for line in mark.findall(text)[:-4:-1]:  # up to the reasons, and after the last "is"
            found = REASON.split(re.sub(r"\\[()\[\]]|\\?\$|\*\*", "", line))[0]
            if found := re.split(r"\b(?:is|are|equals)\s", found)[-1].strip(" *_\r\t,"):
                return found
    return None


def boxed_content(text: str) -> str | None:
    """The text up to the brace that closes the box; a box that is never closed is a truncated answer."""
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text, re.S):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[: brace.start()].strip() or None
    return None


# ---------------------------------------------------------------- equality


@dataclass(frozen=True)
class Node:
    """What is not a number. Kinds: "()" "[]" "(]" "[)" tuple or interval; "{}" set or list; "∪" union; ":" ratio;
    "\\matrix" of ";" of ","; "name" (value, name); "=" "≠" "<" "≤" (left - right)."""

    kind: str
    parts: tuple[Any, ...]


def is_equal(gold: str | None, answer: str | None) -> bool:
    """Whether two answers have the same value; no answer equals nothing, not even itself."""
    if not gold or not answer or max(len(gold), len(answer)) > MAX_LENGTH:
        return bool(gold) and gold == answer
    try:
        return read(gold) != "" and same(read(gold), read(answer))
    except REFUSALS:
        return False


def same(a: Any, b: Any) -> bool:
    if a == b:
        return True
    if is_kind(a, "name") or is_kind(b, "name"):
        (a, *name), (b, *other) = (v.parts if is_kind(v, "name") else (v,) for v in (a, b))
        return not (name and other and name != other) and same(a, b)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return agree(a, b)
    if not isinstance(a, Node) or not isinstance(b, Node) or a.kind != b.kind:
        return False
    if a.kind in ("=", "≠", "<", "≤"):
        return proportional(a.parts[0], b.parts[0], a.kind in "<≤")
    if a.kind in ("{}", "∪"):  # each part as often in one as in the other
        return all(count(a, part) == count(b, part) for part in a.parts + b.parts)
    return len(a.parts) == len(b.parts) and all(map(same, a.parts, b.parts))


def count(node: Node, value: Any) -> int:
    return sum(same(part, value) for part in node.parts)


def agree(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Whether two numbers that are not the same object have the same value."""
    if a.is_Rational and b.is_Rational or {a, b} & {sympy.oo, -sympy.oo}:
        return False
    if a.is_Symbol and b.is_Symbol:  # the choices C and c
        return str(a).casefold() == str(b).casefold()
    if (PERCENT in a.free_symbols) != (PERCENT in b.free_symbols):
        return any(same(a.subs(PERCENT, unit), b.subs(PERCENT, unit)) for unit in (1, sympy.Rational(1, 100)))
    return all(abs(u - v) <= 1e-25 * max(abs(u), abs(v)) for u, v in zip(samples(a), samples(b), strict=True))


def proportional(a: sympy.Expr, b: sympy.Expr, positive: bool) -> bool:
    """Whether the equations a = 0 and b = 0, or inequalities, are multiples of each other."""
    first, *others = [complex(u / v) for u, v in zip(samples(a), samples(b), strict=True)]
    is_sign_right = first.imag == 0 and (first.real > 0 or not positive)
    return (
        a.free_symbols == b.free_symbols
        and is_sign_right
        and all(abs(r - first) < 1e-12 * abs(first) for r in others)
    )


@lru_cache(maxsize=4096)
def samples(value: sympy.Expr) -> list[sympy.Expr]:
    """The value to 30 digits at three points that depend on nothing but the symbols' names."""
    found = []
    for point in range(3):
        chosen = {}
        for symbol in value.free_symbols:
            sign = (1, -1, (-1) ** sum(map(ord, str(symbol))))[point]  # the last sets |xy| and xy apart
            chosen[symbol] = sympy.Rational(
                sign * (1 + zlib.crc32(f"{symbol}{point}".encode()) % 99991), 40009
            )
        found.append(value.evalf(30, subs=chosen))
        if not (found[-1] == 0 or abs(found[-1]).is_Float):
            raise ValueError("no value at a sample point")
    return found


# ---------------------------------------------------------------- one spelling of what looks alike

NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln exp floor ceil abs".split()
SPELLINGS = r"""* \cdot \times × · ⋅; / \div ÷; ^ **; < \lt; > \gt; ≤ \le \leq \leqslant <=; ≥ \ge \geq \geqslant >=
    ≠ \ne \neq !=; ≈ \approx; ∈ \in; ∪ \cup; ± \pm; ∓ \mp; ∞ \infty infinity inf; π \pi pi; - − – —; , & and or
    : \colon \mid |; [ \lbrack; ] \rbrack; \{ \lbrace; \} \rbrace; % \% percent pct; ∅ \emptyset \varnothing
    \frac \dfrac \tfrac \cfrac; \binom \dbinom \tbinom; \sqrt √ sqrt"""
SIGNS = {spelling: line.split()[0] for line in re.split("[;\n]", SPELLINGS) for spelling in line.split()[1:]}
SIGNS |= {name: "\\" + name for name in NAMES} | {"\\\\": ";"}  # the rows of a matrix
TEXT = re.compile(r"\\(?:text\w*|[mh]box|math(?:rm|bf|it|sf)|operatorname)\s*\{([^{}]*)\}")
WORD = re.compile(r'(?<![\\"A-Za-z])([A-Za-z]{3,}|[Nn]o|or|ln|pi|(?<=[\d)}°] )[A-Za-z]{2})(?![A-Za-z])')
MARKUP = [
    (r",\s*\\!\s*(?=\d{3})|\{\s*,\s*\}\s*(?=\d{3})", ""),  # 1,\!000 and 1{,}000
    (r"(?<!\\)\\[()\[\]]|\\?\$|\\!|[\"`€£¥₹¢\u200b\ufeff]", ""),  # math delimiters, currency, no space
    (r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
    (r"\\(?:boxed|fbox|left|right|displaystyle|angle|triangle|vec|hat|overline(?!\{?\d))(?![a-zA-Z])", " "),
    (r"(\\[dtc]?(?:frac|binom))\s*(\d)", r"\1{\2}"),  # \frac12 is \frac{1}{2} ...
    (r"(\\[dtc]?(?:frac|binom)\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),  # ... and \frac123 is \frac{1}{2}3
    (r"\{([^{}]*)\\choose([^{}]*)\}", r"\\binom{\1}{\2}"),
    (r"\\sqrt\s*\[([^\]]*)\]", r"\\root{\1}"),
    (r"\\[lr]?vert(?![a-z])", "|"),
    (r"\|([^|]*)\|", r"\\abs(\1)"),
    (r"\\l(floor|ceil)", r"\\\1("),
    (r"\\r(floor|ceil)", r")"),
    (r"(\\(?:sin|cos|tan))\s*\^\s*\{?-1\}?", r"\\arc\1"),
    (r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|º|°)(?:\s*[CF](?![a-zA-Z]))?", "°"),
    (r"_\s*\{\s*(\w+)\s*\}", r"_\1 "),
    (r"\\mathbb\s*\{?\s*R\s*\}?|ℝ", "(-∞,∞)"),
    (r"([)\]])\s*U\s*([(\[])", r"\1∪\2"),
    (r"\\begin\s*\{([vV]?)(?:[pbB]?matrix|array)\}(?:\s*\{[clr| ]*\})?", r"\\matrix\1 "),
    (r"(?:\\\\)?\s*\\end\s*\{\w+\}", r"\\end "),
    (r"^[\s*\\]+(?![a-zA-Z{])|[\s*\\.,:;]+$", ""),  # markdown bold, line breaks, a full stop
    (r"(?i)^(the )?(final )?answer( is)?\b|^(about|approximately)\b", ""),
    ("[¼-¾⅐-⅞]", r" \g<0>"),  # 3½ is 3 1/2, not 31/2
    ("[⁰¹²³⁴-⁹]+", r"^{\g<0>}"),
]
THOUSANDS = r"(?<![\d.,])\d{1,3}((,\d{3})+|( \d{3})+(?!/))(?!,?\d)"
REPEATING = r"(\d*\.(\d*))\\(?:overline|bar)\s*\{?(\d+)\}?"
NUMERALS = [
    (r",\s*(?:,\s*)+", ", "),  # "1, 2, and 3"
    (r"(?<=\d)[eE](?=[-+]?\d)([-+]?\d+)", r"*10^{\1}"),
    (r"(?<![\w.^])(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+/\d+)", r"(\1+\2)"),  # mixed numbers
    (r'(?<=[\dπ)}%°])(?:\s*/?\s*"\w+(?:\s*\^\s*\{?-?\d+\}?)?|/[a-z]\b|\s*\(\s*(?:"\w+\s*)+\))+', ""),  # units
    (r'(^|")(an?|the) +(?=")', ""),
    (r"(?<=[^\w,])\s+|\s+(?=\W)", ""),
]


def clean(text: str) -> str:
    """The text without markup and units, in ASCII digits, 1,000 as 1000, a quote before each word."""

    def unwrapped(match: re.Match[str]) -> str:
        if "math" in match[0] and re.fullmatch(r"\s*[A-Za-z]\s*", match[1]):
            return "{" + match[1] + "}"
        return " " + re.sub("[A-Za-z]+", lambda m: SIGNS.get(m[0]) or '"' + m[0], match[1]) + " "

    def marked(match: re.Match[str]) -> str:
        is_run = match[0].lower() in "abcdefghijklmnopqrstuvwxyz" and match[0] != "no"  # abc is a product
        return SIGNS.get(match[0]) or ("" if is_run else '"') + match[0]

    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text)
    text = TEXT.sub(unwrapped, unicodedata.normalize("NFKC", text).replace("\u2044", "/"))
    text = WORD.sub(marked, text)
    outside, *inside = re.split(r"(?=[(\[]|\\\{)", text, maxsplit=1)  # (1,200) is a pair, 1,200 is not
    text = re.sub(THOUSANDS, lambda m: re.sub("[, ]", "", m[0]), outside) + "".join(inside)
    text = re.sub(REPEATING, lambda m: f"({m[1]}+{m[3]}/{'9' * len(m[3])}{'0' * len(m[2])})", text)
    if any(name in text for name in ("\\sin", "\\cos", "\\tan")):
        text = text.replace("°", r"\frac{π}{180}")  # an angle, not a unit
    for pattern, replacement in NUMERALS:
        text = re.sub(pattern, replacement, text)
    return text.replace("°", "").strip()


# ---------------------------------------------------------------- numbers that cannot explode


def checked(value: Any) -> sympy.Expr:
    """A result of arithmetic, if it is a number and not too long."""
    if not isinstance(value, sympy.Expr) or value in (sympy.nan, sympy.zoo):
        raise ValueError("no number")
    if isinstance(value, sympy.Rational) and max(abs(value.p), value.q).bit_length() > MAX_BITS:
        raise ValueError("a number with too many digits")
    return value


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """base ** exponent, if the lengths of both promise a result that is not too long."""
    bits = max(abs(base.p), base.q).bit_length() - 1 if isinstance(base, sympy.Rational) else 1
    if bits * size(exponent) > MAX_BITS or bits > MAX_ROOT_BITS and not exponent.is_Integer:
        raise ValueError("a power with too many digits")
    if base.is_negative and exponent.is_Rational and exponent.q % 2:  # the real root
        return checked((-1) ** exponent.p * (-base) ** exponent)
    return checked(base**exponent)


def bounded(function: Any, *arguments: sympy.Expr) -> sympy.Expr:
    if max(map(size, arguments)) > MAX_SIZE:
        raise ValueError("an argument too large")
    return checked(function(*arguments))


def size(value: sympy.Expr) -> float:
    """Largest absolute value at the sample points; that of its parts has been bounded before."""
    return max(float(abs(number)) for number in samples(value))


# ---------------------------------------------------------------- the parser

TOKEN = re.compile(r'"\w+(?: *"\w+)*|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[<>!]=|\*\*|\S')
SYMBOL = re.compile(r"[A-Za-z]|\\(?!end)[A-Za-z]{2,}")
PERCENT, PLUS_MINUS = sympy.Symbol("%"), sympy.Symbol("±")
CONSTANTS = {"π": sympy.pi, "∞": sympy.oo, "e": sympy.E, "i": sympy.I, "%": PERCENT}
FUNCTIONS = {"\\" + name: getattr(sympy, name.replace("arc", "a")) for name in NAMES[:-2]} | {
    "\\abs": sympy.Abs,
    "\\ceil": sympy.ceiling,
}
CLOSING = {"(": ")]", "[": ")]", "{": "}", "\\{": ["\\}"], "\\matrix": ["\\end"], "\\matrixv": ["\\end"]}
SUMS = {"+": 1, "-": -1, "±": PLUS_MINUS, "∓": -PLUS_MINUS}
LEVELS = (
    {";": 0, ",": 1, "∪": 3, ":": 3, "*": 5, "/": 5, "^": 7}
    | dict.fromkeys("=≈∈≠<>≤≥", 2)
    | dict.fromkeys(SUMS, 4)
)
PRODUCT, FACTOR, ATOM = 6, 7, 8  # a product without a sign, what it is made of, and what stands alone


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The value of an answer, or its cleaned text. The groups of "p=5,q=2; p=7,q=2" are tuples."""
    text = clean(text)
    try:
        parser = Parser(text)
        value = parser.expression(0)
        if parser.next != "end":
            raise ValueError(f"cannot read on from {parser.next!r}")
        groups = (
            [settled(part, "()") for part in value.parts] if is_kind(value, ";") else [settled(value, "{}")]
        )
    except REFUSALS:
        return text
    return groups[0] if len(groups) == 1 else Node("{}", tuple(groups))


class Parser:
    """Precedence climbing over the tokens of a cleaned text, from lists and relations down to single atoms."""

    def __init__(self, text: str):
        self.tokens = [SIGNS.get(token, token) for token in TOKEN.findall(text)] + ["end"]
        self.at = self.depth = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at]

    def take(self, *wanted: str) -> bool:
        found = self.next in wanted
        self.at += found
        return found

    def expression(self, level: int) -> Any:
        """What binds at least as strongly as the level."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        sign = self.next
        value = checked(SUMS[sign] * self.expression(max(level, 5))) if self.take(*SUMS) else self.atom()
        while level < ATOM:
            sign = self.next
            if LEVELS.get(sign, -1) >= level:
                self.at += 1
                value = combined(value, sign, self.expression(FACTOR if sign in "*/^" else LEVELS[sign] + 1))
            elif self.take("!"):
                value = bounded(sympy.factorial, value)
            elif level <= PRODUCT and (sign in ("(", "{") or sign in CONSTANTS or SYMBOL.fullmatch(sign)):
                if level == PRODUCT and sign in FUNCTIONS:
                    break  # in sin b cos a the cosine stands outside; and 1 2 is no product
                value = checked(value * self.expression(FACTOR))
            else:
                break
        self.depth -= 1
        return value

    def atom(self) -> Any:
        token = self.next
        self.at += 1
        if token[0].isdigit() or token[0] == "." and token[1:]:
            return checked(sympy.Rational(Fraction(token)))
        if token in CONSTANTS:
            return CONSTANTS[token]
        if token in FUNCTIONS:
            return self.function(token)
        if token == "\\frac":
            return combined(self.expression(ATOM), "/", self.expression(ATOM))
        if token == "\\binom":
            return bounded(sympy.binomial, self.expression(ATOM), self.expression(ATOM))
        if token in ("\\sqrt", "\\root"):
            index = self.expression(ATOM) if token == "\\root" else sympy.Integer(2)
            return power(self.expression(ATOM), power(index, sympy.Integer(-1)))
        if token in CLOSING:
            return self.group(token)
        if token[0] == '"':
            return sympy.Symbol(token.replace('"', "").casefold())
        if not SYMBOL.fullmatch(token):
            raise ValueError(f"cannot read {token!r}")
        if self.take("_"):
            token, self.at = f"{token}_{self.next}", self.at + 1
        return sympy.Symbol(token)

    def function(self, token: str) -> sympy.Expr:
        """sin^2 x, log_2 8, sin 2x, sin(x)"""
        exponent = self.expression(ATOM) if self.take("^") else None
        base = self.expression(ATOM) if self.take("_") else None
        value = bounded(FUNCTIONS[token], self.expression(ATOM if self.next in ("(", "{") else PRODUCT))
        if base is not None:
            value = combined(value, "/", bounded(sympy.log, base))
        return value if exponent is None else power(value, exponent)

    def group(self, opening: str) -> Any:
        """What brackets hold: a value, a tuple, an interval, a set, a matrix."""
        if opening == "\\{" and self.take("\\}"):
            return Node("{}", ())
        if opening == "\\{" and self.tokens[self.at + 1] == ":":  # {x : x > 1}
            self.at += 2
        value = self.expression(0)
        closing = self.next
        if not self.take(*CLOSING[opening]):
            raise ValueError(f"expected a closing bracket, found {closing!r}")
        if opening.startswith("\\matrix"):
            return Node(opening, (value,))
        if opening != "\\{" and not is_kind(value, ",") and not is_kind(value, "relation"):
            return value
        return settled(value, "{}" if "{" in opening else opening + closing)


def is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, Node) and value.kind == kind


def combined(left: Any, sign: str, right: Any) -> Any:
    if sign in SUMS:
        return checked(left + SUMS[sign] * right)
    if sign in "*/":
        return checked(left * (right if sign == "*" else power(right, sympy.Integer(-1))))
    if sign == "^":
        return power(left, right)
    kind = sign if LEVELS[sign] != 2 else "relation"
    before = left.parts if is_kind(left, kind) else (left,)
    return Node(kind, (*before, right) if kind == sign else (*before, sign, right))


def settled(value: Any, kind: str) -> Any:
    """The value with its equations and plus-minus signs worked out; a Node of the kind if there are several."""
    values = []
    for part in value.parts if is_kind(value, ",") else (value,):
        part = related(part.parts[::2], part.parts[1::2]) if is_kind(part, "relation") else part
        inner, name = (part.parts[0], part.parts[1:]) if is_kind(part, "name") else (part, ())
        is_double = isinstance(inner, sympy.Expr) and PLUS_MINUS in inner.free_symbols
        readings = [checked(inner.subs(PLUS_MINUS, sign)) for sign in (1, -1)] if is_double else [inner]
        values += [Node("name", (reading, *name)) if name else reading for reading in readings]
    if kind == "{}":
        values = [v for i, v in enumerate(values) if not any(same(v, w) for w in values[:i])]
    return values[0] if len(values) == 1 else Node(kind, tuple(values))


def related(sides: tuple[Any, ...], relations: tuple[str, ...]) -> Any:
    """An equation or an inequality; of a chain x = 2 + 3 = 5 the two ends count."""
    if relations[0] in ">≥":
        sides, relations = sides[::-1], tuple("<≤"[relation == "≥"] for relation in relations[::-1])
    if set(relations) <= {"<", "≤"}:  # x >= 5 and -2 < x <= 7 are intervals that bear a name
        if len(sides) == 2 and sides[0].is_Symbol:
            sides, relations = (-sympy.oo, *sides), ("<", *relations)
        elif len(sides) == 2 and sides[1].is_Symbol:
            sides, relations = (*sides, sympy.oo), (*relations, "<")
        if len(sides) == 3 and sides[1].is_Symbol:
            brackets = "(["[relations[0] == "≤"] + ")]"[relations[1] == "≤"]
            return Node("name", (Node(brackets, (sides[0], sides[2])), str(sides[1])))
    if set(relations) & set("<≤≠"):
        (relation,) = relations
        return Node(relation, (checked(sides[0] - sides[1]),))
    if "≈" in relations[1:]:
        sides = sides[: relations.index("≈", 1) + 1]
    for name, value in ((sides[0], sides[-1]), (sides[-1], sides[0])):
        if is_name(name):
            return Node("name", (value, str(name)))
    difference = checked(sides[0] - sides[-1])
    return Node("=", (difference,)) if difference.free_symbols else sides[-1]


def is_name(left: Any) -> bool:
    """Whether a left side only names its value: x, a_3, AB, f(x), A:B, NO/BO, (p,q), area; but not x^2 or a+b."""
    if isinstance(left, Node):
        return left.kind in ("()", ":") and all(map(is_name, left.parts))
    factors = [
        1 / factor if factor.is_Pow and factor.exp == -1 else factor for factor in sympy.Mul.make_args(left)
    ]
    return all(factor.is_Symbol for factor in factors)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage")
    gold, answer = sys.argv[1], extract_answer(sys.argv[2]) or sys.argv[2]
    equal = is_equal(gold, answer)
    print("equal" if equal else "different", read(gold), read(answer), sep="\n")
    sys.exit(not equal)
