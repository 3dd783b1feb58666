r"""The answer checker, which is the reward: the final answer of a text, and whether two answers are equal.

is_equal reads both answers, LaTeX, unicode or plain, with a parser of its own into sympy numbers and Nodes (tuples,
intervals, sets, ...) and compares them by kind.

Tolerance: none. A decimal is the exact rational that it spells: 0.33 is not 1/3. Irrational numbers and expressions
    with symbols are equal if they agree to 25 digits at three points.
Percent: 25% equals 25 (the sign is a unit) and 1/4 (its value); the bare numbers 25 and 1/4 differ.
Names: x = 5 equals 5, but not y = 5. Only this and the percent rule keep equality from being transitive.
Units, currency and words after a number count for nothing. Lists are unordered and equal sets; tuples are ordered.

Nothing of a text is executed and nothing runs against a clock: what could explode is refused before it is built
(HABITS.md, traps 10 and 11). An answer that is refused or cannot be read equals only its own spelling.
"""

# ruff: noqa: RUF001
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
REASON = re.compile(r"\.(?=\s|$)|,?\s\(?(?:because|since|as|so|which|where)\b|,(?=\s(?!and\b|or\b)[a-z]{3})", re.I)


def extract_answer(text: str, strict: bool = True) -> str | None:
    r"""The final answer that a text states, or None.

    In this order: the last \boxed{} or \fbox{}; the last "#### 42"; the last "the answer is 42", "Answer: 42"
    or line "A: 42"; the last bold **42**; with strict=False the last number, which pays for coincidences.
    What follows an end-of-turn mark does not count, nor what stands before </think>.
    """
    end = END.search(text)
    text = (text[: end.start()] if end else text).rpartition("</think>")[2]
    if box := BOX.match(text, max(text.rfind("\\boxed"), text.rfind("\\fbox"), 0)):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", "" if box[1] else text[box.end() :], re.S):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return text[box.end() : box.end() + brace.start()].strip() or None
        return box[1] and box[1].rstrip(".,") or None  # a box that is never closed is a truncated answer
    for mark in [HASHES, SAID, BOLD] if strict else [HASHES, SAID, BOLD, LAST_NUMBER]:
        for line in mark.findall(text)[:-4:-1]:  # up to the reasons, and after the last "is"
            found = REASON.split(re.sub(r"\\[()\[\]]|\\?\$|\*\*", "", line))[0]
            if found := re.split(r"\b(?:is|are|equals)\s", found)[-1].strip(" *_\r\t,"):
                return found
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
        if (a.is_Rational and b.is_Rational) or {a, b} & {sympy.oo, -sympy.oo}:
            return False
        if a.is_Symbol and b.is_Symbol:  # the choices C and c
            return str(a).casefold() == str(b).casefold()
        if (PERCENT in a.free_symbols) != (PERCENT in b.free_symbols):
            return any(same(a.subs(PERCENT, unit), b.subs(PERCENT, unit)) for unit in (1, sympy.Rational(1, 100)))
        return all(abs(u - v) <= 1e-25 * max(abs(u), abs(v)) for u, v in zip(samples(a), samples(b), strict=True))
    if not isinstance(a, Node) or not isinstance(b, Node) or a.kind != b.kind:
        return False
    if a.kind in "=≠<≤":  # one is a multiple of the other
        scale = samples(a.parts[0])[0] / samples(b.parts[0])[0]
        return (a.kind in "=≠" or scale > 0) and same(a.parts[0], scale * b.parts[0])
    if a.kind in ("{}", "∪"):  # each part is as often in one as in the other
        counts = [[sum(same(p, q) for q in node.parts) for p in a.parts + b.parts] for node in (a, b)]
        return counts[0] == counts[1]
    return len(a.parts) == len(b.parts) and all(map(same, a.parts, b.parts))


@lru_cache(maxsize=4096)
def samples(value: sympy.Expr) -> list[sympy.Expr]:
    """The value to 30 digits at three points that depend on nothing but the symbols' names."""
    found = []
    for point in range(3):
        draws = {symbol: zlib.crc32(f"{symbol}{point}".encode()) % 99991 for symbol in value.free_symbols}
        signs = {symbol: (1, -1, (-1) ** ord(str(symbol)[0]))[point] for symbol in draws}  # the last for |xy| and xy
        chosen = {symbol: sympy.Rational(signs[symbol] * (1 + draw), 40009) for symbol, draw in draws.items()}
        found.append(value.evalf(30, subs=chosen))
        if not (found[-1] == 0 or abs(found[-1]).is_Float):
            raise ValueError("no value at a sample point")
    return found


