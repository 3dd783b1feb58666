"""What every trainer of language models needs, and no reader of TAPO has to know.

Nothing in here imports a file of the method (the files at the top) or of tasks/.
"""
