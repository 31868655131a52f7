#!/usr/bin/env bash
# ncnn 1.0.20261020 on an x86-64 CPU with F16C (Haswell and later): a linear layer (InnerProduct) of a file with float32 weights.
#
# Guess: half precision is for ARM and GPUs; on x86 what is stored as float32 is computed in float32, as convolutions are.
# Seen: opt.use_fp16_storage is on, and on x86 linear layers heed it: weights are cut to 11 bits when the model is loaded, towards
# zero and not to the nearest, so all shrink a little (1.0001 and 1.0009 are 1). Those of 1e-9 become zeros, and those above 65,504
# become 65,504, not infinity, so nothing looks odd. Answers are off by 5e-4 in place of 1e-7. use_fp16_storage = False before
# load_param gives float32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ncnn==1.0.20261020 numpy==2.4.6
grep -q f16c /proc/cpuinfo || { echo "this CPU has no F16C"; exit 0; }
"$folder/venv/bin/python" -W ignore - "$folder" <<'PY'
import struct
import sys

import ncnn
import numpy as np

OUTPUTS, INPUTS = 4, 8


def answer(weight, x, **options):
    with open(sys.argv[1] + "/layer.param", "w") as file:
        file.write("7767517\n2 2\nInput x 0 1 x\n" f"InnerProduct layer 1 1 x y 0={OUTPUTS} 1=0 2={OUTPUTS * INPUTS}\n")
    with open(sys.argv[1] + "/layer.bin", "wb") as file:
        file.write(struct.pack("<I", 0) + weight.astype(np.float32).tobytes())  # 0: float32 follows
    net = ncnn.Net()
    for name, value in options.items():
        setattr(net.opt, name, value)
    net.load_param(sys.argv[1] + "/layer.param")
    net.load_model(sys.argv[1] + "/layer.bin")
    extractor = net.create_extractor()
    extractor.input("x", ncnn.Mat(x))
    return np.array(extractor.extract("y")[1])


random = np.random.default_rng(0)
x = random.normal(size=INPUTS).astype(np.float32)
weights = {"random": random.normal(size=(OUTPUTS, INPUTS)), "1.0009": 1.0009, "1e-9": 1e-9, "1e5": 1e5}
for name, weight in weights.items():
    weight = np.broadcast_to(np.float32(weight), (OUTPUTS, INPUTS)).copy()
    short = (np.clip(weight, -65504, 65504).view(np.uint32) & 0xFFFFE000).view(np.float32)  # cut off, not rounded
    exact, half = weight @ x, np.where(abs(short) < 2**-14, short.astype(np.float16), short).astype(np.float32) @ x
    plain, wide = answer(weight, x), answer(weight, x, use_fp16_storage=False)
    print(name, "exact", exact[0], "by default", plain[0], "without fp16 storage", wide[0])
    assert np.allclose(wide, exact, rtol=1e-5, atol=0) and np.allclose(plain, half, rtol=1e-4, atol=1e-7)
    assert not np.allclose(plain, exact, rtol=1e-4, atol=0)
PY
