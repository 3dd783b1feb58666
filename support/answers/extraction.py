r"""The final answer that a text states: where it stands, and where it ends.

A mark says where it stands: a box, "#### 42", "The answer is 42", a bold **42** (answer_at_mark).
What follows the mark is cut at the reasons and remarks after the answer (answer_in). Each pattern
has an example of what it finds. The doubtful case is no answer: a number that nobody stated as the
answer must not be paid.

Called by checker.py and augment.py (extract_answer).
"""

import re

from support.answers.boxes import (
    Box,
    around,
    boxed_answer,
    boxes_of,
    is_joint,
    is_same_number,
    is_whole,
)
from support.answers.doubts import (
    CONFESSES,
    CONFIRMS,
    CONFIRMS_NOTHING,
    DENIED,
    LAST_YES,
    MAKES_SURE,
    NO_MISTAKE,
    NOT_THE_ANSWER,
    SENTENCE_END,
    SOUND,
    TAKEN_BACK,
    WRONG,
)
from support.answers.words import MAGNITUDES, NUMBER_WORDS

MAX_STATEMENT = 300  # characters after a mark that are looked at
AROUND_A_NUMBER = " \t\n.,!$*()\\"  # signs that can stand around one that stands alone

# Thinking, in the tags of the checkpoints that think.
THINKING = re.compile("<think(?:ing)?>")
THOUGHT = re.compile("</think(?:ing)?>")

# The end of a turn, "The answer is 4.<|im_end|>", or the beginning of the user's. At the start of a
# text it ends nothing.
END = re.compile(
    r"(?<=\S)\s*(?:"
    r"<\|(?:im_end|endoftext|eot_id|end_of_text|eom_id|end)\|>"
    r"|</s>|<eos>|<end_of_turn>|<｜end▁of▁sentence｜>"
    r"|<(?:\|im_start\||\|start_header_id\||start_of_turn)>user"
    r"|<\|user\|>|<｜User｜>|\[/?INST\]"
    r"|(?<=\n)user[ \t]*(?=\n))"  # the role, where the signs around it are lost
)

# What a base model writes when it goes on: "## Problem 2.", "Q: ...", "Here is another problem".
RUN_ON = re.compile(
    r"(?<=\n)[ \t]*[#*]* ?(?:"
    r"(?:(?:Next |New )?(?i:Question|Problem|Exercise|Example|Instruction|Task|Input|Solve)"
    r"|Human|User|Q)"
    r"(?![a-zA-Z])(?:[ \d.]*[:\n]| \d+(?:\.|\*\*| \())"
    r"|Here(?: is|['’]s) (?:another|a similar) problem\b)"
)

# "```python ... ```": an answer in code is none.
CODE = re.compile(
    r"``` ?(?!(?i:latex|tex|math|markdown|md|text|txt|plaintext|output)\n)[a-zA-Z+#]+\d*\n"
    r"(?:(?!```)[\s\S])*(?:```|$)"
)

# How an answer starts that is no word: "-5", "$3", "(B)", "\frac12", "x = 5".
START = r"(?:[-+−]?[$€£(\[{\\.\d½√π∞]|[a-z] ?=)"
VALUE = re.compile(START, re.IGNORECASE)

