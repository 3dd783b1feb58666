"""The reader behind the checker: what it understands, what it refuses, and how much work it does.

The pairs of answer_pairs.txt are our own. The random ones are made of the golds of public problem
sets where these lie beside the checkout, and of a few of our own elsewhere.
"""

import ast
import cmath
import contextlib
import json
import operator
import random
import re
import time
from pathlib import Path

import pytest
from conftest import SHARED

import checker
from checker import is_equal
from support.answers import grammar, numbers
from support.answers.comparison import Comparison
from support.answers.numbers import MAX_WORK, Work, equal_numbers
from support.answers.tokens import Unread, spelling, tokenize

PAIRS = Path(__file__).with_name("answer_pairs.txt").read_text(encoding="utf-8").splitlines()


def pairs(sign: str) -> list[tuple[str, str]]:
    lines = [line for line in PAIRS if sign in line and not line.startswith("#")]
    return [tuple(side.strip() for side in line.split(sign)) for line in lines]


@pytest.mark.parametrize(("left", "right"), pairs("  <->  "))
def test_equal_answers_are_equal_in_either_order(left, right):
    assert is_equal(left, right) and is_equal(right, left)


@pytest.mark.parametrize(("left", "right"), pairs("  </>  "))
def test_different_answers_are_different_in_either_order(left, right):
    assert not is_equal(left, right) and not is_equal(right, left)


def test_a_line_break_makes_two_values():
    assert not is_equal("34", "3\n4") and is_equal("3, 4", "3\n4")
    assert not is_equal("5", "5\n\n6") and is_equal("5", "5\n")


# ---------------------------------------------------------------- nothing is skipped


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("3\\tfrac12", ["3", "\\frac", "1", "2"]),
        ("2cosx", ["2", "\\cos", "x"]),
        ("2mgh", ["2", "m", "g", "h"]),
        ("18 eggs", ["18", "eggs"]),
        ("1{,}234 cm", ["1234", "cm"]),
        ("\\left(1,200\\right)", ["(", "1", ",", "200", ")"]),
        ("x\\,y", ["x", "y"]),
        ("x⁻¹", ["x", "^", "{", "-", "1", "}"]),
    ],
)
def test_tokens(text, tokens):
    assert [token.text for token in tokenize(text)] == tokens


@pytest.mark.parametrize(
    "text",
    ["5 \\foo", "5 # 6", "5 of 6", "3 groups of 4", "5 over x", "2 < 3", "x = 5 > 3", "1 2",
     "5 \\Rightarrow 6", "7 \\pmod 5", "\\sum_{k} k", "x \\to 3", "5!!", "--5", "+-5",
     "1 \\pm 2 \\pm 3", "4 10/3", "0160", "\\frac{}{}", "\\frac123", "(1", "1)", "f(2)",
     "\\sin x/2", "5 (mod 7)", "5 (or 6)", "25% + 1", "1/0",
     "\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}"],
)  # fmt: skip
def test_what_is_not_understood_is_not_read_and_equals_its_own_spelling_only(text):
    with pytest.raises(Unread):
        grammar.read(text)
    assert is_equal(text, text) and is_equal(text, f"$ {text} $")
    for number in re.findall("[0-9]+", text):
        assert number == text or not is_equal(number, text)


def test_the_command_says_why_an_answer_was_not_read(capsys):
    assert checker.main(["5", "5 of 6"]) == 1
    assert "is read as text (" in capsys.readouterr().out


# ---------------------------------------------------------------- random golds

OWN_GOLDS = [
    "42", "1,250", "-3.75", "\\frac{3}{7}", "2\\sqrt{5}", "(2, -3)", "\\{1, 2, 4\\}",
    "x^2 - 4x + 4", "\\frac{\\pi}{6}", "30^\\circ", "\\$12.50", "5 \\text{ cm}", "y = 2x + 1",
    "[0, 3)", "25\\%",
    "\\begin{pmatrix} 1 \\\\ -2 \\end{pmatrix}", "1 + 2i", "11_2", "\\text{(B)}", "3:4",
]  # fmt: skip


