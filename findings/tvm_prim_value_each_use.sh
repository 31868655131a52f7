#!/usr/bin/env bash
# apache-tvm 0.27.0.post1, a Relax function with a symbolic size that passes the same number, 2 * n, to three kernels.
#
# Guess: sizes are kept in one table of a call (the VM's shape heap), so 2 * n is computed once a call, as the sizes of
# tensors are, wherever relax.prim_value(2 * n) stands.
# Seen: each place is computed again by a kernel of its own: three kernels of the user make six calls of functions, and a
# transformer that passes its number of tokens to every kernel makes twice as many as it has kernels. Binding the number
# to a variable first, and passing that, leaves one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
cat > "$folder/sizes.py" <<'PY'
import numpy as np
import tvm
from tvm import relax, tirx
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def add(x_handle: T.handle, count: T.int64, y_handle: T.handle):
    n = T.int64()
    x, y = T.match_buffer(x_handle, (n,), "float32"), T.match_buffer(y_handle, (n,), "float32")
    for i in range(n):
        with T.sblock("add"):
            place = T.axis.remap("S", [i])
            y[place] = x[place] + T.Cast("float32", count)


def calls(bound: bool) -> tuple[int, list[float]]:
    """How often the compiled function computes a size, and its result for three numbers."""
    builder, n = relax.BlockBuilder(), tirx.Var("n", "int64")
    vector = relax.TensorType([n], "float32")
    x = relax.Var("x", vector)
    with builder.function("main", [x]):
        with builder.dataflow():
            kernel, value = builder.add_func(add, "add"), x
            known = builder.emit(relax.prim_value(2 * n)) if bound else None
            for _ in range(3):
                size = known if bound else relax.prim_value(2 * n)
                value = builder.emit(relax.call_tir(kernel, relax.Tuple([value, size]), vector))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    built = relax.build(builder.get(), tvm.target.Target({"kind": "llvm"}))
    machine = relax.VirtualMachine(built, tvm.cpu())
    answer = machine["main"](tvm.runtime.tensor(np.zeros(3, np.float32))).numpy().tolist()
    text = "\n".join(line for line in built.as_text().splitlines() if line.lstrip().startswith("call"))
    return text.count("compute_symbolic_expr"), answer


print(*calls(bound=False))
print(*calls(bound=True))
PY
seen=$("$folder/venv/bin/python" -W ignore "$folder/sizes.py")
echo "computations of a size in a call, and the result; three places, then one variable"
echo "$seen"
test "$seen" = "3 [18.0, 18.0, 18.0]
1 [18.0, 18.0, 18.0]"
