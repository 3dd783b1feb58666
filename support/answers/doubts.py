r"""Whether a text denies an answer, takes it back, or confirms it after all.

Each pattern has an example of what it finds. After a second thought the text must state its answer
anew or confirm it (extraction.upheld). What merely sounds doubtful takes nothing back: whoever
states a right answer first has nothing to gain by doubting it. Called by extraction.py and
boxes.py.
"""

import re

WRONG = r"(?:wrong|incorrect|not (?:right|correct)(?!-))"

# "if the answer is 5", "I doubt that the final answer is 5", "the wrong answer is 5".
UNSURE = (
    r"\bif|whether|suppose|assume|assuming|n['’]t think|not think|not sure|not true|doubt|unlikely"
    r"|impossible|can['’]t be|cannot be|students say|to say"
    r"|(?:might|would|may|could|some|one) (?:think|say|guess|expect)"
)
DENIED = (
    rf"(?:wrong|incorrect|(?:{UNSURE})(?: that)? (?:the|our|my))(?: final| correct| right)? answer"
)
# "Tom's answer is 5", "twice the answer is 5", "each answer is 5": said of something else.
NOT_THE_ANSWER = r"(?:each|previous|initial|(?:half|twice)(?: of)? the|[a-z]['’]s) answer"

# What a second thought begins with, at the start of a sentence or of a clause.
LEADS = r"(?:(?:but|however|oh|ok|okay|no|hmm+|ah|sorry),? ){0,3}"
STARTS = rf"(?:^|[.!?$*)}}\],;]|[—–]|(?<![\n ]) --?(?=[ \t]))[ \t]*{LEADS}"
SECOND_THOUGHTS = (
    # "Wait, no", "Wait a minute"; but not "Wait times were added"
    r"wait(?=[ \t]*(?:[,.:!?—–]|no\b|a (?:minute|moment|second)\b|let\b|I\b|that\b|$))",
    r"(?:hold|hang) on\b|w?h?oops\b|scratch that\b|never ?mind\b|my bad\b|not quite\b",
    r"on second thoughts?\b|or rather\b|I mean\b|correction:|corrected (?:final )?answer\b",
    r"I take (?:that|it) back\b|(?:ignore|disregard) (?:the above|that|this)\b(?! if\b)",
    r"no, (?:it|that|the)\b|nope\b|(?<=\n)incorrect[.!]|(?:I|we) (?:was|were) wrong\b",
    # "42 — no, 43"; "Is that right? No. It should be 43"
    r"(?<=[—–-] )no, [$\d]|no[.!](?=\s+(?:it should be|the (?:\w+ )?answer is)\b)",
    # "Actually, it should be 43"; but not "Actually, 42 is even"
    r"actually,? (?:no\b|I (?:forgot|made|missed)\b|(?:it|that|the (?:\w+ )?\w+) should\b)",
    # "Actually, it's 43", "Sorry, 43", where the number ends the line
    r"(?:(?:actually|sorry|hmm+|in fact),? (?:(?:it|that)(?:['’]s| is) )?"
    r"|(?:it|that)(?:['’]s| is) actually |edit: )"
    r"(?=\W{0,5}\d(?:[\d.,]*\d)?\W{0,5}(?:\n|\Z))",
    r"(?:I|we) (?:forgot|miscounted|misread|miscalculated|overlooked)\b",
    r"(?:(?:I think|it seems|so) )?(?:I|we) (?:have )?made an? (?:\w+ )?(?:mistake|error)\b",
    r"(?:it (?:seems|appears) (?:that )?|so )?there (?:is|was|seems to be) an? (?:mistake|error)"
    r" (?:in|above|here)\b",
    r"(?:(?:I|we|my) )?apolog(?:i[sz]e|ies|y) for (?:the|my)\b",
    # "Re-checking, I get 43", "Revised: 43", "The correct value is 43", "So it should be 43"
    r"re-?(?:check|calculat|comput|do|evaluat|examin|count)ing\b|revised(?: answer)?:",
    r"(?:the|my) (?:correct|revised|actual) (?:value|result|total|number|amount|count)(?: is\b|:)",
    r"so (?:it|that|the (?:\w+ )?\w+)(?:(?:['’]s| is) actually| should be| must be)(?=\W{1,5}\d)",
    # "Let me redo this", "Let me try again", "Upon re-evaluation"; but not "Let me check", "Upon
    # rearranging"
    r"let(?:['’]s| me| us) (?:re-?(?:do|calculate|compute|consider)|correct (?:that|this|my)"
    r"|try (?:(?:that|this|it) )?again|start over)\b",
    r"upon (?:re-?(?:check|examin|evaluat|calculat|consider|view)|closer|further)",
)
# "42, but that is wrong", "42. My answer is wrong", "42, which is not one of the options". Only in
# the answer's own sentence, unless it gives a reason, or at the start of the next: "42. Some get
# 41. That is wrong" speaks of another answer.
THAT_IS_WRONG = (
    r"\b(?:that|this|which|(?:that|this|my|our|the)(?: above| previous)? (?:answer|result))"
    rf"(?:(?:['’]s| is| was) (?:clearly )?(?:{WRONG}|a mistake)"
    r"|(?: isn['’]t| can['’]?t be| cannot be) (?:right|correct)"
    r"|(?: is not (?:an|one of the)| does(?:n['’]t| not) match (?:any|the)) (?:option|choice)s?)"
    r"\b(?! if\b)"
)
# "42. This is too large", "42. That does not work"; but not "42 is one that does not work".
THAT_FAILS = (
    r"(?:(?<![\w}$] )that|this|(?:that|this|my|our|the) (?:answer|result|value))"
    r"(?: does(?:n['’]t| not) (?:work|satisfy|fit)| contradicts| violates"
    r"| is too (?:large|small|big|high|low|many|few))\b"
)
# "So the answer is incorrect.", "My previous answer was wrong", "But this is not the final answer":
# at the start of a sentence; but not "If she eats one, the answer is wrong".
ANSWER_IS_WRONG = (
    rf"(?:\A|[.!?\n])[ \t$*)}}\]]{{0,9}}{LEADS}(?:"
    r"(?:(?:so|therefore|thus|hence),? )?(?:the|this|that|my|our)(?: above| previous| initial)?"
    rf"(?: final)? answer(?: above)? (?:is|was|must be) {WRONG}\b(?! if\b)"
    r"|(?:this|that|it) is not (?:the|our|my) (?:final )?answer\b|that(?:['’]s| is) not it\b"
    r"|the (?:question|problem) asks for\b)"
)
REASONLESS = r"(?:(?!\b(?:because|since|would|otherwise|not)\b)[^.!?\n(])"
TAKEN_BACK = re.compile(
    rf"(?im)\A{REASONLESS}{{0,100}}[.!?]?[\s$*)}}\]]{{0,9}}\(?{LEADS}"
    rf"(?:{THAT_IS_WRONG}|{THAT_FAILS})"
    rf"|{ANSWER_IS_WRONG}|{STARTS}(?:{'|'.join(SECOND_THOUGHTS)})"
)

