r"""The reader behind the checker: what an answer says, or that it is not understood.

    words.py       the words, signs, commands and units that an answer may hold, as tables
    tokens.py      text -> tokens
    groups.py      tokens -> brackets and lists
    quantities.py  names, units, remarks
    grammar.py     all of these -> a value
    values.py      what a value can be; numbers.py: arithmetic within bounds, and equality

Called by checker.py.
"""
