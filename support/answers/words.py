r"""The words, signs and commands that an answer may hold, as data.

A sign or a command that stands in none of these tables, and that the grammar does not name, is not
read. A word that stands in none is: "18 wugs" counts wugs, and an answer of words alone is compared
as text. In what table() makes a row is "meaning: its spellings"; a comment shows what a table is
for. Called by tokens.py, quantities.py, grammar.py, comparison.py and boxes.py.
"""

import re


def table(rows: str) -> dict[str, str]:
    """From each spelling to its meaning; the meaning is one of its own spellings.

    >>> table("cm: centimeter centimeters")
    {'cm': 'cm', 'centimeter': 'cm', 'centimeters': 'cm'}
    """
    meanings = {}
    for row in rows.strip().splitlines():
        meaning, _, spellings = row.strip().partition(": ")
        for spelling in [meaning, *spellings.split()]:
            meanings[spelling] = meaning
    return meanings


# ---------------------------------------------------------------- signs and commands

# 3 \times 4, 3×4 and 3 * 4 are one.
SIGNS = table(r"""
    *: \cdot \times \ast × · ⋅ ∙ ∗
    /: \div ÷ ⁄ ∕
    ^: ** ˆ
    -: − – — ‐
    ±: \pm \mp ∓
    <: \lt
    >: \gt
    ≤: \le \leq \leqslant \leqq <= ⩽ ≦
    ≥: \ge \geq \geqslant \geqq >= ⩾ ≧
    ≠: \ne \neq !=
    ≈: \approx \thickapprox \simeq ≃
    ∈: \in
    ∪: \cup \bigcup
    \setminus: \backslash ∖
    %: \%
    °: \degree \circ
    $: \$
    ∞: \infty
    π: \pi
    ∅: \emptyset \varnothing
    :: \colon ∶
    \mid: \vert \lvert \rvert |
    \|: \Vert \lVert \rVert
    \{: \lbrace
    \}: \rbrace
    (: \langle \lparen
    ): \rangle \rparen
    [: \lbrack
    ]: \rbrack
    \frac: \dfrac \tfrac \cfrac
    \binom: \dbinom \tbinom
    \sqrt: √
""")

# What only typesets: x\,y, \left( x \right), \color{red}{5}; it is left out.
SPACES = {"\\,", "\\;", "\\:", "\\>"}
LAYOUT = set(
    r"\left \right \middle \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl"
    r" \Biggr \displaystyle \textstyle \scriptstyle \limits \nolimits \underline \boxed \fbox"
    r" \ensuremath \boldsymbol \bm \bf \rm \it \small \large \Large \LARGE \huge \Huge \normalsize"
    r" \checkmark \therefore".split()
)

# \text{ cm} holds words; \mathrm{cm} too. Of \textcolor{red}{5} the first argument is left out.
TEXT = (
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|up|md|normal)?|[mh]box|math(?:rm|bf|it|sf|tt|normal)"
    r"|operatorname\*?)(?![A-Za-z])"
)
COLOR = r"\\(?:color|textcolor)\s*\{[^{}]*\}"

# \angle ABC and \overline{AB} are names; they are no numbers.
NAME_MARKS = set(r"\angle \triangle \overline \vec \hat \bar \overrightarrow \widehat".split())

TRIGONOMETRIC = ("\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc")
GREEK = set(
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa"
    r" \lambda \mu \nu \xi \rho \sigma \tau \phi \varphi \chi \psi \omega \Gamma \Delta \Theta"
    r" \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega \ell".split()
)
GREEK_LETTERS = table(r"""
    \alpha: α
    \beta: β
    \gamma: γ
    \delta: δ
    \theta: θ
    \lambda: λ
    \mu: μ
    \rho: ρ
    \sigma: σ
    \tau: τ
    \phi: φ ϕ \varphi
    \omega: ω
    \epsilon: ε \varepsilon
""")

# sin, \sin and \operatorname{sin} are one.
FUNCTIONS = table(r"""
    \sin: sin
    \cos: cos
    \tan: tan
    \cot: cot
    \csc: csc
    \sinh: sinh
    \cosh: cosh
    \tanh: tanh
    \arcsin: arcsin asin
    \arccos: arccos acos
    \arctan: arctan atan
    \ln: ln
    \log: log
    \exp: exp
    \abs: abs
    \floor: floor
    \ceil: ceil ceiling
    \sqrt: sqrt
    π: pi
    ∞: infinity inf Infinity
""")
FUNCTIONS["\\sec"] = "\\sec"  # but "sec" is a second

