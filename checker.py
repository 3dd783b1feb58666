"""The answer checker, which is the reward: the final answer of a text, and whether two answers are equal.

A parser of our own reads LaTeX, unicode and plain text into sympy numbers and Nodes, which are compared by kind.

Tolerance: none. A decimal is the exact rational that it spells: 0.33 is not 1/3. Irrational numbers and expressions
    with symbols are equal if they agree to 25 digits at three points.
Percent: 25% equals 25 (the sign is a unit) and 1/4 (its value); the bare numbers 25 and 1/4 differ.
Names: x = 5 equals 5, but not y = 5. Only this and the percent rule keep equality from being transitive.
Units, currency and words after a number count for nothing. Lists are unordered and equal sets; tuples are ordered.

Nothing of a text is executed and nothing runs against a clock: what could explode is refused before it is built
(HABITS.md, traps 10 and 11). An answer that is refused or cannot be read equals only its own spelling.
"""

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

MAX_LENGTH = 600  # characters of an answer that is parsed
MAX_DEPTH = 60  # nested expressions; a pair of brackets makes one or two
MAX_BITS = 24_000  # of a numerator or denominator: 2000! fits, 9^9^9 does not
MAX_ROOT_BITS = 256  # of a number under a root, which sympy tries to factor, or beside one
MAX_PARTS = 50  # of a set or list; longer ones must agree in order
MAX_SIZE = 2_000  # absolute value of what a function or a factorial is taken of
REFUSALS = (ArithmeticError, ValueError, TypeError, AttributeError, LookupError, RuntimeError)

# ---------------------------------------------------------------- extraction

END = re.compile(r"(?<=\S)\s*(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)")
BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\]+))")
HASHES = re.compile(r"####[ \t]*([^\s#][^\n#]*)")
SAID = re.compile(r"(?im)(?:answer[*_ ]*(?:is\b|[:=])|final answer[*_: ]*$|^[*_ ]*(?-i:A:))[\s*_:]*(?=(\S.{0,300}))")
BOLD = re.compile(r"(?<!\w)\*\*([-$\\(\d](?:[^*\n.:]|\.\d){0,200})\.?\*\*(?!\w)")
LAST_NUMBER = re.compile(r"([-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?%?|[-−]?\.\d+)")
REASON = re.compile(r"\.(?=\s|$)|,?\s\(?(?:because|since|as|so|which|where)\b|,(?=\s(?!and\b|or\b)[a-z]{3})", re.I)


def extract_answer(text: str, strict: bool = True) -> str | None:
    r"""The final answer that a text states, or None.

    In this order: the last \boxed{} or \fbox{}; the last "#### 42"; the last "the answer is 42", "Answer: 42"
    or line "A: 42"; the last bold **42**; with strict=False the last number, which pays for coincidences.
    What follows an end-of-turn mark does not count, nor what stands before </think>.
    """
    text = END.split(text, maxsplit=1)[0].rpartition("</think>")[2]
    if box := BOX.match(text, max(text.rfind("\\boxed"), text.rfind("\\fbox"), 0)):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", "" if box[1] else text[box.end() :], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return text[box.end() : box.end() + brace.start()].strip() or None
        return (box[1] and box[1].rstrip(".,")) or None  # a box that is never closed is a truncated answer
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
        return read(gold) != "" and (read(gold) == read(answer) or same(read(gold), read(answer)))
    except REFUSALS:
        return False


def same(a: Any, b: Any) -> bool:
    match a, b:
        case Node("name", (value, name)), Node("name", (other, other_name)):
            return name == other_name and same(value, other)
        case (Node("name", (value, _)), other) | (other, Node("name", (value, _))):
            return same(value, other)
        case Node("=" | "≠" | "<" | "≤", (left,)), Node(kind, (right,)):  # one is a multiple of the other
            scale = samples(left)[0] / samples(right)[0]
            return a.kind == kind and (kind in "=≠" or scale > 0) and same(left, scale * right)
        case Node("{}" | "∪", left), Node(kind, right) if len(left) == len(right) <= MAX_PARTS:
            counts = ((sum(same(p, q) for q in left), sum(same(p, q) for q in right)) for p in left + right)
            return a.kind == kind and all(here == there for here, there in counts)
        case Node(_, left), Node(kind, right):
            return a.kind == kind and len(left) == len(right) and all(map(same, left, right))
        case (sympy.Symbol(), sympy.Symbol()) | (str(), str()):  # the choices C and c
            return str(a).casefold() == str(b).casefold()
        case sympy.Expr(), sympy.Expr():
            if (a.is_Rational and b.is_Rational) or {a, b} & {sympy.oo, -sympy.oo}:
                return a == b
            if (PERCENT in a.free_symbols) != (PERCENT in b.free_symbols):
                return any(same(a.subs(PERCENT, unit), b.subs(PERCENT, unit)) for unit in (1, sympy.Rational(1, 100)))
            return all(abs(u - v) <= 1e-25 * max(abs(u), abs(v)) for u, v in zip(samples(a), samples(b), strict=True))
    return False


