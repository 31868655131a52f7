"""How an attention kernel cuts its work: tiles, warps, and where everything lies in shared memory."""

from dataclasses import dataclass, replace

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.architecture import RESERVED_BYTES, has_ampere_instructions, shared_bytes
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec
from l0compile.kernels.definition import Schedules

AnyAttentionSpec = CudaAttentionSpec | CudaBlockAttentionSpec

_FRAGMENT = 16  # rows, and depth, of a product of tensor cores
_CHUNK_BYTES = 16  # of the widest copy
_WIDEST = 128  # features of a head
_HELD = 32  # registers of a lane for queries, of which sums and scores leave no more
RING = 3  # steps whose numbers of keys are kept: one in use, one loading, one ahead


@dataclass(frozen=True)
class CudaAttentionSchedule:
    """The tiles of one thread block.

    Attributes:
        queries: of a thread block; each warp has an equal share of them.
        keys: of a step.
        warps: of a thread block.
        stages: steps whose keys and values are in shared memory: 2 load one while they compute another.
        held: fragments of each of its tiles of queries that a warp has in registers; it reads others in each step.
        blocks: thread blocks that a multiprocessor's registers have to be enough for; 0: the compiler's choice.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    held: int = _WIDEST // _FRAGMENT
    blocks: int = 0

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def warp_rows(self) -> int:
        """Queries of a warp."""
        return self.queries // self.warps


@dataclass(frozen=True)
class SharedPlan:
    """Where tiles lie in shared memory. Rows are one chunk of 16 bytes longer than their features, so that eight rows
    begin in different banks.

    Attributes:
        key_row: numbers of a row of keys or queries.
        value_row: numbers of a row of values or results.
        stage: bytes of a stage: its keys, then its values.
        queries: byte where queries are, at first or always.
        weights: byte where weights are, of kernels without tensor cores.
        numbers: byte where the numbers of listed keys are.
        bytes: of all.
    """

    key_row: int
    value_row: int
    stage: int
    queries: int
    weights: int
    numbers: int
    bytes: int


def shared_plan(spec: AnyAttentionSpec, schedule: CudaAttentionSchedule) -> SharedPlan:
    """Lay out the tiles. Queries that go to registers, and results, take the place of keys and values."""
    own = attention_of(spec)
    chunk = _CHUNK_BYTES // own.bytes
    key_row = _up(own.dim, _FRAGMENT if own.tensor_cores else chunk) + chunk
    value_row = _up(own.value_dim, _FRAGMENT if own.tensor_cores else 32) + chunk
    stage = schedule.keys * (key_row + value_row) * own.bytes
    queries, results = (schedule.queries * row * own.bytes for row in (key_row, value_row))
    stages = schedule.stages * stage
    if own.tensor_cores:
        passing = held_depth(own, schedule) * _FRAGMENT >= own.dim
        place = stage * (schedule.stages - 1) if passing else max(stages, results)
        weights, numbers = 0, max(stages, place + queries, results)
    else:
        place = max(stages, results)
        weights = place + queries
        numbers = weights + schedule.queries * weight_row(schedule) * own.bytes
    listed = RING * schedule.keys * 8 if isinstance(spec, CudaBlockAttentionSpec) else 0
    return SharedPlan(key_row, value_row, stage, place, weights, numbers, numbers + listed)


def held_depth(spec: CudaAttentionSpec, schedule: CudaAttentionSchedule) -> int:
    """How many fragments of each of its tiles of queries a warp holds in registers; it reads others in each step."""
    return min(
        _up(spec.dim, _FRAGMENT) // _FRAGMENT, schedule.held, _HELD // (4 * schedule.warp_rows // _FRAGMENT)
    )


def weight_row(schedule: CudaAttentionSchedule) -> int:
    """Numbers of a row of weights in shared memory."""
    return schedule.keys + 4


def attention_of(spec: AnyAttentionSpec) -> CudaAttentionSpec:
    """What both kernels share."""
    return spec.attention if isinstance(spec, CudaBlockAttentionSpec) else spec


def check(spec: AnyAttentionSpec, target: Target, schedule: CudaAttentionSchedule) -> SharedPlan:
    """The plan of a schedule that fits.

    Raises:
        ScheduleError: it does not.
        BuildError: the device does not compute with such numbers.
    """
    plan, own = shared_plan(spec, schedule), attention_of(spec)
    if own.dtype == "bfloat16" and not has_ampere_instructions(target):
        raise BuildError(
            f"cuda attention: expected sm_80 or later for bfloat16, got {target.cpu}; take float16"
        )
    most = shared_bytes(target)
    rows = _FRAGMENT if own.tensor_cores else 4
    whole = schedule.warps > 0 and schedule.queries % (schedule.warps * rows) == 0 and schedule.keys % 16 == 0
    if not whole or schedule.stages not in (1, 2) or plan.bytes > most:
        raise ScheduleError(
            f"cuda attention: expected whole tiles, 1 or 2 stages and at most {most} bytes of shared memory on "
            f"{target.cpu}, got {schedule} with {plan.bytes} bytes"
        )
    return plan


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _tiles(spec: AnyAttentionSpec) -> list[int]:
    """Tiles of queries, largest first: no larger than a row, and of float32 than what leaves place for keys."""
    most = 128 if attention_of(spec).tensor_cores else 64
    if isinstance(spec, CudaBlockAttentionSpec):
        most = min(most, max(_FRAGMENT, _up(spec.q_block, _FRAGMENT)))
    return [queries for queries in (128, 64, 32, 16) if queries <= most]


def _light(spec: AnyAttentionSpec) -> bool:
    """A score takes no more than a mask of its key: nothing else needs registers beside the sums."""
    own = attention_of(spec)
    added = own.bias is not None or own.softcap or (own.mask is not None and own.mask.full[2])
    return not added and not (isinstance(spec, CudaBlockAttentionSpec) and spec.partial)


def _shapes(spec: AnyAttentionSpec, target: Target, queries: int) -> list[CudaAttentionSchedule]:
    """Schedules of so many queries, best first of those that registers are enough for, as ptxas tells.

    Warps with 32 queries read each key and value for twice as many products as those with 16. What they leave of
    registers is divided by ``benchmarks/attention_bounds.py``: thread blocks whose products hide the exponentials of
    others, or queries that need not be read again.
    """
    own, light = attention_of(spec), _light(spec)
    widest = max(own.dim, own.value_dim)

    def made(
        keys: int, share: int, held: int = _WIDEST // _FRAGMENT, blocks: int = 0
    ) -> CudaAttentionSchedule:
        return CudaAttentionSchedule(queries, keys, queries // share, 2, held, blocks)

    if not own.tensor_cores:
        return [made(32, 16)] if light else [made(16, 16), made(32, 16)]
    narrow = [made(32, 16)] if widest > 96 and not light else [made(64, 16), made(32, 16)]
    if queries < 128 or not light or not has_ampere_instructions(target):
        return narrow
    if widest > 96:
        tight = own.mask is not None  # what remains for it beside the sums of 32 queries is not enough
        return [*([] if tight else [made(32, 32, 0, 2)]), *narrow, made(32, 16, 2, 2)]
    if widest > 64:
        return [made(32, 32), *narrow]
    if any(128 % (_up(size, _FRAGMENT) // 8) for size in (own.dim, own.value_dim)):
        return [made(64, 32), *narrow]  # places of chunks that are not in columns take registers, too
    if own.mask is not None:
        return [made(32, 32, 0, 3), made(64, 32), *narrow]
    whole = widest <= 32 or (own.before is None and own.after is None)
    return [*([made(32, 32, 0, 4)] if whole else []), made(32, 32, blocks=3), made(64, 32), *narrow]


def _candidates(spec: AnyAttentionSpec, target: Target) -> list[CudaAttentionSchedule]:
    """Those that fit, best first by what is known of such kernels: large tiles, then loads behind products."""
    own = attention_of(spec)
    narrow = own.tensor_cores or max(own.dim, own.value_dim) <= 64
    stages = (1,) if not has_ampere_instructions(target) else (2, 1) if narrow else (1, 2)
    found = [
        replace(schedule, stages=stage)
        for queries in _tiles(spec)
        for schedule in _shapes(spec, target, queries)
        for stage in stages
    ]
    return [schedule for schedule in found if _fits(spec, target, schedule)]


def _fits(spec: AnyAttentionSpec, target: Target, schedule: CudaAttentionSchedule) -> bool:
    """Whether shared memory is enough for a thread block, and for as many as registers are to be enough for."""
    size, most = shared_plan(spec, schedule).bytes, shared_bytes(target)
    return size <= most and schedule.blocks * (size + RESERVED_BYTES) <= most + RESERVED_BYTES


def _default(spec: AnyAttentionSpec, target: Target) -> CudaAttentionSchedule:
    return _candidates(spec, target)[0]


def _legal(spec: AnyAttentionSpec, target: Target) -> tuple[CudaAttentionSchedule, ...]:
    return tuple(_candidates(spec, target))


def _bound(schedule: CudaAttentionSchedule, _: Target) -> float:
    """Words of shared memory that a warp reads for each of its products."""
    return 1 / schedule.warp_rows


def _blocks(spec: AnyAttentionSpec, schedule: CudaAttentionSchedule, workload: KernelWorkload) -> int:
    """One for each tile of queries of a head of a sequence."""
    queries = workload.shape[4]
    return workload.tokens // queries * attention_of(spec).heads * -(-queries // schedule.queries)


ATTENTION_SCHEDULES = Schedules(CudaAttentionSchedule, _default, _legal, _bound, _blocks)
