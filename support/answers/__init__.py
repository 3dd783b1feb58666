r"""The reader behind the checker: what an answer says, or that it is not understood.

    extraction.py  where a text states its answer
    doubts.py      whether it is denied or taken back
    boxes.py       what its boxes say
    formulas.py    whether a box is all of its formula
    words.py       the words, signs, commands and units that an answer may hold, as tables
    tokens.py      text -> tokens
    groups.py      tokens -> brackets and lists
    numbers.py     arithmetic within bounds, and whether two expressions have the same value
    values.py      what a value can be, and the arithmetic of matrices and sets
    quantities.py  names, units, remarks
    grammar.py     tokens -> a value, by all of these
    comparison.py  whether two values are equal

Called by checker.py. augment.py calls extraction.py too.
"""