# The marks of an answer in words. STATED finds them all; its group is the first character of what
# follows, and is empty for "the wrong answer is 41" (DENIED), which states no answer.
#
# "#### 42", as the solutions of GSM8K end, "#### 42 Eggs" and "#### yes" on the last line; but not
# the headings "#### 2. Add" and "#### 2 Add": a noun in the plural is none.
HASHES = (
    r"(?<!#)####(?!#)[ \t*_]*"
    r"(?!\(?\d[\d.]*(?:[.):][ \t]+\w|[ \t]+(?-i:[A-Z][a-z])(?![a-z]*s[.!*_]*\Z)))"
    rf"(?={START}|[a-z]+(?: [a-z]+)?[.!*_]*\Z)"
)
# "The answer is 42", "**Answer:** 42", "The answer to the question is 42", "comes to 42".
SAID = (
    r"(?:(?<![a-z])ans(?:wers?)?|correct (?:option|choice))"
    r"(?: to(?: [^\s.,:;]+){1,6}?| for (?:this|the) (?:problem|question)| in(?: \w+){1,3}?"
    r"|, \w+,)?[*_\s]{0,4}"
    r"(?:\b(?:is|are|equals|remains|(?:must|will|should) be|(?:comes|turns) (?:out )?to(?: be)?)\b"
    r"|[:：]"
    r"|(?<!ans)(?<!ans )=>?)"
)
# "**Final Answer**" or "### Answer", and 42 in a line below.
HEADING = r"final answer[*_: ]*$|^[#*_ ]*answer[*_ ]*$"
# "A: 42"; but not "A: 42" above "B: 43", which are options.
LINE_A = r"^[*_ ]*(?-i:A:(?!.*(?:\n+[*_ ]{0,4}|\b)B[:.)]))"
# "The answer is still correct", "is in dollars", "is less than 32": of one that was stated before.
# A list has no single one.
NO_ANSWER = (
    rf"(?:(?:(?:indeed|still|also|therefore|thus|already) )*(?:{SOUND}|good|reasonable|unique"
    r"|obtained|expressed|given(?! by)|(?:rounded|simplified)(?! to [\s$]*[\d\\])"
    r"|an (?:even |odd )?integer(?!,)|(?:less|more|greater) than)|in (?:dollars|cents|units))\b"
    r"|(?:(?<=\n)|(?<=\n\*\*))(?:[-–•]|1[.)])\**\s"
)
MARK = rf"(?:{HASHES}|{SAID}|{HEADING}|{LINE_A})[\s*_:：}}]*(?:(?<=\n)>[\s*_]*)?"
STATED = re.compile(rf"(?im){DENIED}|{NOT_THE_ANSWER}|{MARK}(?=((?!{NO_ANSWER})[^\s*_:：}}]))")

# "In all **5 apples**"; but not "**Add:** 2 + 3" nor "**1.** Add", which are headings.
BOLD = re.compile(
    r"(?<!\w)\*\*(?!\(?[a-z\d]\))"
    r"([-$\\(\d](?:[^*\n.:]|\.\d){0,200})"
    r"(?:\.\*\*(?! *\w)|\*\*(?!\w))"
)

# "-1,250.75", "$3", "3/4", "25%", "10^6" and ".5".
NUMBER = re.compile(r"([-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[/^]\d+)?%?|[-−]?\.\d+)")

# "(C)", "\textbf{(D)}", "(D) 14"
CHOICE = re.compile(
    r"(?:\\(?:text|math)(?:bf|rm)?\{)?\(?([A-J])\)?\}?(?:(?<=[)}])(?:\\ |\s)[^\n]*)?"
)

# "The number is not 42.", "6 * 8 = 48 ≠ 42", "So 42 is wrong."; but not "42 eggs, not 42 boxes".
# The number is the first group or the second.
CLAUSE_END = r"(?=[\s$)*]{0,9}(?:[.,;!?](?!\d)|\n|\Z))"
DENIAL = re.compile(
    rf"(?i)(?:= ?[-−]?\\?\$?[\d.,]{{0,20}}\d ?(?:≠|\\neq?\b)|\bnot|n['’]t)"
    rf"(?: (?:be|equal|match|to))*[\s$(\\]{{0,9}}{NUMBER.pattern}{CLAUSE_END}"
    rf"|(?:(?:\A|[.!?,;:\n])[ \t]{{0,9}}(?:(?:so|thus|hence|and|but|therefore,?) )?|\b(?:so|that) )"
    rf"\\?{NUMBER.pattern}[\s$]{{0,9}}(?:dollars )?(?:is|was) {WRONG}\b(?! if\b)"
)
# "If x is", "since 5" in front of a denial, in its sentence.
CONDITIONAL = re.compile(r"(?i)\b(?:if|unless|when|since|why|think)\b[^.!?\n]*\Z")

# "x = 42", "42 dollars per day".
NAMED_NUMBER = re.compile(rf"(?:[a-zA-Z] ?= ?)?{NUMBER.pattern}(?: [a-zA-Z]+)*")

# What may stand before an answer: "clearly 42", "option C", "not 41 but 42".
LEAD = re.compile(
    r"(?i)(?:[\s*_:,`\"“]"
    r"|(?:clearly|obviously|definitely|certainly|simply|just|only|exactly|precisely|indeed|actually"
    r"|therefore|thus|hence|then|now|still|of course|in fact|approximately|about|roughly"
    r"|equal to|given by|as follows|the following|a total of|option|choice)\b"
    r"|not\b[^.\n]{1,60}?\bbut(?: rather)?\b)*"
)

