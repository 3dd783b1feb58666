r"""Whether a text denies an answer, takes it back, or confirms it after all.

Each pattern has an example of what it finds. The doubtful case is a second thought: then the text
must state its answer anew or confirm it (extraction.upheld). Called by extraction.py and boxes.py.
"""

import re

# "the wrong answer is 41", "if the answer is 5", "I doubt that the final answer is 5", "Tom's
# answer is 3": these state no answer.
UNSURE = (
    r"\bif|whether|suppose|assume|assuming|n['’]t think|not think|not sure|doubt|unlikely"
    r"|impossible|can['’]?t be|cannot be|not true|verify|check|prove|show|students say|to say"
    r"|(?:might|would|may|could|some|one) (?:think|say|guess|expect)"
)
DENIED = (
    r"(?:wrong|incorrect|each|previous|first|initial|possible|intermediate|[a-z]['’]s"
    rf"|(?:half|twice|of) the|(?:{UNSURE})(?: that)? (?:the|our|my))"
    r"(?: final| correct| right)? answer"
)

# What a second thought begins with, at the start of a sentence or of a clause.
LEADS = r"(?:(?:but|however|oh|ok|okay|no|hmm+|ah|sorry),? )*"
STARTS = rf"(?:^|[.!?$*)}}\],;]|[—–])[ \t]*{LEADS}"
SECOND_THOUGHTS = (
    # "Wait, no", "Wait a minute"; but not "Wait times were added"
    r"wait(?=[ \t]*(?:[,.:!?—–]|no\b|a (?:minute|moment|second)\b|let\b|I\b|that\b|$))",
    r"(?:hold|hang) on\b|w?h?oops\b|scratch that\b|never ?mind\b|my bad\b|not quite\b",
    r"on second thoughts?\b|or rather\b|(?:correction|edit|update):|corrected (?:final )?answer\b",
    r"no, (?:it|that|the)\b|nope\b|(?:wrong|incorrect)[.!]",
    # "Actually, it should be 43", "Actually I forgot one", "I mean 43"
    r"actually,? (?:no\b|I (?:forgot|made|missed)\b|it['’]s\b"
    r"|(?:it|that|the (?:\w+ )?\w+) (?:is|was|should|must)\b)",
    r"(?:it should be|actually,?|I mean|sorry,) (?=[-$\\\d])",
    r"(?:I|we) (?:forgot|miscounted|misread|miscalculated|overlooked)\b",
    r"(?:(?:I think|it seems) )?(?:I|we) (?:have )?made an? (?:\w+ )?(?:mistake|error)\b",
    r"(?:the|my) (?:previous )?answer (?:above )?(?:is|was) (?:wrong|incorrect)\b",
    r"(?:it (?:seems|appears) (?:that )?)?there (?:is|was|seems to be) an? (?:mistake|error)\b",
    r"(?:(?:I|we|my) )?apolog(?:i[sz]e|ies|y)\b",
    # "Let me redo this", "Upon re-evaluation"; but not "Let me check"
    r"let(?:['’]s| me| us) (?:redo|correct|fix|re-?calculate|re-?compute|re-?consider|try again)\b",
    r"upon (?:re-?[a-z]+|closer|further)\b",
)
# "42, but that is wrong", "42, which does not match the options". Only in the answer's own sentence
# or at the start of the next: "42. Some get 41. That is wrong" speaks of another answer.
WRONG = r"(?:clearly )?(?:wrong|incorrect|not (?:the )?(?:right|correct|an option|one of))"
THAT_IS_WRONG = (
    rf"\b(?:(?:that|this|which)(?: answer| result)?(?:(?:['’]s| is| was| seems) {WRONG}"
    r"|(?: isn['’]t| can['’]?t be| cannot be) (?:right|correct)"
    r"| does(?:n['’]t| not) (?:match|make sense|(?:seem|look) right)| contradicts)"
    r"|which is (?:impossible|not possible))\b"
)
TAKEN_BACK = re.compile(
    rf"(?im)\A[^.!?\n(]{{0,100}}[.!?]?[\s$*)}}\]]{{0,9}}\(?{LEADS}{THAT_IS_WRONG}"
    rf"|{STARTS}(?:{'|'.join(SECOND_THOUGHTS)})"
)

# "Wait, let me check: 6 * 7 = 42. Yes, that is right.", "It checks out."
CONFIRMED = re.compile(
    r"(?i)\b(?:is|was|looks)(?: indeed| still)? (?:right|correct)\b|\bchecks out\b|\byes\W*\Z"
)
