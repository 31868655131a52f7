#!/usr/bin/env bash
# nvidia-cuda-nvcc, nvidia-nvvm and nvidia-cuda-crt 13.0.88, nvidia-cuda-runtime 13.0.96, from PyPI. Linux, no GPU.
#
# Guess: a kernel's dynamic shared memory begins at a multiple of what that kernel declares: __align__(1024) is needed where
# matrices are read in swizzles of 128 bytes (wgmma, TMA).
# Seen: all kernels of a file that give it one name share the alignment of the first declaration, even if a later one asks
# for more; nvcc says so in warning 1886 and goes on. What 1024 becomes depends on which kernel stands first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
nvcc=$(find "$folder/venv" -path '*/bin/nvcc' -type f)
kernel() {
    echo "extern \"C\" __global__ void $1(int* out) {"
    echo "  extern __shared__ __align__($2) unsigned char memory[];"
    echo "  memory[threadIdx.x] = threadIdx.x; __syncthreads(); out[threadIdx.x] = memory[threadIdx.x ^ 1];"
    echo "}"
}
declared() {
    PATH=/usr/bin:/bin "$nvcc" -arch=sm_90a -ptx -o "$1.ptx" "$1.cu" 2> "$1.said"
    grep -o 'extern .shared .align [0-9]*' "$1.ptx"
}
{ kernel small 64; kernel large 1024; } > "$folder/small_first.cu"
{ kernel large 1024; kernel small 64; } > "$folder/large_first.cu"
"$nvcc" --version | tail -2
for file in small_first large_first; do
    echo "$file: $(declared "$folder/$file")"
    grep -q 'warning #1886-D' "$folder/$file.said"
done
test "$(declared "$folder/small_first")" = 'extern .shared .align 64'
test "$(declared "$folder/large_first")" = 'extern .shared .align 1024'