# "The answer is approximately 3.46", "≈ 3.46", after a box that has the exact value.
ROUNDED = re.compile(r"(?i)\W*(?:(?:approximately|about|roughly)\b|≈|approx\b)")

# An answer on one line (group 3), or on several between $$ and $$ (1), \[ and \] or \( and \) (2).
# Where such a sign stands alone on its line and is not closed, the text was cut off: no answer. An
# open "$$ 42" on one line is one.
LINE = re.compile(
    r"(?m)(?:\$\$([^$]+)\$\$|\\[\[(]((?:(?!\\[\])])[\s\S])+)\\[\])])[.,]?[ \t]*$"
    r"|((?!(?:\$\$|\\\[|\\\()[ \t]*$).+)"
)

# "42!" at the end of a sentence; but not "5! + 1", nor "$5!$", which are factorials.
EXCLAMATION = re.compile(r"!+(?=[*_]*(?:\s*$|\s+[A-Z]))")

# "\(42\)", "**42**" and "<b>42</b>" are 42, and so are "$42$" and GSM8K's "<<6*7=42>>42"; but in
# "$42" the sign is a currency.
MARKUP = re.compile(
    r"(?<!\\)\\[()\[\]]|\*\*|</?(?:b|i|em|strong|u)>|<<[^<>\n]*>>"
    r"|(?<!\\)\$\$?((?:[^$\\]|\\.)+)\$\$?"
)

# Where an answer ends and a remark begins.
REMARK = re.compile(
    r"(?<!\.)(?:"
    # "42. It fits"; but "12 sq. cm" and "9 hrs. 30 mins." go on
    r"(?<!\b(?:sq|cu|ft|Rs|\.m))\.(?! \d+ (?:mins?|secs?|oz|in)\b)(?=[\"”]?(?:\s|$))"
    r"|\.(?=\s+[A-Z]|$))"  # "12 sq. It fits"
    r"|[,;]?\s\(?(?:because|since|as|so|which|where|i\.e)\b"  # "42 (as above)"
    # "42, hence even", "42; the others are odd"
    r"|(?:[,;]\s|\s\()(?:hence|thus|therefore|making|giving|meaning|rounded|right|from|by|using"
    r"|the|that|this|it|we|I)\b"
    r"|\s?[—–]\s?(?=[A-Za-z]{2})"  # "42 — an even number"
)

# Where an answer ends and a clause begins.
CLAUSE = re.compile(
    r",?\sand\s(?:that|this|it|we|I|he|she|they|so|not)\b"  # "3 and that is final"
    r"|,?\sand\s[^,.]{0,30}?\s(?:is|was|would be)\s(?:too|not|wrong)\b"  # "5, and 6 is too large"
    r"|(?:,|(?<=[\d)\]}%]))\s(?:but )?(?:not|rather than|instead of)\b"  # "42, not 41"
    r"|\s(?:is|are)\s(?:the|our|my)\s(?:final |correct |right )?answer\b"  # "42 is the answer"
)

# "The area of the square is 49": the answer stands after such a word.
VERB = re.compile(r"\b(?:is|are|equals)\s")

# "Since there are 5 workdays, the total is 35": what stands in front of the claim.
CONDITION = re.compile(r"\A\s*(?i:since|because|when|if|given|although|while|as)\b[^,.\n]*,\s*")

# "not 41", "When x is 3", and "a number such that its square is 49", which describes an answer.
NO_CLAIM = re.compile(
    r"\s*(?:not|(?i:since|because|when|if|given|although|while))\b|.*\b(?:such that|whose)\b"
)

# "There are 12 eggs, so she needs 3 boxes": the answer comes after such a word.
CONCLUSION = re.compile(
    r"[,;]?\s\(?(?:so|hence|thus|therefore|then|making|giving|meaning|which means)\b"
    r"(?:[^.\n]|\.\d)*"
)

# "There are 3 cars. 2 more come" tells a solution, and "are 3 cars" is not its answer.
STORY = re.compile(r"(?:\.\s|\n)[\s\S]*\d")

# "9 eggs are left. [...] so she makes $18": a sentence, and a result, which is the group.
TELLS = re.compile(r"\b(?:is|are|was|were|has|have|remains?)\b")
RESULT = re.compile(
    r"(?:\b(?:so|thus|hence|therefore)\b|=)[^\d\n.]*?([-−$]?[\d.,]*\d)", re.IGNORECASE
)

