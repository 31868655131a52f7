"""Random records, few enough keys for them to meet."""

from hypothesis import strategies as st

from l0compile.hardware.costs import CostKey, CostPlace, CostRecord, KernelWorkload

WORK = st.builds(
    KernelWorkload,
    op=st.sampled_from(["linear", "norm"]),
    shape=st.sampled_from([(384, 384), (1536, 384), ()]),
    block=st.sampled_from([None, (4, 1), (32, 32)]),
    density=st.sampled_from([1.0, 0.5, 0.02]),
    tokens=st.sampled_from([1, 128]),
    variant=st.sampled_from(["", "gelu", "größer \\ \"'\n"]),
)
PLACE = st.builds(
    CostPlace, st.sampled_from(["a", "b; L2 1 MiB"]), st.sampled_from([1, 2]), st.just("apache-tvm 0; x 1")
)
SCHEDULE = st.dictionaries(
    st.sampled_from(["rows", "layout", "fused"]),
    st.booleans() | st.integers(0, 9) | st.sampled_from(["a", "b"]),
).map(lambda fields: tuple(sorted(fields.items())))
TIMES = st.floats(1e-6, 1e6)


@st.composite
def records(draw: st.DrawFn) -> CostRecord:
    key, schedule = CostKey(draw(WORK), draw(PLACE)), draw(SCHEDULE)
    date = draw(st.sampled_from(["", "2026-11-23"]))
    if draw(st.integers(0, 4)) == 0:
        return CostRecord(key, schedule, None, date=date, error=draw(st.sampled_from(["spills", "crashed"])))
    low, ms, high = sorted(draw(st.tuples(TIMES, TIMES, TIMES)))
    return CostRecord(key, schedule, ms, low, high, draw(st.integers(0, 1000)), date)


def record(ms: float, tokens: int = 1, rows: int = 4) -> CostRecord:
    """One plain record."""
    key = CostKey(KernelWorkload("linear", (8, 8), (4, 1), 0.5, tokens), CostPlace("cpu", 2, "v"))
    return CostRecord(key, (("rows", rows),), ms, ms, ms, 10, "2026-11-23")
