"""Records of how a program was made: the passes that ran, and what became of each region."""

from dataclasses import dataclass
from typing import Literal

Format = Literal["dense", "compact", "bsr", "2:4", "dropped"]
Engine = Literal["tvm", "torch"]


@dataclass(frozen=True)
class PassRecord:
    """One pass that ran: its name, the number of nodes or constants that it changed, and its wall time in seconds."""

    name: str
    changed: int
    seconds: float


@dataclass(frozen=True)
class Region:
    """The decision taken for one layer of the model, for ``explain()``.

    Attributes:
        name: module path in the user's model (``encoder.layer.0.intermediate.dense``), or the graph node's name.
        kind: what the region computes: ``"linear"``, ``"conv"``, ``"attention"``.
        shape_before: as captured; linear: (out features, in features); conv: that of its weight; attention: (heads,
            head width).
        shape_after: the same after compaction; zeros when it is dropped.
        density: share of nonzero elements in the weight of ``shape_before``, in 0..1.
        format: ``dense`` (left as it was), ``compact`` (smaller but dense), ``bsr`` (block sparse), ``2:4``
            (two of each four neighbours of a row), ``dropped``.
        block: (rows, cols) of the block-sparse format, else None.
        reason: one sentence that says why it has this format, with the rule that blocked a better one.
        predicted: time in the chosen format over that of the dense, uncut layer, by measured costs or by the table of
            the target; None where only the shapes are known.
        dense_ms: milliseconds of the dense, uncut layer at the sizes of the example inputs, by measured costs; None
            where nothing tells.
        precision: of the numbers that it multiplies.
    """

    name: str
    kind: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    density: float
    format: Format
    block: tuple[int, int] | None
    reason: str
    predicted: float | None = None
    dense_ms: float | None = None
    precision: str = "float32"


@dataclass(frozen=True)
class HeadRecord:
    """What one head of an attention with patterns reads.

    Attributes:
        region: name of its attention.
        head: its number.
        pattern: which keys it may see, with the parameters.
        density: share of all keys that its rows list, on average.
        loss: what it loses by that, as whoever assigned the pattern measured it; None where that is not known.
    """

    region: str
    head: int
    pattern: str
    density: float
    loss: float | None = None


@dataclass(frozen=True)
class AttentionNote:
    """What capture knows of an attention that is no ``scaled_dot_product_attention``, in ``meta`` of one of its nodes.

    Attributes:
        heads: number of query heads.
        width: features of a head.
        text: what became of it.
    """

    heads: int
    width: int
    text: str


ATTENTION_NOTE = "attention_note"
"""The key of a note in ``meta``."""


@dataclass(frozen=True)
class Operator:
    """One operator of a stage.

    Attributes:
        name: of its node in the graph, unique in the model.
        target: what it computes: ``aten.cumsum.default``.
        source: module path, file, line and code of the call, as far as tracing knows them.
        reason: why TVM cannot run it; empty where it is only here with its neighbours.
    """

    name: str
    target: str
    source: str
    reason: str = ""


@dataclass(frozen=True)
class StageRecord:
    """A part of the model that one engine runs without a break.

    Attributes:
        engine: ``tvm`` (compiled) or ``torch`` (run by PyTorch, operator by operator).
        operators: what runs there, in order, without arithmetic on sizes.
        reason: one sentence that says why this engine runs it; empty where TVM does, as usual.
    """

    engine: Engine
    operators: tuple[Operator, ...]
    reason: str


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs the model as a whole, and what was measured to decide it.

    Attributes:
        engine: ``tvm``: compiled, except for the islands among the stages; ``torch``: all of it in PyTorch.
        reason: one sentence.
        tvm_ms, torch_ms: median time of a call on the example inputs; None where it was not measured.
        low, high: 95 % interval of the time in PyTorch over that of the compiled model, in turns; None as above.
        decided: whether the measurement told the engines apart or found a tie; otherwise ``reason`` says why this one
            is used.
        failed: the other engine, when it could not be used at all.
    """

    engine: Engine
    reason: str
    tvm_ms: float | None = None
    torch_ms: float | None = None
    low: float | None = None
    high: float | None = None
    decided: bool = True
    failed: Engine | None = None


@dataclass(frozen=True)
class Launch:
    """One call of one of our kernels, in the order of the program.

    Attributes:
        function: the kernel's name in the compiled code (``linear_3``); layers of one shape share a kernel.
        region: name of the :class:`Region` it computes; None for a kernel that is no region (LayerNorm, packing).
        where: module path of the operator.
        stage: number of the stage that it runs in.
    """

    function: str
    region: str | None
    where: str
    stage: int = 0
