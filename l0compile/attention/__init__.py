"""Sparse attention: patterns that follow from positions, selectors that choose keys in each call, and layers with them.

All of them come down to a row program: for each block of queries the blocks of keys that it sees whole, those that it
sees by a pattern, and single keys. ``l0compile::block_attention`` computes it, and reads nothing else.
"""

from l0compile.attention.assignment import AttentionSite as AttentionSite
from l0compile.attention.assignment import EveryKey as EveryKey
from l0compile.attention.assignment import HeadPattern as HeadPattern
from l0compile.attention.assignment import JointLosses as JointLosses
from l0compile.attention.assignment import OutputChanges as OutputChanges
from l0compile.attention.assignment import assign_patterns as assign_patterns
from l0compile.attention.assignment import attention_sites as attention_sites
from l0compile.attention.assignment import pattern_losses as pattern_losses
from l0compile.attention.attend import attend as attend
from l0compile.attention.heads import HeadClassifier as HeadClassifier
from l0compile.attention.heads import HeadPlace as HeadPlace
from l0compile.attention.heads import HeadSelection as HeadSelection
from l0compile.attention.heads import close_heads as close_heads
from l0compile.attention.heads import select_heads as select_heads
from l0compile.attention.layers import MixtureOfSparseAttention as MixtureOfSparseAttention
from l0compile.attention.layers import NativeSparseAttention as NativeSparseAttention
from l0compile.attention.layers import SparseAttention as SparseAttention
from l0compile.attention.patterns import AShape as AShape
from l0compile.attention.patterns import AttentionBottlenecks as AttentionBottlenecks
from l0compile.attention.patterns import BigBird as BigBird
from l0compile.attention.patterns import Causal as Causal
from l0compile.attention.patterns import Dilated as Dilated
from l0compile.attention.patterns import FixedStride as FixedStride
from l0compile.attention.patterns import GlobalTokens as GlobalTokens
from l0compile.attention.patterns import Longformer as Longformer
from l0compile.attention.patterns import MultiDiagonal as MultiDiagonal
from l0compile.attention.patterns import Pattern as Pattern
from l0compile.attention.patterns import PerHead as PerHead
from l0compile.attention.patterns import Phi3Small as Phi3Small
from l0compile.attention.patterns import SlidingWindow as SlidingWindow
from l0compile.attention.patterns import SpatialHead as SpatialHead
from l0compile.attention.patterns import StreamingLLM as StreamingLLM
from l0compile.attention.patterns import Strided as Strided
from l0compile.attention.patterns import SvittEdges as SvittEdges
from l0compile.attention.patterns import SwinWindows as SwinWindows
from l0compile.attention.patterns import TemporalHead as TemporalHead
from l0compile.attention.patterns import TriShape as TriShape
from l0compile.attention.patterns import VerticalStripes as VerticalStripes
from l0compile.attention.selectors import AntidiagonalScores as AntidiagonalScores
from l0compile.attention.selectors import ChipmunkColumns as ChipmunkColumns
from l0compile.attention.selectors import DoubleSparsity as DoubleSparsity
from l0compile.attention.selectors import HashedScores as HashedScores
from l0compile.attention.selectors import LowRankScores as LowRankScores
from l0compile.attention.selectors import OnlinePatterns as OnlinePatterns
from l0compile.attention.selectors import PooledScores as PooledScores
from l0compile.attention.selectors import RoutedScores as RoutedScores
from l0compile.attention.selectors import RowTopK as RowTopK
from l0compile.attention.selectors import Selector as Selector
from l0compile.attention.selectors import VerticalSlash as VerticalSlash
from l0compile.attention.tokens import ConditioningGate as ConditioningGate
from l0compile.attention.tokens import KeepTopTokens as KeepTopTokens
from l0compile.attention.tokens import PoolTokens as PoolTokens
from l0compile.attention.tokens import attention_of_first as attention_of_first
from l0compile.ir.ops.attention.row_program import RowLists as RowLists
from l0compile.ir.ops.attention.row_program import RowProgram as RowProgram
