"""Static patterns: which keys each query sees, by a rule about positions."""

from l0compile.attention.patterns.big_bird import BigBird as BigBird
from l0compile.attention.patterns.big_bird import SvittEdges as SvittEdges
from l0compile.attention.patterns.bottleneck import AttentionBottlenecks as AttentionBottlenecks
from l0compile.attention.patterns.global_tokens import GlobalTokens as GlobalTokens
from l0compile.attention.patterns.global_tokens import Longformer as Longformer
from l0compile.attention.patterns.pattern import Pattern as Pattern
from l0compile.attention.patterns.per_head import PerHead as PerHead
from l0compile.attention.patterns.phi3_small import Phi3Small as Phi3Small
from l0compile.attention.patterns.sinks import AShape as AShape
from l0compile.attention.patterns.sinks import StreamingLLM as StreamingLLM
from l0compile.attention.patterns.sinks import TriShape as TriShape
from l0compile.attention.patterns.sparse_transformer import FixedStride as FixedStride
from l0compile.attention.patterns.sparse_transformer import Strided as Strided
from l0compile.attention.patterns.swin import SwinWindows as SwinWindows
from l0compile.attention.patterns.video import MultiDiagonal as MultiDiagonal
from l0compile.attention.patterns.video import SpatialHead as SpatialHead
from l0compile.attention.patterns.video import TemporalHead as TemporalHead
from l0compile.attention.patterns.video import VerticalStripes as VerticalStripes
from l0compile.attention.patterns.window import Causal as Causal
from l0compile.attention.patterns.window import Dilated as Dilated
from l0compile.attention.patterns.window import SlidingWindow as SlidingWindow
