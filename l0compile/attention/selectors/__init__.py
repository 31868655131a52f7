"""Dynamic selectors: which keys each block of queries sees, computed from the queries and keys."""

from l0compile.attention.selectors.antidiagonal import AntidiagonalScores as AntidiagonalScores
from l0compile.attention.selectors.collisions import HashedScores as HashedScores
from l0compile.attention.selectors.collisions import RoutedScores as RoutedScores
from l0compile.attention.selectors.double_sparsity import DoubleSparsity as DoubleSparsity
from l0compile.attention.selectors.low_rank import LowRankScores as LowRankScores
from l0compile.attention.selectors.online_patterns import OnlinePatterns as OnlinePatterns
from l0compile.attention.selectors.scored_blocks import PooledScores as PooledScores
from l0compile.attention.selectors.scored_keys import ChipmunkColumns as ChipmunkColumns
from l0compile.attention.selectors.scored_keys import RowTopK as RowTopK
from l0compile.attention.selectors.selector import Selector as Selector
from l0compile.attention.selectors.vertical_slash import VerticalSlash as VerticalSlash
