"""Sizes in C: the same numbers as TensorIR, whatever their signs."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import BuildError
from l0compile.hardware._tvm import cc, tirx
from l0compile.lower.cuda.expressions import c_expression, c_type

N, M = tirx.Var("n", "int64"), tirx.Var("m", "int64")
NAMES = {N: "n", M: "m"}
ROUTINES = Path(__file__).parents[3] / "l0compile" / "lower" / "cuda" / "host.c"


Sized = tuple[Any, Callable[[int, int], int]]
"""A TensorIR expression of n and m, and the same in Python."""


def trees() -> st.SearchStrategy[Sized]:
    leaves: st.SearchStrategy[Sized] = st.one_of(
        st.sampled_from([(N, lambda n, m: n), (M, lambda n, m: m)]),
        st.integers(1, 40).map(lambda value: (tirx.const(value, "int64"), lambda n, m: value)),
    )

    def grown(inner: st.SearchStrategy[Sized]) -> st.SearchStrategy[Sized]:
        two, by_number = st.tuples(inner, inner), st.tuples(inner, st.integers(1, 9))
        return st.one_of(
            two.map(lambda p: _joined(p, lambda a, b: a + b, lambda a, b: a + b)),
            two.map(lambda p: _joined(p, lambda a, b: a - b, lambda a, b: a - b)),
            two.map(lambda p: _joined(p, tirx.max, max)),
            two.map(lambda p: _joined(p, lambda a, b: tirx.Select(a < b, a, b), min)),
            by_number.map(lambda p: _with_number(p, tirx.floordiv, lambda a, b: a // b)),
            by_number.map(lambda p: _with_number(p, tirx.floormod, lambda a, b: a % b)),
        )

    return st.recursive(leaves, grown, max_leaves=6)


def _joined(parts: Any, tree: Any, python: Any) -> Sized:
    (a, of_a), (b, of_b) = parts
    return tree(a, b), lambda n, m: python(of_a(n, m), of_b(n, m))


def _with_number(parts: Any, tree: Any, python: Any) -> Sized:
    (a, of_a), number = parts
    return tree(a, tirx.const(number, "int64")), lambda n, m: python(of_a(n, m), number)


@settings(max_examples=4)
@given(made=st.lists(trees(), min_size=30, max_size=30))
def test_c_computes_what_python_does(made: list[Sized], tmp_path_factory: pytest.TempPathFactory) -> None:
    pairs = [(7, -3), (0, 5), (123, 45)]
    folder = tmp_path_factory.mktemp("c")
    values = "".join(f'printf("%lld\\n", (long long){c_expression(tree, NAMES)});' for tree, _ in made)
    blocks = "".join(f"{{ int64_t n = {n}, m = {m}; (void)n; (void)m; {values} }}" for n, m in pairs)
    code = f"#include <stdio.h>\n{ROUTINES.read_text()}\nint main(void) {{ {blocks} return 0; }}\n"
    (folder / "sizes.c").write_text(code)
    subprocess.run([str(cc.get_cc()), "-w", "-o", folder / "sizes", folder / "sizes.c"], check=True)
    printed = subprocess.run([folder / "sizes"], capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in printed.split()] == [of(n, m) for n, m in pairs for _, of in made]


def test_what_has_no_place_in_host_code_is_refused() -> None:
    with pytest.raises(BuildError, match="a size that the inputs tell, got other"):
        c_expression(tirx.Var("other", "int64"), NAMES)
    with pytest.raises(BuildError, match="whole-number arithmetic"):
        c_expression(tirx.exp(tirx.Cast("float32", N)), NAMES)
    with pytest.raises(BuildError, match="a number that C has, got float16"):
        c_type("float16")
