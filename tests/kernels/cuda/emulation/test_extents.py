"""Integer expressions of TIR as numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import BuildError, InputError
from l0compile.hardware._tvm import tirx
from l0compile.kernels.cuda.emulation.extents import value_of

N, M = tirx.Var("n", "int64"), tirx.Var("m", "int64")


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


@given(n=st.integers(-50, 50), m=st.integers(-50, 50).filter(bool))
def test_values_are_those_of_python(n: int, m: int) -> None:
    sizes = {"n": n, "m": m}
    expected: list[tuple[Any, int]] = [
        (N * 3 - M + 7, n * 3 - m + 7),
        (tirx.floordiv(N, M), n // m),
        (tirx.floormod(N, M), n % m),
        (tirx.truncdiv(N, M), truncated(n, m)),
        (tirx.truncmod(N, M), n - m * truncated(n, m)),
        (tirx.max(N, M) - tirx.min(N, M), abs(n - m)),
        (tirx.Cast("int64", tirx.Cast("int32", N)), n),
        (tirx.Select(N < M, N, M), min(n, m)),
        (tirx.if_then_else(tirx.all(N > 0, M > 0), N + 1, M), n + 1 if n > 0 and m > 0 else m),
        (tirx.if_then_else(tirx.any(N >= 7, tirx.Not(M <= 3)), 1, 2), 1 if n >= 7 or m > 3 else 2),
        (tirx.bitwise_and(N, 12), n & 12),
        (tirx.shift_left(M, tirx.const(2, "int64")), m << 2),
    ]
    assert [value_of(expression, sizes) for expression, _ in expected] == [value for _, value in expected]


def test_a_name_that_the_host_gave_is_looked_up_first() -> None:
    k = tirx.Var("k", "int64")
    assert value_of(k + 1, {"n": 5}, {"k": N * 2}) == 11


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(InputError, match="size 'm' is shown by no array"):
        value_of(N + M, {"n": 1})
    with pytest.raises(BuildError, match="expected an integer expression of sizes"):
        value_of(tirx.exp(tirx.Var("f", "float32")), {})
