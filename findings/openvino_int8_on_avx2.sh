#!/usr/bin/env bash
# openvino 2026.4.1 on a CPU with AVX2 and without VNNI, which it says can do INT8: linear layers of 8-bit weights behind FakeQuantize,
# asked for float32.
#
# Guess: sums of integers are exact, as where there is VNNI, and layers take about half of the time of float32.
# Seen: two neighbouring products are added in 16 bits, which saturate: weights of 127 times inputs of 255 come out as half of what
# they are, with no word about it; smaller numbers are right. And four layers take as long as in float32 (jit_gemm_i8).
set -euo pipefail
if ! grep -qw avx2 /proc/cpuinfo || grep -qE 'avx512bw|avx512_vnni|avx_vnni' /proc/cpuinfo; then
    echo "this CPU has VNNI, AVX-512 or no AVX2: nothing to see"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import time

import numpy as np
import openvino
from openvino import opset13 as ops

core = openvino.Core()
assert "INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled(tokens, weights, high, levels):
    """Layers one after the other; ``weights``: float32, or int8 with a scale of 1 behind a FakeQuantize."""
    x = value = ops.parameter([tokens, weights[0].shape[1]], np.float32)
    for weight in weights:
        factor = ops.constant(weight)
        if weight.dtype == np.int8:
            ends = [ops.constant(np.float32(end)) for end in (0, high, 0, high)]
            value = ops.fake_quantize(value, *ends, levels)
            factor = ops.multiply(ops.convert(factor, np.float32), ops.constant(np.ones((len(weight), 1), np.float32)))
        value = ops.matmul(value, factor, False, True)
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(openvino.Model([value], [x]), "CPU", hints)


weight = np.full((8, 64), 127, np.int8)
weight[4:] = 60
layer = compiled(4, [weight], 255, 256)
for level in (255, 128):
    found, right = layer(np.full((4, 64), level, np.float32))[0][0], level * 64 * weight[:, 0].astype(np.float32)
    print(level, "weights of 127 and 60:", found[[0, 7]], "right:", right[[0, 7]])
    assert found[7] == right[7] and (found[0] == right[0]) == (level == 128)
    assert level == 128 or found[0] == 64 * 32767 / 2

rng = np.random.default_rng(0)
weights = [rng.integers(-63, 64, (n, k)).astype(np.int8) for k, n in ((384, 1536), (1536, 384)) * 2]
models = {
    "float32": compiled(128, [each.astype(np.float32) for each in weights], 255, 256),
    "int8": compiled(128, weights, 255, 256),
}
x, best = rng.uniform(0, 255, (128, 384)).astype(np.float32), dict.fromkeys(models, 9.0)
for _ in range(30):
    for name, model in models.items():
        start = time.perf_counter()
        model(x)
        best[name] = min(best[name], time.perf_counter() - start)
print({name: f"{1e3 * seconds:.1f} ms" for name, seconds in best.items()})
kinds = [op.get_rt_info()["primitiveType"] for op in models["int8"].get_runtime_model().get_ops()]
assert sum("jit_gemm_i8" in str(kind.get()).lower() for kind in kinds) == len(weights)
assert best["float32"] < 1.5 * best["int8"]
PY
