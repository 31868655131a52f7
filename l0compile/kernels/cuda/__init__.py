"""CUDA kernels. One so far: it shows that the way to a cubin is open; it is not tuned and no model is lowered to it."""

from l0compile.kernels.cuda.bsr_linear import bsr_linear as bsr_linear
from l0compile.kernels.cuda.cubin import cubin as cubin
from l0compile.kernels.cuda.cubin import cuda_source as cuda_source