# "20 - 2 = 18" above "18 * 2 = 36", whose result is new, is the first line of a solution; "18"
# above "× 2 = 36" or above "or 20" is not all either.
CALCULATION = re.compile(r"\d\s*[-−+*/×÷]\s*\$?[\d.]+[^=\n]*=")
NEXT_RESULT = re.compile(
    r"(?:\.\s|\n)\s*(?!\s|(?:Check|Here|Note|Verify|Step|Explanation)\b)"
    r"[^=]*=\s*([-−$]?\s*[\d.,]*\d)"
)
GOES_ON = re.compile(r"\A[^\n]*\n[ \t]*(?:[+×÷/]\s*\d|or\s+\S*\d)")
# "18" above "= 2 * 20 = 40", or above "- 2 = 16": the group is the result.
NEXT_LINE = re.compile(
    r"\A[^\n]*\n[\s$]*(?:=|[-−*]\s*\$?[\d.,]*\d\s*=|[-−]\s*[\d.,]*\d[ \t]*\n\s*=)"
    r"(?:[^\n]*=)?[^\d\n]*?([-−$]?[\d.,]*\d)[^\d\n]*(?:\n|\Z)"
)

# "Janet makes", in front of "$18 per day".
TOLD_BY = re.compile(
    r"(?!(?:Nobody|None|No|Neither|Both|Each)\b)(?:The )?[A-Za-z]+ (?:will )?"
    r"(?:has|have|had|makes?|made|earns?|earned|gets?|got|pays?|paid|needs?|needed|takes?|took"
    r"|costs?|spends?|spent|saves?|saved|sells?|sold|buys?|bought|owes?|owed) "
)

# "So she makes 20 dollars." at the end of a text.
LAST_CONCLUSION = re.compile(
    r"(?:\A|[.!?\n])[ \t$)*}\\\]]*(?:So|Thus|Hence|Therefore)\b(?:[^.!?\n]|[.]\d)*\W*\Z"
)

# What may stand around an answer and means nothing.
EDGES = ' *_#`"“”,;:。✅✓\r\t\n\x00\u200b\ufeff'


def extract_answer(text: str, strict: bool = True) -> str | None:
    r"""The final answer that a text states, or None.

    In this order: the last \boxed{} or \fbox{}, or another number that is stated after it; the last
    "#### 42", "The answer is 42", "Answer: 42" or line "A: 42"; the last bold **42**. If the text
    has an <answer> tag, its last one is searched, and what follows only for words that take the
    answer back and for the answer after these. With strict=False a text without an answer has its
    last number, in or outside a tag, which pays for coincidences.

    >>> extract_answer(r"Hence 6 * 7 = 42, so \boxed{42}.")
    '42'
    >>> extract_answer("The answer is 42, because 6 * 7 = 42.")
    '42'
    >>> print(extract_answer("6 * 7 = 42"))
    None
    >>> extract_answer("6 * 7 = 42", strict=False)
    '42'
    """
    text = CODE.sub("", visible(text))
    answer = tagged_answer(text) if "<answer>" in text else marked_answer(text)
    if not answer and not strict:
        numbers = NUMBER.findall(text)
        answer = numbers[-1] if numbers else ""
    return answer or None


def visible(text: str) -> str:
    """What a reader is shown: the text after the thinking, up to the end of the turn.

    >>> visible("<think>2 or 4?</think> It is 4.<|im_end|> 5")
    'It is 4.'
    >>> visible("<think>2 or 4? I was cut")
    ''
    """
    turn = END.split(text, maxsplit=1)[0]
    shown = THOUGHT.split(turn)[-1]
    if THINKING.search(shown):
        return ""
    return shown.strip()


def tagged_answer(text: str) -> str:
    """The answer in the last <answer> tag: by a mark in it, or else all of it, if it is short."""
    rest = text.rpartition("<answer>")[2]
    content, closed, after = rest.partition("</answer>")
    content = content.strip()
    is_short = len(content) <= 200 and LINE.fullmatch(content)
    answer = marked_answer(content)
    if not answer and closed and is_short:
        answer = answer_in(content)
    return upheld(answer, after)


def marked_answer(text: str) -> str:
    """The answer at the best mark of a text, or "". A problem that follows counts only if nothing
    before it is an answer.
    """
    next_problem = RUN_ON.search(text)
    if next_problem:
        answer = answer_at_mark(text[: next_problem.start()])
        if answer:
            return answer
    return answer_at_mark(text)


