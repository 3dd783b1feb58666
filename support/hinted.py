"""The question with a right answer in sight.

Called by augment.py (where --synthesis assisted looks for the first error), coldstart.py (the skill
"hinted") and support/baselines.py (OPSD's teacher).
"""

HINTED = {  # for the tiny model (--synthesis brief), and for a checkpoint
    "brief": "{question}\n{sibling}\nAgain:",
    "instruct": "{question}\n\nA right answer, for your eyes only:\n{sibling}\n\n"
    "Answer the problem in your own words.",
}


def hinted_question(question: str, sibling: str, synthesis: str) -> str:
    """What the policy is asked when it may see the right answer `sibling`, for this --synthesis.

    >>> hinted_question("What is 2+2?", "2+2=4\\n#### 4", "brief")
    'What is 2+2?\\nright:2+2=4\\nright:#### 4\\nAgain:'
    """
    if synthesis == "brief":  # every line says what it is, as in the synthesis prompt
        sibling = "\n".join(f"right:{line}" for line in sibling.split("\n"))
    wording = "brief" if synthesis == "brief" else "instruct"
    return HINTED[wording].format(question=question, sibling=sibling)
