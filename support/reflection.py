"""Whether an answer questions itself on the way: a list of phrases, since the paper's test is not
public. (Which line of a worked answer is taken back is another rule, in support/worked_lines.py,
and whether its final answer is, one of support/answers/doubts.py.)

Called by eval.py (DSR and ERR), augment.py (is there a diagnosis?), coldstart.py,
support/metrics.py and support/page.py.
"""

import re

REFLECTION = re.compile(
    r"(?:^|[.!?\n])\W*wait\b"  # "Wait" at the start of a sentence
    r"|\bwait,"  # "But wait, 2+2 is 4"
    r"|\b(?:hold on|on second thought"
    r"|let(?:['’]s| me| us) (?:re-?(?:check|consider|think|examine)|double[- ]?check)"
    r"|(?:i|that|this) (?:made|was|is|contains) an? (?:mistake|error)"
    r"|(?:is|was) (?:wrong|incorrect|not right))\b",
    re.IGNORECASE,
)


def is_reflective(text: str) -> bool:
    """Whether a phrase of reflection stands in the text.

    >>> is_reflective("2+2=5. Wait, that is off."), is_reflective("They had to wait 5 minutes.")
    (True, False)
    """
    return REFLECTION.search(text) is not None
