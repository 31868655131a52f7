"""Attention layers that train, and compile."""

from l0compile.attention.layers.mixture import MixtureOfSparseAttention as MixtureOfSparseAttention
from l0compile.attention.layers.native_sparse import NativeSparseAttention as NativeSparseAttention
from l0compile.attention.layers.sparse_attention import SparseAttention as SparseAttention