def golds() -> list[str]:
    """Of MATH-500, AIME, HMMT and GSM8K, or our own."""
    found = list(OWN_GOLDS)
    if SHARED.is_dir():
        for name in ("math500", "aime24", "aime25", "hmmt25_feb"):
            lines = (SHARED / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            found.extend(str(json.loads(line)["answer"]) for line in lines)
        lines = (SHARED / "data" / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines[:400]:
            found.append(str(checker.extract_answer(json.loads(line)["answer"])))
    return sorted(set(found))


def changed(gold: str, draw: random.Random) -> str:
    """The gold with one character put in, left out or replaced."""
    place = draw.randrange(len(gold))
    character = draw.choice("0123456789.,-+/()^%$ xyi\\{}")
    return draw.choice(
        [
            gold[:place] + character + gold[place:],
            gold[:place] + gold[place + 1 :],
            gold[:place] + character + gold[place + 1 :],
        ]
    )


HARMLESS = re.compile(r"[\s$]|\\[,!\[\]()]|(?<![0-9])0+(?=[0-9])|[.,]$|^[=+]|\.0+$|\\displaystyle")
UNIT = re.compile(r"\\text\{[^}]*\}|\\%|%|\^?\\circ|°|\\\$")


def bare(text: str) -> str:
    without_commas = re.sub(r"(?<=\d),(?:\\!)?\s?(?=\d{3}(?!\d))", "", text.strip().rstrip(".,"))
    return HARMLESS.sub("", without_commas)


def content(text: str) -> list[str]:
    """Letters and numbers, but a factor of 1, a term of 0 or 0x and a name: y = 1x + 0 and x."""
    plain = re.sub(r"^1?[xy]\\? ?=|\\text", "", UNIT.sub("", bare(text)))
    plain = re.sub(r"(?<![\d.])0[xyi]", "", plain)
    return sorted(
        set(re.findall(r"[a-zA-Z]+|\d+", re.sub(r"(\d)([a-z])", r"\1 \2", plain))) - {*"01"}
    )


OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip


def value_of(text: str) -> complex | None:
    """A second reading, by other means: LaTeX made a Python expression of numbers."""
    if "\\text{(" in text:
        return None
    text = bare(UNIT.sub("", text))
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = re.sub(r"\\d?frac(\d)(\d)", r"(\1/\2)", text)
    text = re.sub(r"\\?sqrt\{([^{}]*)\}|\\?sqrt(\d)", r"((\1\2)**0.5)", text)
    text = re.sub(r"^x=", "", text)
    text = text.replace("\\pi", "(3.141592653589793)").replace("^", "**")
    text = re.sub(r"(?<=[\d)])(?=[(xyit])", "*", text)
    text = text.replace("i", "(1j)").replace("x", "(0.7)").replace("y", "(1.3)")
    text = text.replace("{", "(").replace("}", ")")
    try:
        return calculated(ast.parse(text.lstrip("0") or "0", mode="eval").body)
    except (SyntaxError, TypeError, KeyError, ArithmeticError, ValueError):
        return None


def calculated(node: ast.expr) -> complex:
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](calculated(node.left), calculated(node.right))
    if isinstance(node, ast.UnaryOp):
        return {ast.USub: -1, ast.UAdd: 1}[type(node.op)] * calculated(node.operand)
    if isinstance(node, ast.Constant):
        return complex(node.value)
    raise TypeError(node)


def test_one_changed_character_is_paid_only_where_value_and_unit_stay():
    """5,000 pairs of golds and their neighbours: symmetric, and equal only for a reason."""
    draw = random.Random(13)
    known = golds()
    equal = 0
    for _ in range(5000):
        gold = draw.choice(known)
        other = changed(gold, draw) if draw.random() < 0.7 else draw.choice(known)
        verdict = is_equal(gold, other)
        assert verdict == is_equal(other, gold), (gold, other)
        if not verdict or bare(gold) == bare(other):
            continue
        equal += 1
        left = value_of(gold)
        right = value_of(other)
        if left is None or right is None:
            assert content(gold) == content(other), (gold, other)
        else:
            is_percent = "%" in gold + other and cmath.isclose(left, 100 * right, rel_tol=1e-9)
            assert cmath.isclose(left, right, rel_tol=1e-9) or is_percent, (gold, other)
    assert equal > 20


def test_every_gold_and_every_changed_gold_equals_itself():
    draw = random.Random(14)
    for gold in golds():
        assert is_equal(gold, gold), gold
        other = changed(gold, draw)
        if spelling(other):
            assert is_equal(other, other), other


def test_equality_is_transitive_where_no_name_unit_or_percent_may_be_left_out():
    """x = 5 equals 5, and 5 equals y = 5: so names, units and percents are set aside."""
    draw = random.Random(15)
    spelled = [
        lambda n: str(n), lambda n: f"{n}.0", lambda n: f"\\frac{{{2 * n}}}{{2}}",
        lambda n: f"\\sqrt{{{n * n}}}", lambda n: f"{n - 1} + 1", lambda n: f"({n})",
        lambda n: f"{n}\\sin^2 x + {n}\\cos^2 x", lambda n: f"{n},", lambda n: f"\\ln e^{{{n}}}",
    ]  # fmt: skip
    for _ in range(300):
        a, b, c = (draw.choice(spelled)(draw.randint(2, 4)) for _ in range(3))
        if is_equal(a, b) and is_equal(b, c):
            assert is_equal(a, c), (a, b, c)


# ---------------------------------------------------------------- hostile answers

SHELLS = (
    r"\sqrt{2+%s} \sqrt[3]{%s} \lfloor%s\rfloor (%s)! (%s)^{2} 2^{%s} \{%s,%s\} (%s) |%s|"
    r" \frac{1}{%s} \sin(%s) \exp(%s) %s+%s \binom{%s}{3} \log_{%s}3 (%s)^{\frac{1}{3}} %s,%s"
    r" (%s,%s) x^{%s} %s! \begin{pmatrix}%s\\%s\end{pmatrix} %s\cup%s %s=%s"
).split()
PIECES = r"""1 2 12 0 0.5 . , ; : + - * / ^ ! _ | = < > ( ) [ ] { } \{ \} \frac \sqrt \sqrt[3]{ \pm
    \pi \infty \cup \setminus \le \sin \log_ \ln \text{ x y e i % $ ° cm and or \lfloor \rfloor
    \binom{ \begin{pmatrix} \end{pmatrix} & \\ ^{ million per of f( \Rightarrow \over ½ ² ₂ ∛
    \dot{3} 9^ \quad \ne \approx eggs AM""".split()


def hostile(draw: random.Random) -> str:
    """Up to 600 characters: brackets in brackets, or pieces in any order."""
    if draw.random() < 0.5:
        return "".join(draw.choice(PIECES) for _ in range(draw.randint(3, 200)))[:600]
    text = draw.choice(["x", "2", "0.5", "5", "\\pi"])
    for _ in range(draw.randint(5, 60)):
        longer = draw.choice(SHELLS).replace("%s", text)
        if len(longer) > 600:
            break
        text = longer
    return text


@pytest.mark.slow
def test_no_hostile_answer_makes_more_work_than_the_bound(monkeypatch):
    """2,000 answers: each comparison ends, and what it counted is at most a little above MAX_WORK.

    The slowest one's seconds are in the output (pytest -rP), and are not asserted.
    """
    counted = []
    seconds = []

    class Counted(Work):
        def __init__(self):
            super().__init__()
            counted.append(self)

    monkeypatch.setattr(checker, "Comparison", lambda: Comparison(Counted()))
    draw = random.Random(16)
    for _ in range(2000):
        text = hostile(draw)
        gold = draw.choice(["1", "x + 1", text[:-2] + "3" + text[-1:]])
        start = time.process_time()
        assert is_equal(gold, text) in (True, False)
        seconds.append(time.process_time() - start)
    print(f"the slowest of {len(seconds)} comparisons: {max(seconds):.3f} s")
    assert max(work.spent for work in counted) < 1.1 * MAX_WORK


@pytest.mark.parametrize(
    "text",
    [
        "\\sin" * 38 + "x", "((((x+1)^{99})^{99})^{99})^{99}", "x" + "+x" * 299, "2000!\\cdot x",
        "1e5000+x", ",".join(f"x+y={i}" for i in range(60)), "\\{" * 38 + "1" + "\\}" * 38,
        "\\binom{" * 38 + "x" + "}{3}" * 38, "2^{" * 38 + "x" + "}" * 38, "(1+1/2000!)x",
        ",".join(f"\\sqrt{{{i}}}" for i in range(10, 70)),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_long_answer_costs_a_bounded_amount_of_work(text):
    work = Work()
    for gold in ("x", text[:-1] + "2"):
        with contextlib.suppress(Unread):
            Comparison(work).same(grammar.read(gold), grammar.read(text))
        assert work.spent < 1.1 * MAX_WORK
        work.spent = 0


def test_the_bound_ends_a_comparison():
    values = [grammar.read(f"\\sin x + {i}") for i in range(2)]
    work = Work(spent=MAX_WORK)
    with pytest.raises(Unread, match="too much work"):
        equal_numbers(*values, work)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("5", "5+\\frac{\\sqrt{2}}{10^{300}}"),
        ("5", "5+e^{-2000}"),
        ("x", "x+10^{-40}"),
        ("\\pi", "\\pi+\\pi\\cdot10^{-200}"),
        ("1", "1-\\frac{1}{2000!}"),
        ("1", "\\cos(e^{-200})"),
        ("1", "(1+e^{-300})^{e^{-300}}"),
        ("e^{300}", "e^{300}+e^{-300}"),
    ],
)
def test_a_term_too_small_to_be_seen_makes_a_difference(left, right):
    assert not is_equal(left, right) and not is_equal(right, left)


def test_each_letter_is_negative_alone_at_one_point():
    found = numbers.points(("a", "b", "c"), is_wide=False, digits=50)
    signs = {tuple(point[letter] > 0 for letter in "abc") for point in found}
    assert {(True, True, True), (False, False, False), (False, True, True)} <= signs
    assert len(found) == 6 and len(signs) == 5
