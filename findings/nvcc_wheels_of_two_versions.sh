#!/usr/bin/env bash
# nvidia-cuda-nvcc 13.0.88 with nvidia-nvvm, nvidia-cuda-crt and nvidia-cuda-runtime 13.5.37, all from PyPI: what
# `pip install nvidia-cuda-nvcc==13.0.88` installs in November 2026. Linux, no GPU.
#
# Guess: a compiler of one pinned version compiles; its wheel asks for the parts of its own version.
# Seen: it asks for its parts without any version, so pip takes the newest. The front end of 13.5 (nvidia-nvvm) then writes
# PTX 9.5, and the assembler of 13.0, which lies in nvidia-cuda-nvcc itself, refuses every kernel: "Unsupported .version 9.5;
# current version is '9.0'". pip check finds nothing wrong. All parts of one release compile.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/scale.cu" <<'CU'
__global__ void scale(float* x) { x[threadIdx.x] *= 2.0f; }
CU
compile() {
    PATH=/usr/bin:/bin "$(find "$folder/venv" -path '*/bin/nvcc' -type f)" \
        -cubin -arch=sm_90 -o "$folder/scale.cubin" "$folder/scale.cu" 2>&1
}
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-cuda-runtime==13.5.37
"$folder/venv/bin/pip" check
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import requires

asked = requires("nvidia-cuda-nvcc")
print("nvidia-cuda-nvcc 13.0.88 asks for", asked)
assert not any(sign in each for each in asked for sign in "<>=~")
PY
if said=$(compile); then
    echo "it compiles now"
    exit 1
fi
echo "$said"
grep -q "Unsupported .version 9.5" <<<"$said"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
compile && echo "with all parts of 13.0 it compiles"