def answer_at_mark(text: str) -> str:
    boxes = boxes_of(text)
    if boxes:
        return answer_of_boxes(text, boxes)
    statement = last_statement(text)
    if statement:
        return upheld_statement(statement)
    bolds = list(BOLD.finditer(text))
    # A number after the last bold one shows that this was not the end: "**5** and 7 make 12".
    if not bolds or NUMBER.search(text, bolds[-1].end()):
        return ""
    bold = bolds[-1]
    before, after = around(text, bold.start(), bold.end())
    is_negative = before.endswith(("= -", "=-"))
    is_one_of_two = len(bolds) > 1 and is_joint(text[bolds[-2].end() : bold.start()])
    if is_negative or is_one_of_two or not is_whole(bold[1], before, after):
        return ""
    return upheld(answer_in(bold[1]), text[bold.end() :])


def answer_of_boxes(text: str, boxes: list[Box]) -> str:
    r"""What the last box says, or another number that is stated after it.

    >>> text = "She has \\boxed{9} eggs. 9 * 2 = 18.\n#### 18"
    >>> answer_of_boxes(text, boxes_of(text))
    '18'
    """
    if not boxes[-1].is_closed:
        return ""
    boxed = boxed_answer(text, boxes)
    after = text[boxes[-1].end :]
    statement = last_statement(after)
    # after a "?" a base model has gone on to another problem
    is_of_another = "?" in after[: len(after) - len(statement)]
    if not statement and not is_of_another:
        statement = last_bold_line(after)
    has_another = states_another(statement, boxed)
    if not has_another or is_of_another or ROUNDED.match(statement):
        return "" if ends_otherwise(after, boxed) else upheld(boxed, after)
    return upheld_statement(statement)


def ends_otherwise(after: str, boxed: str) -> bool:
    """Whether the last sentence after a box of one number concludes with another one.

    >>> ends_otherwise(". So she makes 20 dollars.", "18"), ends_otherwise(". So 18 it is.", "18")
    (True, False)
    """
    conclusion = LAST_CONCLUSION.search(after[-MAX_STATEMENT:])
    if not conclusion or not NAMED_NUMBER.fullmatch(boxed.strip("$")):
        return False
    numbers = NUMBER.findall(conclusion[0])
    words = set(re.findall("[a-z]+", conclusion[0].lower()))
    if len(numbers) != 1 or words & {*NUMBER_WORDS, *MAGNITUDES}:
        return False
    return not is_same_number(numbers[0], boxed)


def states_another(statement: str, boxed: str) -> bool:
    """Whether a statement after a box has a value that the box has not.

    It must be a number in digits, alone or, beside a box of digits only, with a name or a unit, or
    a formula without "=": "18 / 2 = 9" may be a check. And it must not conclude with the box: "2/3,
    so m + n = 5" leads up to 5. Beside a choice, C, it is another choice. Any other box without
    digits has no rival.

    >>> states_another("x = 36 dollars, not 18", "18"), states_another("18 / 2 = 9", "18")
    (True, False)
    """
    stated = answer_in(statement)
    choice = CHOICE.fullmatch(stated)
    boxed_choice = CHOICE.fullmatch(boxed)
    if choice and boxed_choice:
        return choice[1] != boxed_choice[1]
    pattern = NAMED_NUMBER if boxed.strip("$").isdigit() else NUMBER
    if not pattern.fullmatch(stated) and not has_no_words(stated):
        return False
    if boxed and not bare_numbers(boxed):
        return False
    line = statement.partition("\n")[0]
    conclusion = CONCLUSION.search(line)
    results = RESULT.findall(line)
    said_last = conclusion[0] if conclusion else results[-1] if results else ""
    comes_to_boxed = said_last and boxed and not has_new_number(boxed, said_last)
    return not comes_to_boxed and has_new_number(stated, boxed)


def has_no_words(text: str) -> bool:
    r"""Whether a value is written in signs, digits and single letters alone, and without spaces,
    which remarks have, "=" and "±".

    >>> has_no_words(r"\frac{3}{4}"), has_no_words("3 eggs"), has_no_words("18 (9 * 2)")
    (True, False, False)
    """
    letters = re.sub(r"\\(?!text|mathrm)[a-z]+ ?", " ", text).replace(" ", "")
    is_spaced = " " in re.sub(r"\\[a-z]+ ", "", text)
    return not is_spaced and not re.search(r"[a-zA-Z]{2}|[=<>≈±]|\\[a-z]", letters)


