"""From a PrimFunc to CUDA source, machine code, and facts about that code. Needs no GPU."""

from l0compile.kernels.cuda.toolchain.compiled_facts import CompiledFacts, compiled_facts, facts_of
from l0compile.kernels.cuda.toolchain.cubin import Compiled, compile_source, cubin
from l0compile.kernels.cuda.toolchain.find import Toolchain, compiler_stamp, find_toolchain, has_nvcc
from l0compile.kernels.cuda.toolchain.sass import Instructions, count_instructions
from l0compile.kernels.cuda.toolchain.source import CudaCode, CudaLaunch, cuda_code, cuda_source

__all__ = [
    "Compiled",
    "CompiledFacts",
    "CudaCode",
    "CudaLaunch",
    "Instructions",
    "Toolchain",
    "compile_source",
    "compiled_facts",
    "compiler_stamp",
    "count_instructions",
    "cubin",
    "cuda_code",
    "cuda_source",
    "facts_of",
    "find_toolchain",
    "has_nvcc",
]