# Letters in which functions or constants are glued to variables: 2cosx, absinC, 3lnx, 2sinxcosy.
FUNCTION_NAMES = re.compile(r"arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|sqrt|log|ln|pi|[A-Za-z]")
FUNCTION_INSIDE = re.compile("sin|cos|tan|sqrt|log|ln")
GREEK_WORD = re.compile(
    "alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|rho|sigma|tau|phi|psi|omega"
)


def glued_functions(letters: str) -> list[str]:
    """The functions and variables that letters consist of; empty if they are a word, or unclear.

    Any two letters may stand in front of the first function and any three between two. After the
    last only one may, of those that are usual there: so that a tank is no tangent of k.

    >>> glued_functions("absinC"), glued_functions("tank"), glued_functions("abc")
    (['a', 'b', 'sin', 'C'], [], [])
    """
    parts = FUNCTION_NAMES.findall(letters)
    pattern = ""
    for part in parts:
        is_usual = part in "ruvwxyz" or part.isupper()
        pattern += "f" if len(part) > 1 else "v" if is_usual else "l"
    return parts if re.fullmatch("[vl]{0,2}f(?:[vl]{0,3}f)*v?", pattern) else []


# ---------------------------------------------------------------- units

# 5 cm, 5 centimeters, \$5, 5 dollars, 30^\circ, 25\%, 4:30 PM.
UNITS = table("""
    mm: millimeter millimeters millimetre millimetres
    cm: centimeter centimeters centimetre centimetres cms
    m: meter meters metre metres
    km: kilometer kilometers kilometre kilometres kms
    in: inch inches
    ft: foot feet
    yd: yard yards yds
    mi: mile miles
    mg: milligram milligrams
    g: gram grams
    kg: kilogram kilograms kgs
    pound: pounds lb lbs
    £: GBP
    oz: ounce ounces
    s: sec secs second seconds
    min: mins minute minutes
    h: hr hrs hour hours
    day: days
    week: weeks
    month: months
    year: years yr yrs
    ml: mL milliliter milliliters
    L: liter liters litre litres
    gallon: gallons gal
    degree: degrees deg °
    radian: radians rad rads
    unit: units
    dollar: dollars $ USD usd bucks
    cent: cents ¢
    euro: euros EUR €
    yen: ¥ JPY
    rupee: rupees Rs INR ₹
    yuan: RMB CNY
    mph: MPH
    MB: megabyte megabytes
    GB: gigabyte gigabytes
    kWh: kilowatthour kilowatthours
    am: AM
    pm: PM
    %: percent pct percentage
""")
GLUED_UNITS = set("mm cm km kg ml mL lb lbs oz ft mph hrs mins cents".split())  # 5cm
ORDINALS = {"st", "nd", "rd", "th"}
CURRENCIES = {"dollar", "euro", "£", "yen", "rupee", "yuan"}  # these may stand in front
ONE_LETTER_UNITS = set("mgshL")  # letters, unless they stand in \text
SPEEDS = {"mi/h": "mph"}
TIMES = {"s", "min", "h", "day", "week", "month", "year"}
AREAS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}  # 12 square feet, 12 sq. units

# 5 thousand is 5000, 2 dozen eggs are 24 eggs.
MAGNITUDES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}

# ---------------------------------------------------------------- words

# Words that are signs: "negative 5", "3 times 4".
SIGN_WORDS = {"negative": "-", "minus": "-", "plus": "+", "times": "*"}
SEPARATORS = {"and", "or"}

# "seven"; larger number words than twenty are compared as text.
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        " fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}

# "about 5", "the answer is 5", "option B", "a parabola": left out at the beginning.
LEADING = set(
    "the a an answer final about approximately approx roughly exactly option choice total"
    " point points".split()
)

# "72 clips in total": left out at the end.
TRAILING = [["in", "total"], ["in", "all"], ["total"], ["altogether"], ["each"], ["left"]]

# "18 more", "18 fewer eggs", "18 minutes less": such a word is a part of the unit; but "18 more
# than x" is not read.
COMPARED = {"more": "more", "fewer": "less", "less": "less"}

# "18 apples in the basket", "18 dollars on Monday", "18 students with glasses": such a word begins
# where, when and of whom that is said. (After a number "in" is an inch.)
PLACES = {"in", "on", "at", "for", "with", "who"}