def last_bold_line(text: str) -> str:
    r"""The number that a text ends with, if it stands in bold on a line of its own and is what was
    calculated last.

    >>> last_bold_line("In a week: 18 * 7 = 126.\n\n**126**"), last_bold_line("Points:\n**5/5**")
    ('126', '')
    """
    before, _, line = text.rstrip().rpartition("\n")
    bold = BOLD.fullmatch(line.strip())
    results = RESULT.findall(before[-MAX_STATEMENT:])
    is_result = bold and results and bare_numbers(results[-1]) == bare_numbers(bold[1])
    return bold[1] if bold and is_result else ""


def last_statement(text: str) -> str:
    """What follows the last mark in words, "The answer is" or "####"."""
    stated = [mark.end() for mark in STATED.finditer(text) if mark[1]]
    return text[stated[-1] :] if stated else ""


def upheld(answer: str, after: str) -> str:
    """The answer, unless the text after it takes it back; then what is stated after the last
    second thought, or the answer if it is confirmed there, or "".

    >>> upheld("42", "Wait, I forgot the tax. The answer is 43."), upheld("42", "Wait. Why?")
    ('43', '')
    """
    doubts = [*TAKEN_BACK.finditer(after), *denials(answer, after)]
    if not doubts:
        return answer
    last = max(doubts, key=lambda doubt: doubt.end())
    rest = after[last.end() :]
    statement = last_statement(rest)
    if statement:
        return answer_in(statement)
    is_upheld = is_confirmed(answer, rest) or comes_to(answer, last[0] + rest)
    return answer if is_upheld else ""


def denials(answer: str, after: str) -> list[re.Match[str]]:
    """Where a later sentence denies the value of an answer that is one number.

    >>> [denial[0] for denial in denials("18", "13 * 2 = 26 ≠ 18. So it is not $18.")]
    ['= 26 ≠ 18', 'not $18']
    """
    if not NAMED_NUMBER.fullmatch(answer.strip("$\\")):
        return []
    found = []
    for denial in DENIAL.finditer(after):
        is_of_answer = bare_numbers(denial[1] or denial[2]) == bare_numbers(answer)
        if is_of_answer and not CONDITIONAL.search(after[: denial.start()][-MAX_STATEMENT:]):
            found.append(denial)
    return found


def is_confirmed(answer: str, rest: str) -> bool:
    """Whether what follows a second thought says that the answer is right, and not another number;
    or says the answer again, and nothing else.

    >>> is_confirmed("42", "6 * 7 = 42, which is right"), is_confirmed("42", "No, 48 is right")
    (True, False)
    """
    if answer and rest.strip(AROUND_A_NUMBER) == answer.strip(AROUND_A_NUMBER):
        return True
    if NO_MISTAKE.search(rest):
        return not has_new_number(rest, answer) or bare_numbers(rest)[-1:] == bare_numbers(answer)
    sentences = SENTENCE_END.split(rest)
    saying = [said for said in sentences if CONFIRMS.search(said)]
    if LAST_YES.search(rest):
        saying.append(rest)
    for said in saying:
        numbers = bare_numbers(said)
        is_of_another = numbers and numbers[-1] not in bare_numbers(answer)
        if not is_of_another and not CONFIRMS_NOTHING.search(said):
            return True
    return False


def comes_to(answer: str, doubt: str) -> bool:
    """Whether the last number of a second thought is the answer, as the result of a calculation or
    conclusion, or its only number; and nothing speaks of a mistake.

    >>> comes_to("42", "Wait, let me check: 6 * 7 = 42. Good."), comes_to("42", "Wait, is it 42?")
    (True, False)
    """
    doubt = doubt[-MAX_STATEMENT:]
    numbers = bare_numbers(doubt)
    if not numbers or numbers[-1:] != bare_numbers(answer):
        return False
    results = RESULT.findall(doubt)
    is_result = bool(results) and bare_numbers(results[-1]) == numbers[-1:]
    is_denied = CONFIRMS_NOTHING.search(MAKES_SURE.sub("", doubt)) or CONFESSES.search(doubt)
    return (is_result or len(numbers) == 1) and not is_denied


def upheld_statement(statement: str) -> str:
    """The answer in a statement, unless that takes it back.

    Read from its second character on: the answer "No, the two differ" takes nothing back.
    """
    return upheld(answer_in(statement), statement[1:])


