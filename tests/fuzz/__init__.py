"""Random graphs with random zeros: whatever the compiler does to them, the answers must stay.

``recipe`` says what a graph is, as plain data; ``layers``, ``arithmetic``, ``movement`` and ``attention`` hold the
operators it may name; ``zeros`` prunes; ``build`` makes the model; ``strategy`` draws recipes; ``check`` compares.
``python -m tests.fuzz`` runs as many as it is told.
"""