# What confirms an answer after a second thought: "Yes, that is right.", "It checks out.", "The
# result remains the same.", but not "check whether this is correct", nor "neither is correct".
SOUND = r"(?:right|correct|consistent|confirmed|accurate|verified|valid|fine|unchanged|the same)"
CONFIRMS = re.compile(
    r"(?i)(?:\b(?:is|are|was|looks)|['’]s)(?: indeed| still)? (?:right|correct|consistent)\b"
    rf"|\b(?:the|my|our|this) (?:answer|result) (?:is|remains)(?: indeed| still)? {SOUND}\b"
    r"|\b(?:checks out|holds|stands)\W*\Z|\bconfirms (?:the|my|our|this|that|it)\b"
)
CONFIRMS_NOTHING = re.compile(r"(?i)\b(?:not|never|neither|nor|whether|if|sure)\b|n['’]t\b")
MAKES_SURE = re.compile(r"(?i)\bto (?:be|make) sure\b")  # "to be sure: 6 * 7 = 42"
# "Yes." as the last word, also of "Is that right? [...] Yes."
LAST_YES = re.compile(
    r"(?i)(?:\A|\b(?:is|was) (?:it|this|that|(?:the|my) answer) (?:right|correct)\?)[^?]*"
    r"\b(?:yes|correct)\W*\Z"
)
# "So there is no mistake.", "I don't see any mistakes.", as the last words.
NO_MISTAKE = re.compile(
    r"(?i)\b(?:no|(?:(?:do|did|can)(?:n['’]t| not)|cannot) (?:see|find) any) (?:mistakes?|errors?)"
    r"(?: found)?(?: here| there| in (?:this|the|my) \w+)?[.!]\W*\Z"
)
# What makes of "6 * 7 = 42" a mistake that is told: "I used 6 * 7 = 42", "is 6 * 7 = 42?".
CONFESSES = re.compile(
    rf"(?i)\?|\b(?:{WRONG}|mistakes?|errors?|forgot|used|had|no|oops|came from|instead|rather"
    r"|apolog\w+|mis\w+|overlooked)\b"
)
SENTENCE_END = re.compile(r"[.!?;](?:\s|\Z)|\n")
