"""Every ATen operator that may be lowered, with the arguments that are easily got wrong: negative axes and indices,
steps, kept axes, broadcasting, type promotion, NaN, infinities and signs.

A theme is a set of functions of the same inputs; it is compiled as one module, without any rewrite before it.
"""

from tests.lower.grid.elementwise import ELEMENTWISE
from tests.lower.grid.indexing import INDEXING
from tests.lower.grid.products import PRODUCTS
from tests.lower.grid.reductions import REDUCTIONS
from tests.lower.grid.shaping import SHAPING
from tests.lower.grid.theme import Theme as Theme

THEMES = (*ELEMENTWISE, *SHAPING, *REDUCTIONS, *INDEXING, *PRODUCTS)

# Compiled in every test run; the others are slow.
QUICK = {
    "copies",
    "odd float64",
    "bools",
    "indices",
    "products",
    "symbolic shapes",
    "reductions of odd numbers",
}