def answer_in(statement: str) -> str:
    """The answer in what follows a mark, without the words around it; "" if there is none.

    >>> answer_in("clearly **42**, because 6 * 7 = 42. I hope so.")
    '42'
    >>> answer_in("not 41")
    ''
    """
    near = statement[:MAX_STATEMENT]
    line = LINE.match(LEAD.sub("", near, count=1))
    if not line:
        return ""
    # the claim: "42" of "when x is 3, **42**, because 6 * 7 = 42. I hope so."
    content = line[1] or line[2] or line[3]
    sentence = EXCLAMATION.split(content)[0]
    plain = CONDITION.sub("", MARKUP.sub(r"\1", sentence))
    claim = REMARK.split(plain)[0]
    remark = plain[len(claim) :]
    if not claim or "?" in claim or NO_CLAIM.match(claim):
        return ""
    # the beginning of a solution, which ends elsewhere
    if GOES_ON.search(near) or is_first_line(claim, near) or is_told_on(claim, near):
        return ""
    if is_first_number(claim, near):
        return ""
    verb = VERB.search(claim)
    # "42 dollars" is the answer itself; so is "$18" of "Janet makes $18", if no more is said
    if not verb or VALUE.match(claim):
        is_all = claim.strip(EDGES) == MARKUP.sub(r"\1", near).strip(EDGES + ".")
        told = told_value(claim) if is_all else ""
        return told or CLAUSE.split(claim)[0].strip(EDGES)
    # of the sentence "the area is 49" it is what stands after the verb
    if STORY.search(near) or concludes_anew(claim, remark):
        return ""
    answer = answer_in(claim[verb.end() :])
    return "" if VERB.search(answer) else answer  # "that the sum is 7 is 1/6"


def concludes_anew(claim: str, rest: str) -> bool:
    """Whether what follows a claim comes to a number that the claim has not.

    >>> concludes_anew("12 eggs", ", so she needs 3 boxes"), concludes_anew("42", ", so 6 * 7 = 42")
    (True, False)
    """
    conclusion = CONCLUSION.match(rest)
    numbers = bare_numbers(conclusion[0]) if conclusion else []
    return bool(numbers) and numbers[-1] not in bare_numbers(claim)


def is_told_on(claim: str, near: str) -> bool:
    """Whether a claim is a sentence that begins a solution, which ends with a number of its own.

    >>> is_told_on("9 eggs are left", "9 eggs are left. Each costs $2, so she makes $18.")
    True
    """
    results = RESULT.findall(MARKUP.sub(r"\1", near).partition(claim)[2])
    is_sentence = VALUE.match(claim) and TELLS.search(claim)
    return bool(is_sentence and results) and has_new_number(results[-1], claim)


def is_first_line(claim: str, near: str) -> bool:
    """Whether a claim is a calculation that another one goes on from, to a number of its own."""
    following = NEXT_RESULT.search(near)
    if not following or not CALCULATION.search(claim):
        return False
    return has_new_number(following[1], claim)


def is_first_number(claim: str, near: str) -> bool:
    """Whether a claim is a number alone, from which the next line calculates another one.

    >>> is_first_number("7", "7\\n- 3 = 4"), is_first_number("7", "7\\n- 3 + 4 = 7")
    (True, False)
    """
    next_line = NEXT_LINE.match(near)
    if not next_line or not NAMED_NUMBER.fullmatch(claim.strip(EDGES)):
        return False
    return has_new_number(next_line[1], claim)


def has_new_number(text: str, known: str) -> bool:
    """Whether a text has a number that another has not."""
    return not set(bare_numbers(text)) <= set(bare_numbers(known))


def bare_numbers(text: str) -> list[str]:
    """The numbers in a text, 1000 for "$1,000" and 1{,}000."""
    numbers = NUMBER.findall(text.replace("{,}", ","))
    return [number.replace("$", "").replace(",", "") for number in numbers]


def told_value(claim: str) -> str:
    """The value in a sentence of TOLD_BY and one number, else "".

    >>> told_value("Janet makes $18 per day"), told_value("Janet makes twice $18")
    ('$18 per day', '')
    """
    told = TOLD_BY.match(claim)
    value = claim[told.end() :].strip(EDGES) if told else ""
    return value if NUMBER.match(value) and len(NUMBER.findall(value)) == 1 else ""
