"""The compacted model as an ordinary PyTorch module: :func:`compact`."""

from l0compile.twin.module import compact as compact
