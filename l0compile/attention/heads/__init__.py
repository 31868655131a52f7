"""Heads that tell classes apart, without training."""

from l0compile.attention.heads.classifier import HeadClassifier as HeadClassifier
from l0compile.attention.heads.close import close_heads as close_heads
from l0compile.attention.heads.select import HeadPlace as HeadPlace
from l0compile.attention.heads.select import HeadSelection as HeadSelection
from l0compile.attention.heads.select import select_heads as select_heads
