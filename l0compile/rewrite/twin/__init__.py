"""The compacted model as an ordinary PyTorch module: :func:`compact`."""

from l0compile.rewrite.twin.module import compact as compact
