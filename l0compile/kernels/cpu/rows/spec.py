"""What linear kernels on rows compute."""

from dataclasses import dataclass

from l0compile.kernels.cpu.linear.spec import LinearSpec


@dataclass(frozen=True)
class RowsLinearSpec:
    """activation(W x + bias) for a dense weight W [n, k], tokens and results in rows.

    Attributes:
        n: output features.
        k: input features.
        rows: rows of W that lie side by side, whole registers of them.
        bias: there is a bias.
        activation: a key of ``ACTIVATIONS``.
        tokens: how many there are; None: only the call knows.
    """

    n: int
    k: int
    rows: int
    bias: bool
    activation: str
    tokens: int | None


@dataclass(frozen=True)
class RowsBsrSpec:
    """A block-sparse linear layer whose tokens and results lie in rows.

    Attributes:
        layer: what is computed, of float32 numbers and without a residual. Its tail says nothing.
        tokens: how many there are; None: only the call knows.
    """

    layer: LinearSpec
    tokens: int | None