@lru_cache(maxsize=4096)
def samples(value: sympy.Expr) -> list[sympy.Expr]:
    """The value to 30 digits at three points that depend on the symbols' names; their signs tell |xy| from xy."""
    found = []
    for point in range(3):
        draws = {s: int.from_bytes(f"{s}{point}".encode(), "big") ** 3 % 99991 + 1 for s in value.free_symbols}
        chosen = {s: sympy.Float((1, -1, (-1) ** ord(str(s)[0]))[point] * d, 60) / 40009 for s, d in draws.items()}
        found.append(value.evalf(30, subs=chosen))
        if not (found[-1] == 0 or abs(found[-1]).is_Float):
            raise ValueError("no value at a sample point")
    return found


# ---------------------------------------------------------------- one spelling of what looks alike

NAMES = "sin cos tan cot sec csc sinh cosh tanh asin acos atan log ln exp floor ceiling Abs"
SPELLINGS = r"""* \cdot \times × · ⋅; / \div ÷ ⁄; ^ **; < \lt; > \gt; ≤ \le \leq \leqslant <=; ≥ \ge \geq \geqslant >=
    ≠ \ne \neq !=; ≈ \approx; ∈ \in; ∪ \cup; ± \pm; ∓ \mp; ∞ \infty infinity inf; π \pi pi; - − – —; , & and or
    : \colon \mid |; \{ \lbrace; \} \rbrace; % \% percent pct; ∅ \emptyset \varnothing; \Abs abs
    \frac \dfrac \tfrac \cfrac; \binom \dbinom \tbinom; \ceiling \ceil; \asin \arcsin; \acos \arccos; \atan \arctan"""