# Words that are never what is counted, for after a number they make another value of it, or none:
# "5 over x", "3 groups of four", "4 March". Where no rule reads such a word, the answer is not
# read. Rules read "60 miles per hour", "2 cups of flour", "3 to 2", "3 times 4", "5 thousand" and
# "4 or 5"; so "5 or more" is a list of 5 and a text. All other words after a number are what is
# counted: "18 eggs", "13 years old".
CHANGES_A_VALUE = set(
    """
    of over per to from by into out times plus minus divided multiplied squared cubed factorial
    power root mod modulo base choose not no and or if when where unless except else
    possibly maybe than more less fewer greater least most at above below under up down between
    within negative half halves third thirds quarter tens hundreds thousands dozens twice
    thrice double triple doubled tripled thirty forty fifty sixty seventy eighty ninety
    january february march april may
    june july august september october november december jan feb mar apr jun jul aug sep sept oct
    nov dec bc ad is are was so because since approximately about infinity repeating recurring
    binary hex hexadecimal octal lakh lakhs crore crores grand mil thou permille mille googol myriad
    score gross off debt short wrong remainder too bn mn cr tril
    """.split()
)
CHANGES_A_VALUE |= set(NUMBER_WORDS) | set(MAGNITUDES)
# "-3 rejected": such a word after a value takes it back; "3 rejected parts" counts parts.
TAKES_BACK = set(
    "rejected excluded extraneous discarded invalid impossible undefined wrong incorrect mistaken"
    " false untrue".split()
)
PART_OR_MULTIPLE = re.compile(  # 5 twelfths, 5 hundredths, 5 quintillion
    r"(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|\w+teen|\w+tie|hundred|thousand)ths?"
    r"|\w+illion(?:s|ths?)?"
)


def changes_a_value(word: str) -> bool:
    """Whether a word, in lower case, makes another value of the number in front of it."""
    is_greek = GREEK_WORD.fullmatch(word)
    return word in CHANGES_A_VALUE or bool(is_greek or PART_OR_MULTIPLE.fullmatch(word))


# A bracket after an answer is a remark, "18 eggs (9 left)", unless it holds one of these, which
# may change the value or take it back: "5 (mod 7)", "5 (in thousands)", "5 (or 6)".
NO_REMARK = (
    CHANGES_A_VALUE
    | TAKES_BACK
    | set(
        """
    and in to perhaps probably should could might must guess guessing unsure actually instead rather
    dont cannot correct incorrect correction error mistake too percent
    """.split()
    )
)
NO_REMARK -= set("of per at by from is are was so because about approximately".split())
NO_REMARK -= set(NUMBER_WORDS)
# A remark of these words may hold a number, also where no unit is in front: 18 (9 left).
COUNTS_IN_REMARKS = {"left", "each", "per", "remaining", "apiece", "about", "approximately"}

NO_NAME = (NO_REMARK | {"bad"}) - set("in to and of at".split())  # "x is not = 5" gives no name

CHOICES = "ABCDEFGHIJ"  # of a multiple-choice question: C is c, but the variable R is not r

# Answers in words that mean the empty set.
EMPTY_SETS = ("no solution", "no solutions", "empty set", "the empty set")

TWO_LETTER_WORDS = set(
    "no is in on of or to at by an am pm ft cm mm km kg ml lb oz mi yd hr".split()
)
SMALL_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def is_word(letters: str) -> bool:
    """Whether letters without a mark are a word, and no product such as xyz or mgh.

    >>> [is_word(letters) for letters in ("eggs", "no", "xyz", "mgh", "ab", "ABC")]
    [True, True, False, False, False, False]
    """
    if len(letters) > 1 and (letters in UNITS or letters in AREAS):
        return True
    if GREEK_WORD.fullmatch(letters):
        return False
    if len(letters) < 3:
        return letters.lower() in TWO_LETTER_WORDS and letters != letters.upper()
    has_vowel = any(letter in "aeiou" for letter in letters.lower())
    is_alphabetical = letters.lower() in SMALL_ALPHABET
    is_points = letters == letters.upper() and len(letters) <= 4  # the triangle ABD
    return has_vowel and not is_alphabetical and not is_points


def noun(word: str) -> str:
    """What a counted noun is compared by: the word without every e and s at its end, so that boxes
    are box. It is no stem: trees are "tr", and plans and planes are one.
    """
    return word.lower().rstrip("es")
