"""What a program remembers about itself: which passes made it, and what became of each region."""

from dataclasses import dataclass
from typing import Literal

Format = Literal["dense", "compact", "bsr", "dropped"]
Engine = Literal["tvm", "torch"]


@dataclass(frozen=True)
class PassRecord:
    """One pass that ran: its name, how many nodes or constants it changed, and the wall time it took in seconds."""

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
        shape_after: the same after compaction; zeros when dropped.
        density: share of nonzero weight elements, of ``shape_before``, in 0..1.
        format: ``dense`` (left as it was), ``compact`` (smaller but dense), ``bsr`` (block sparse), ``dropped``.
        block: (rows, cols) of the block-sparse format, else None.
        reason: one sentence: why this format; names the rule of the exactness list when one blocked a better one.
        predicted: time in the chosen format over the time dense and uncut, by measured costs or the target's efficiency
            table; None where only the shapes tell.
        dense_ms: milliseconds of the layer dense and uncut, by measured costs, at the sizes of the example inputs; None
            where nothing tells.
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


@dataclass(frozen=True)
class Operator:
    """One operator of a stage.

    Attributes:
        name: of its node in the graph, unique in the model.
        target: what it computes: ``aten.cumsum.default``.
        source: module path, file, line and code that called it, as far as tracing knows.
        reason: why TVM cannot take it; empty where it only came along with its neighbours.
    """

    name: str
    target: str
    source: str
    reason: str = ""


@dataclass(frozen=True)
class StageRecord:
    """A part of the model that one engine runs at a stretch, in the order of running.

    Attributes:
        engine: ``tvm`` (compiled) or ``torch`` (run by PyTorch, operator by operator).
        operators: what runs there, in order; sizes are left out.
        reason: one sentence: why this engine; empty for the parts that TVM runs as usual.
    """

    engine: Engine
    operators: tuple[Operator, ...]
    reason: str


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs the model as a whole, and what was measured to decide it.

    Attributes:
        engine: ``tvm``: compiled, but for the islands among the stages; ``torch``: all of it in PyTorch.
        reason: one sentence.
        tvm_ms, torch_ms: median time of a call on the example inputs, None where it was not measured.
        low, high: 95 % interval of PyTorch's time over the compiled one's, by turns; None as above.
        decided: whether the measurement tells the engines apart, or finds a tie; otherwise ``reason`` says why this
            one was taken.
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