# ---------------------------------------------------------------- one spelling of what looks alike

NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln exp floor ceil abs".split()
SPELLINGS = r"""* \cdot \times × · ⋅; / \div ÷; ^ **; < \lt; > \gt; ≤ \le \leq \leqslant <=; ≥ \ge \geq \geqslant >=
    ≠ \ne \neq !=; ≈ \approx; ∈ \in; ∪ \cup; ± \pm; ∓ \mp; ∞ \infty infinity inf; π \pi pi; - − – —; , & and or
    : \colon \mid |; [ \lbrack; ] \rbrack; \{ \lbrace; \} \rbrace; % \% percent pct; ∅ \emptyset \varnothing
    \frac \dfrac \tfrac \cfrac; \binom \dbinom \tbinom"""
SIGNS = {spelling: line.split()[0] for line in re.split("[;\n]", SPELLINGS) for spelling in line.split()[1:]}
SIGNS |= {name: "\\" + name for name in NAMES} | {"\\\\": ";"}  # the rows of a matrix
TEXT = re.compile(r"\\(?:text\w*|[mh]box|math(?:rm|bf|it|sf)|operatorname)\s*\{([^{}]*)\}")
WORD = re.compile(r'(?<![\\"A-Za-z])([A-Za-z]{3,}|[Nn]o|or|of|to|ln|pi|(?<=[\d)}°] )[A-Za-z]{2})(?![A-Za-z])')
QUOTED = r'"\g<0>'
RUNS = "abcdefghijklmn opqrstuvwxyz"  # abc and xy are products, no is a word
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}((,\d{3})+|( \d{3})+(?!/))(?!,?\d)")
REPEATING = re.compile(r"(\d*\.(\d*))\\(?:overline|bar)\s*\{?(\d+)\}?")
MARKUP = [
    (r",\s*\\!\s*(?=\d{3})|\{\s*,\s*\}\s*(?=\d{3})", ""),  # 1,\!000 and 1{,}000
    (r"(?<!\\)\\[()\[\]]|\\?\$|\\!|[\"`€£¥₹¢\u200b\ufeff]", ""),  # math delimiters, currency, no space
    (r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
    (r"\\(?:boxed|fbox|left|right|displaystyle|angle|triangle|vec|hat|overline(?!\{?\d))(?![a-zA-Z])", " "),
    (r"(\\[dtc]?(?:frac|binom))\s*(\d)", r"\1{\2}"),  # \frac12 is \frac{1}{2} ...
    (r"(\\[dtc]?(?:frac|binom)\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),  # ... and \frac123 is \frac{1}{2}3
    (r"\\\{\s*[a-z]\s*(?:\\mid|[:|])(.*)\\\}", r"\1"),  # {x : x > 1}
    (r"\\\{\s*\\\}", "∅"),
    (r"\\math(?:rm|bf|it|sf)\s*\{\s*([A-Za-z])\s*\}", r"{\1}"),
    (r"\\?sqrt\s*\[([^\]]*)\]", r"\\root{\1}"),
    (r"√|\\?sqrt(?![a-z])", r"\\root{2}"),
    (r"\\log\s*_\s*\{?(\w+)\}?", r"\\frac{1}{\\log(\1)}\\log "),
    (r"\\[lr]?vert(?![a-z])", "|"),
    (r"\|([^|]*)\|", r"\\abs(\1)"),
    (r"\\l(floor|ceil)", r"\\\1("),
    (r"\\r(floor|ceil)", ")"),
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
NUMERALS = [
    (r",\s*(?:,\s*)+", ", "),  # "1, 2, and 3"
    (r"(?<=\d)[eE](?=[-+]?\d)([-+]?\d+)", r"*10^{\1}"),
    (r"(?<![\w.^])(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+/\d+)", r"(\1+\2)"),  # mixed numbers
    (r'(?<=[\dπ)}%°])(?:\s*/?\s*"\w+(?:\s*\^\s*\{?-?\d+\}?)?|/[a-z]\b|\s*\([^()\d+*^=\\]*"[^()]*\))+', ""),  # units
    (r'(^|")(an?|the) +(?=")', ""),
    (r"(?<=[^\w,])\s+|\s+(?=\W)", ""),
]


def clean(text: str) -> str:
    """The text without markup and units, in ASCII digits, 1,000 as 1000, a quote before each word."""

    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text)
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    text = TEXT.sub(lambda m: f" {re.sub('[A-Za-z]+', QUOTED, m[1])} ", text)
    text = WORD.sub(lambda m: m[0] if m[0].lower() in RUNS else '"' + m[0], text)
    text = re.sub(r'"(\w+)', lambda m: SIGNS.get(m[1], m[0]), text)
    outside, *inside = re.split(r"(?=[(\[]|\\\{)", text, maxsplit=1)  # (1,200) is a pair, 1,200 is not
    text = THOUSANDS.sub(lambda m: re.sub("[, ]", "", m[0]), outside) + "".join(inside)
    text = REPEATING.sub(lambda m: f"({m[1]}+{m[3]}/{'9' * len(m[3])}{'0' * len(m[2])})", text)
    text = text.replace("°", r"\frac{π}{180}" if re.search(r"\\(sin|cos|tan|sec|csc|cot)", text) else "")
    for pattern, replacement in NUMERALS:
        text = re.sub(pattern, replacement, text)
    return text.strip()


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
    size = bits * max(map(abs, samples(exponent)))
    if size > MAX_BITS or bits > MAX_ROOT_BITS and not exponent.is_Integer:
        raise ValueError("a power with too many digits")
    if base.is_negative and exponent.is_Rational and exponent.q % 2:  # the real root
        return checked((-1) ** exponent.p * (-base) ** exponent)
    return checked(base**exponent)


def bounded(function: Any, *arguments: sympy.Expr) -> sympy.Expr:
    """function(*arguments), if these are small enough; their own parts have been bounded before."""
    if any(abs(value) > MAX_SIZE for argument in arguments for value in samples(argument)):
        raise ValueError("an argument too large")
    return checked(function(*arguments))


# ---------------------------------------------------------------- the parser

TOKEN = re.compile(r'"\w+(?: *"\w+)*|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[<>!]=|\*\*|\S')
SYMBOL = re.compile(r"[A-Za-z]|\\(?!end)[A-Za-z]{2,}")
PERCENT, PLUS_MINUS = sympy.Symbol("%"), sympy.Symbol("±")
CONSTANTS = {"π": sympy.pi, "∞": sympy.oo, "e": sympy.E, "i": sympy.I, "%": PERCENT, "∅": Node("{}", ())}
SYMPY_NAMES = {"abs": "Abs", "ceil": "ceiling", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
FUNCTIONS = {"\\" + name: getattr(sympy, SYMPY_NAMES.get(name, name)) for name in NAMES}
CLOSING = {"(": ")]", "[": ")]", "{": "}", "\\{": ["\\}"], "\\matrix": ["\\end"], "\\matrixv": ["\\end"]}
SUMS = {"+": 1, "-": -1, "±": PLUS_MINUS, "∓": -PLUS_MINUS}
BINARY = [";", ",", "=≈∈≠<>≤≥", "∪:", "+-±∓", "*/", "", "^"]  # from weak to strong; "" a product without a sign
LEVELS = {sign: level for level, signs in enumerate(BINARY) for sign in signs}
RELATION, SUM, PRODUCT, FACTOR, ATOM = 2, 4, 6, 7, 8


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The value of an answer, or its cleaned text. The groups of "p=5,q=2; p=7,q=2" are tuples."""
    text = clean(text)
    tokens = ["end", *(SIGNS.get(token, token) for token in reversed(TOKEN.findall(text)))]
    try:
        value = expression(tokens, 0, 0)
        if tokens != ["end"]:
            raise ValueError(f"cannot read on from {tokens[-1]!r}")
        if is_kind(value, ";"):
            return Node("{}", tuple(settled(part, "()") for part in value.parts))
        return settled(value, "{}")
    except REFUSALS:
        return text


def expression(tokens: list[str], level: int, depth: int) -> Any:
    """The value of what binds at least as strongly as the level, taken from the end of the reversed tokens."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    value = atom(tokens, level, depth + 1)
    while level < ATOM:
        sign = tokens[-1]
        if LEVELS.get(sign, -1) >= level:
            tokens.pop()
            value = combined(value, sign, expression(tokens, FACTOR if sign in "*/^" else LEVELS[sign] + 1, depth + 1))
        elif sign == "!":
            tokens.pop()
            value = bounded(sympy.factorial, value)
        elif level <= PRODUCT and (sign in "({" or sign in CONSTANTS or SYMBOL.fullmatch(sign)):  # never a number
            if level == PRODUCT and sign in FUNCTIONS:
                break  # in sin b cos a the cosine stands outside
            value = checked(value * expression(tokens, FACTOR, depth + 1))
        else:
            break
    return value


def atom(tokens: list[str], level: int, depth: int) -> Any:
    token = tokens.pop()
    if token in SUMS:
        return checked(SUMS[token] * expression(tokens, max(level, SUM + 1), depth))
    if re.match(r"\.?\d", token):
        return checked(sympy.Rational(Fraction(token)))
    if token in CONSTANTS:
        return CONSTANTS[token]
    if token in FUNCTIONS:  # sin^2 x, sin 2x, sin(x)y
        has_exponent = tokens[-1] == "^" and tokens.pop()
        exponent = expression(tokens, ATOM, depth) if has_exponent else sympy.Integer(1)
        argument = expression(tokens, ATOM if tokens[-1] in "({" else PRODUCT, depth)
        return power(bounded(FUNCTIONS[token], argument), exponent)
    if token in ("\\frac", "\\root", "\\binom"):
        return combined(expression(tokens, ATOM, depth), token, expression(tokens, ATOM, depth))
    if token in CLOSING:
        return group(tokens, token, depth)
    if token[0] == '"':
        return sympy.Symbol(token.replace('"', "").casefold())
    if not SYMBOL.fullmatch(token):
        raise ValueError(f"cannot read {token!r}")
    return sympy.Symbol(token + tokens.pop() + tokens.pop() if tokens[-1] == "_" else token)


def group(tokens: list[str], opening: str, depth: int) -> Any:
    """What brackets hold: a value, a tuple, an interval, a set, a matrix."""
    value = expression(tokens, 0, depth)
    closing = tokens.pop()
    if closing not in CLOSING[opening]:
        raise ValueError(f"expected a closing bracket, found {closing!r}")
    if opening.startswith("\\matrix"):
        return Node(opening, (value,))
    if opening != "\\{" and not is_kind(value, ",") and not is_kind(value, "relation"):
        return value
    return settled(value, "{}" if "{" in opening else opening + closing)


def is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, Node) and value.kind == kind


def combined(left: Any, sign: str, right: Any) -> Any:
    """The value of "left sign right"."""
    if sign == "*" or sign in SUMS:
        return checked(left * right if sign == "*" else left + SUMS[sign] * right)
    if sign in ("/", "\\frac"):
        return checked(left * power(right, sympy.Integer(-1)))
    if sign in ("^", "\\root"):
        return power(left, right) if sign == "^" else power(right, power(left, sympy.Integer(-1)))
    if sign == "\\binom":
        return bounded(sympy.binomial, left, right)
    kind = "relation" if LEVELS[sign] == RELATION else sign
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
    return values[0] if len(values) == 1 else Node(kind, tuple(values))


def related(sides: tuple[Any, ...], relations: tuple[str, ...]) -> Any:
    """An equation or an inequality; of a chain x = 2 + 3 = 5 the two ends count."""
    if relations[0] in ">≥":
        sides, relations = sides[::-1], tuple("<≤"[relation == "≥"] for relation in relations[::-1])
    if set(relations) & set("<≤≠"):
        difference = Node(relations[0], (checked(sides[0] - sides[-1]),))
        if relations[0] != "≠" and len(sides) == 2:
            sides, relations = (*sides, sympy.oo), (*relations, "<")
            if sides[0].is_Symbol:
                sides, relations = (-sympy.oo, *sides[:2]), relations[::-1]
        if relations[0] != "≠" and sides[1].is_Symbol:  # x >= 5 and -2 < x <= 7 are intervals that bear a name
            brackets = "(["[relations[0] == "≤"] + ")]"[relations[1] == "≤"]
            return Node("name", (Node(brackets, (sides[0], sides[2])), str(sides[1])))
        return difference
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
    factors = [f.base if f.is_Pow and f.exp == -1 else f for f in sympy.Mul.make_args(left)]
    return all(factor.is_Symbol for factor in factors)


def main(arguments: list[str]) -> int:
    """Exit code of `python checker.py GOLD ANSWER`; ANSWER may be a whole solution that states its answer."""
    if len(arguments) != 2:
        print("usage: python checker.py GOLD ANSWER (0: equal, 1: different)", file=sys.stderr)
        return 2
    gold, answer = arguments[0], extract_answer(arguments[1]) or arguments[1]
    for name, text in (("gold  ", gold), ("answer", answer)):
        print(f"{name} {text[:80]!r} is read as {str(read(text[:MAX_LENGTH]))[:200]}")
    print("equal" if is_equal(gold, answer) else "different")
    return 0 if is_equal(gold, answer) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
