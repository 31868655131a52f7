"""The kernel that adds up what thread blocks computed of their parts of k."""

from l0compile.kernels.cpu.lanes import store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.numbers import load_numbers
from l0compile.kernels.cuda.linear.results import LinearEpilogue, Parts
from l0compile.kernels.tir import TB

_THREADS = 128


def add_parts(epilogue: LinearEpilogue, parts: Parts, splits: int) -> None:
    """``parts`` -> y: each thread adds up and finishes a chunk of results."""
    spec, tokens = epilogue.spec, epilogue.to.tokens
    chunks = -(-spec.n // epilogue.count)
    blocks = (tokens * chunks + (_THREADS - 1)) // _THREADS
    with (
        TB.launch_thread("blockIdx.x", TB.max(blocks, 1)) as block,
        TB.launch_thread("threadIdx.x", _THREADS) as thread,
    ):
        item = ptx.kept(TB.cast(block, "int64") * _THREADS + thread, "int64")
        token, column = (
            ptx.kept(item // chunks, "int64"),
            ptx.kept(TB.cast(item % chunks, "int32") * epilogue.count),
        )
        with TB.If(token < tokens), TB.Then():
            sums, part = (ptx.registers(epilogue.count, "float32") for _ in range(2))
            for split in range(splits):
                row = parts.row(split * tokens + token)
                load_numbers(part if split else sums, row, column, epilogue.count, spec.n, "float32")
                for i in range(epilogue.count if split else 0):
                    store(sums, sums[i] + part[i], i)
            epilogue.write(sums, epilogue.bias(column), token, column)