SIGNS = {spelling: line.split()[0] for line in re.split("[;\n]", SPELLINGS) for spelling in line.split()[1:]}
SIGNS |= {name: "\\" + name for name in NAMES.split()} | {"\\\\": ";"}  # the rows of a matrix
TEXT = r"\\(?:text\w*|[mh]box|math(?:rm|bf|it|sf)|operatorname)\s*\{([^{}]*)\}"
WORD = r'(?<![\\"A-Za-z])([A-Za-z]{3,}|[Nn]o|or|of|to|ln|pi|(?<=[\d)}°] )[A-Za-z]{2})(?![A-Za-z])'
THOUSANDS = r"(?<![\d.,])\d{1,3}((,\d{3})+|( \d{3})+(?![/⁄]))(?!,?\d)"
CLEANING: list[tuple[str, Any]] = [
    ("([¼-¾⅐-⅞])|([⁰¹²³⁴-⁹]+)", lambda m: f" {m[1]}" if m[1] else f"^{{{m[2]}}}"),  # 3½ is not 31/2, x² not x2
    ("(?s).+", lambda m: unicodedata.normalize("NFKC", m[0])),
    (r",\s*\\!\s*(?=\d{3})|\{\s*,\s*\}\s*(?=\d{3})", ""),  # 1,\!000 and 1{,}000
    (r"(?<!\\)\\[()\[\]]|\\?\$|\\!|[\"`€£¥₹¢\u200b\ufeff]", ""),  # math delimiters, currency, no space
    (r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
    (r"\\(?:boxed|fbox|left|right|displaystyle|angle|triangle|vec|hat|overline(?!\{?\d))(?![a-zA-Z])", " "),
    (r"(\\[dtc]?(?:frac|binom))\s*(\d)", r"\1{\2}"),  # \frac12 is \frac{1}{2} ...
    (r"(\\[dtc]?(?:frac|binom)\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),  # ... and \frac123 is \frac{1}{2}3
    (r"(?:√|\\?sqrt(?![a-z]))(?:\s*\[([^\]]*)\])?", lambda m: f"\\root{{{m[1] or 2}}}"),
    (r"\\log\s*_\s*\{?(\w+)\}?", r"\\frac{1}{\\log(\1)}\\log "),
    (r"(?:\||\\[lr]?vert(?![a-z]))(.*?)(?:\||\\[lr]?vert(?![a-z]))", r"\\Abs(\1)"),
    (r"\\([lr])(floor|ceil)", lambda m: f"\\{m[2]}(" if m[1] == "l" else ")"),
    (r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°)(?:\s*[CF](?![a-zA-Z]))?", "°"),
    (r"(\\(?:sin|cos|tan|cot|sec|csc)[^°]*)°", r"\1\\frac{π}{180}"),  # an angle, elsewhere a unit
    (r"_\s*\{\s*(\w+)\s*\}", r"_\1 "),
    (r"\\mathbb\s*\{?\s*R\s*\}?", "(-∞,∞)"),
    (r"\\begin\s*\{([vV]?)(?:[pbB]?matrix|array)\}(?:\s*\{[clr| ]*\})?", r"\\matrix\1 "),
    (r"(?:\\\\)?\s*\\end\s*\{\w+\}", r"\\end "),
    (r"^[\s*\\]+(?![a-zA-Z{])|[\s*\\.,:;]+$", ""),  # markdown bold, line breaks, a full stop
    (r"(?i)^(the )?(final )?answer( is)?\b|^(about\b|approximately\b|\\approx|≈)", ""),
    (r"(=.*?)(?:≈|\\approx).*", r"\1"),  # x = 1/3 ≈ 0.33
    (r"(\d*\.(\d*))\\(?:overline|bar)\s*\{?(\d+)\}?", lambda m: f"({m[1]}0+{m[3]}/{'9' * len(m[3])}{'0' * len(m[2])})"),
    (r"\\math(?:rm|bf|it|sf)\s*\{\s*([A-Za-z])\s*\}", r"{\1}"),
    (TEXT, lambda m: " " + re.sub("[A-Za-z]+", r'"\g<0>', m[1]) + " "),
    (r"(?<=\d)(mm|cm|km|kg|ml|mL|oz|lb|ft)(?![A-Za-z])", r' "\1'),  # 5cm, though ab is a product
    (WORD, lambda m: m[0] if m[0].lower() in "abcdefghijklmn opqrstuvwxyz" else '"' + m[0]),  # abc is a product
    (r'"(\w+)', lambda m: SIGNS.get(m[1], m[0])),
    (r",\s*(?:,\s*)+", ", "),  # "1, 2, and 3"
    (r"^(?:[^(\[\\]|\\[^{])*", lambda m: re.sub(THOUSANDS, lambda n: re.sub("[, ]", "", n[0]), m[0])),  # not in (1,200)
    (r"(?<=\d)[eE](?=[-+]?\d)([-+]?\d+)", r"*10^{\1}"),
    (r"(?<![\w.^])(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+[/⁄]\d+)", r"(\1+\2)"),  # mixed numbers
    (r'(?<=[\dπ)}%°])(?:\s*/?\s*"\w+(?:/[a-z]\b|\s*\^\s*\{?-?\d+\}?)?|\s*\([^()\d+*^=\\]*"[^()]*\))+', ""),  # units
    (r"(?<=[^\w,])\s+|\s+(?=\W)|^\s+|\s+$|°", ""),
]


# ---------------------------------------------------------------- the parser


def checked(value: Any) -> sympy.Expr:
    """A result of arithmetic, if it is a number and not too long."""
    numbers = [number for number in (value, *value.args) if isinstance(number, sympy.Rational)]
    is_long = any(max(abs(n.p), n.q).bit_length() > (MAX_BITS if n is value else MAX_ROOT_BITS) for n in numbers)
    if is_long or not isinstance(value, sympy.Expr) or value in (sympy.nan, sympy.zoo):
        raise ValueError("no number, or one with too many digits")
    return value


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """base ** exponent, if the lengths of both promise a result that is not too long."""
    bits = max(abs(base.p), base.q).bit_length() - 1 if isinstance(base, sympy.Rational) else 1
    if bits * max(map(abs, samples(exponent))) > MAX_BITS or (bits > MAX_ROOT_BITS and not exponent.is_Integer):
        raise ValueError("a power with too many digits")
    if MARKS & exponent.free_symbols or (MARKS & base.free_symbols and abs(exponent) > 1):
        raise ValueError("a power that could grow when percent and plus-minus get their values")
    if isinstance(base, sympy.Rational) and base.p < 0 and exponent.is_Rational and exponent.q % 2:  # the real root
        return checked((-1) ** exponent.p * (-base) ** exponent)
    return checked(sympy.Pow(base, exponent, evaluate=exponent.is_Integer or base.is_Atom))  # else it may expand


def bounded(function: Any, *arguments: sympy.Expr) -> sympy.Expr:
    """function(*arguments), if these are small enough; their own parts have been bounded before."""
    limit = MAX_SIZE // 400 if function is sympy.binomial and not arguments[0].is_Integer else MAX_SIZE
    is_marked = any(MARKS & argument.free_symbols for argument in arguments)
    if is_marked or any(abs(v) > limit or not v.is_real for a in arguments for v in samples(a)):  # slow if complex
        raise ValueError("too large an argument, or none for a function")
    return checked(function(*arguments, evaluate=all(a.is_Rational for a in arguments)))


TOKEN = re.compile(r'"\w+(?: *"\w+)*|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[<>!]=|\*\*|\S')
SYMBOL = re.compile(r"[A-Za-z]|\\(?!end)[A-Za-z]{2,}")
PERCENT, PLUS_MINUS, MINUS_ONE = sympy.Symbol("%"), sympy.Symbol("±"), sympy.Integer(-1)
MARKS = {PERCENT, PLUS_MINUS}
CONSTANTS = {"π": sympy.pi, "∞": sympy.oo, "e": sympy.E, "i": sympy.I, "%": PERCENT, "∅": Node("{}", ())}
FUNCTIONS = {"\\" + name: getattr(sympy, name) for name in NAMES.split()}
CLOSING = {"(": ")]", "[": ")]", "{": "}", "\\{": ["\\}"], "\\matrix": ["\\end"], "\\matrixv": ["\\end"]}
SUMS = {"+": 1, "-": -1, "±": PLUS_MINUS, "∓": -PLUS_MINUS}
OPERATIONS: dict[str, Any] = {
    "*": lambda a, b: checked(a * b),
    "/": lambda a, b: checked(a * power(b, MINUS_ONE)),
    "^": power,
    "\\frac": lambda a, b: checked(a * power(b, MINUS_ONE)),
    "\\root": lambda a, b: power(b, power(a, MINUS_ONE)),
    "\\binom": lambda a, b: bounded(sympy.binomial, a, b),
} | {sign: lambda a, b, factor=factor: checked(a + factor * b) for sign, factor in SUMS.items()}
BINARY = [";", ",", "=≈∈≠<>≤≥", "∪:", "+-±∓", "*/", "", "^"]  # from weak to strong; "" a product without a sign
LEVELS = {sign: level for level, signs in enumerate(BINARY) for sign in signs}
RELATION, SUM, PRODUCT, FACTOR, ATOM = 2, 4, 6, 7, 8


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The value of an answer, or its cleaned text if it is refused. The groups of "p=5,q=2; p=7,q=2" are tuples."""
    for pattern, replacement in CLEANING:
        text = re.sub(pattern, replacement, text)
    tokens = ["end", *(SIGNS.get(token, token) for token in reversed(TOKEN.findall(text)))]
    try:
        value = settled(expression(tokens, 0, 0), "{}")
        return value if tokens == ["end"] else text
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
        elif level + (sign in FUNCTIONS) <= PRODUCT and (sign in "({" or sign in CONSTANTS or SYMBOL.fullmatch(sign)):
            value = checked(value * expression(tokens, FACTOR, depth + 1))  # not 1 2, nor cos a in sin b cos a
        else:
            break
    return value


def atom(tokens: list[str], level: int, depth: int) -> Any:
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
        value, closing = expression(tokens, 0, depth), tokens.pop()
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
    """The value with its relations and plus-minus signs worked out; a Node of the kind if there are several."""
    if value.kind == ";":
        return Node("{}", tuple(settled(part, "()") for part in value.parts))
    values = []
    for part in value.parts if value.kind == "," else (value,):
        part = related(part.parts) if part.kind == "relation" else part
        inner, *name = part.parts if part.kind == "name" else (part,)
        has_two = PLUS_MINUS in getattr(inner, "free_symbols", ())
        readings = [checked(inner.subs(PLUS_MINUS, sign)) for sign in (1, -1)] if has_two else [inner]
        values += [Node("name", (reading, *name)) if name else reading for reading in readings]
    return values[0] if len(values) == 1 else Node(kind, tuple(values))


def related(parts: tuple[Any, ...]) -> Any:
    """An equation or an inequality; of a chain x = 2 + 3 = 5 the two ends count."""
    if parts[1] in ">≥" or (parts[1] in "=≈" and is_name(parts[-1]) and not is_name(parts[0])):
        parts = tuple({">": "<", "≥": "≤"}.get(part, part) for part in parts[::-1])
    first, sign, last = parts[0], parts[1], parts[-1]
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
    """Whether a left side only names its value: x, a_3, AB, f(x), A:B, NO/BO, (p,q), area; but not x^2 or a+b."""
    if isinstance(left, Node):
        return left.kind in ("()", ":") and all(map(is_name, left.parts))
    factors = [f.base if f.is_Pow and f.exp == -1 else f for f in sympy.Mul.make_args(left)]
    return all(factor.is_Symbol for factor in factors)


def main(arguments: list[str]) -> int:
    """python checker.py GOLD ANSWER; ANSWER may be a whole solution that states its answer."""
    if len(arguments) != 2:
        print("usage: python checker.py GOLD ANSWER (exit code 0: equal, 1: different)", file=sys.stderr)
        return 2
    gold, answer = arguments[0], extract_answer(arguments[1]) or arguments[1]
    print(*(f"{text[:80]!r} is read as {str(read(text[:MAX_LENGTH]))[:200]}" for text in (gold, answer)), sep="\n")
    print("equal" if is_equal(gold, answer) else "different")
    return 0 if is_equal(gold, answer) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
