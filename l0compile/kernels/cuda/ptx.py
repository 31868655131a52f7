"""PTX instructions for kernels: small device functions in the CUDA source, and a Python function that calls each.

TVM inserts barriers, shrinks buffers and shares their memory by what it sees of loads and stores, and it cannot see
into these functions. So shared memory is one piece whose address is asked for once, ``shared_memory``; from then on its
addresses are numbers (int32, in bytes), and a kernel lays out tiles and waits for them by itself, with ``barrier``.

Registers are local buffers of constant size, indexed by constants; functions take the place of the first of theirs.
Fragments are as the PTX manual has them ("Matrix fragments for mma.m16n8k16" and the like): of a matrix A 16 rows by
32 bytes of k in 4 registers, of B 8 columns by 32 bytes in 2, of the sums 16 x 8 in 4.
"""

import contextlib
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, local, store
from l0compile.kernels.tir import TB, tirx

COPY_BYTES = (4, 8, 16)
"""Bytes that one ``cp_async`` copies."""


SHARED_ALIGNMENT = 64
"""Bytes that the address of shared memory is a multiple of.

Only this much can be asked for: of the kernels in one file, the first one's declaration holds for all, says nvcc in a
warning, and TVM's own declare 64.
"""


def shared_memory(size: int, alignment: int = SHARED_ALIGNMENT) -> Expr:
    """The address of shared memory; a kernel asks for all of its at once.

    Args:
        size: bytes, with ``alignment - SHARED_ALIGNMENT`` to spare.
        alignment: bytes that the address is rounded up to.
    """
    memory = TB.alloc_buffer((size,), "uint8", scope="shared.dyn", layout=None)
    start = memory.access_ptr("rw", extent=size)
    address = kept(_value("int32", "ptx_shared_address", _SHARED_ADDRESS, start))
    if alignment <= SHARED_ALIGNMENT:
        return address
    return kept(TB.bitwise_and(address + (alignment - SHARED_ALIGNMENT), tirx.const(-alignment, "int32")))


def least_blocks(count: int) -> Any:
    """Code of a kernel whose registers are few enough for ``count`` thread blocks of a multiprocessor; 0: any number.

    A context manager inside those of the launch.
    """
    if not count:
        return contextlib.nullcontext()
    return TB.attr({"tirx.launch_bounds_min_blocks_per_sm": count})


def loop(count: Expr) -> Any:
    """A loop that stays one: copies of its body would want more registers. A context manager."""
    return TB.serial(0, count, annotations={"disable_unroll": True})


def registers(count: int, dtype: str = "uint32") -> Any:
    """``count`` registers of a thread."""
    return local((count,), dtype)


def at(buffer: Any, first: int = 0) -> Expr:
    """The place of register ``first``, for functions that read or write several from there on."""
    return buffer.access_ptr("rw", offset=first)


def kept(value: Expr, dtype: str = "int32") -> Expr:
    """A value in a register of its own. Python names are macros here: what is read twice would be computed twice."""
    register = local((1,), dtype)
    store(register, value, 0)
    return register[0]


def barrier() -> None:
    """Wait for all threads of the block, and see what they wrote to shared memory."""
    TB.evaluate(tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared"))


def ldmatrix(to: Expr, source: Expr, count: int, transposed: bool = False) -> None:
    """Load ``count`` (1, 2, 4) matrices of 8 rows by 16 bytes, one a register. Needs sm_75.

    Args:
        to: place of ``count`` registers. Of matrix i, lane l gets bytes 4 (l % 4) to 4 (l % 4) + 3 of row l / 4 in
            register i. Transposed: elements 2 (l % 4) and 2 (l % 4) + 1, of 16 bits, of column l / 4.
        source: shared address, of lane l: where row l % 8 of matrix l / 8 begins; a multiple of 16.
    """
    name = f"ptx_ldmatrix_x{count}" + ("_trans" if transposed else "")
    form = f"ldmatrix.sync.aligned.m8n8.x{count}" + (".trans" if transposed else "") + ".shared.b16"
    code = asm(f"{form} {braces(0, count)}, [%{count}];", _outputs("to", count), '"r"(source)')
    call(name, f"void {name}(unsigned int* to, int source)", code, to, source)


def mma(dtype: str, sums: Expr, a: Expr, b: Expr) -> None:
    """sums += A B: 16 x 8 sums of float32, of k products each. Needs sm_80.

    Args:
        dtype: "float16" and "bfloat16" (k 16), "tf32" (k 8) or "int8" (k 32; A is unsigned, B signed, sums are int32,
            which wrap).
        sums, a, b: places of 4, 4 and 2 registers.
    """
    k, types, kind = _MMA[dtype]
    _mma(f"m16n8k{k}", dtype, types, kind, 4, 2, sums, a, b)


def mma_k8(sums: Expr, a: Expr, b: Expr) -> None:
    """The same for float16 and k 8, of which A has 2 registers and B one. Needs sm_75."""
    _mma("m16n8k8", "float16", "f32.f16.f16.f32", "f", 2, 1, sums, a, b)


def mma_8_rows(sums: Expr, a: Expr, b: Expr) -> None:
    """The same for int8, 8 rows and k 16: places of 2 sums and of one register of A and of B. Needs sm_75."""
    _mma("m8n8k16", "int8", _MMA["int8"][1], "r", 1, 1, sums, a, b, of_sums=2)


def mma_sp(dtype: str, sums: Expr, a: Expr, b: Expr, places: Expr, selector: int) -> None:
    """sums += A B: 16 x 8 sums of float32 and k 32, where A has two of each four neighbours in a row. Needs sm_80.

    Args:
        dtype: "float16" or "bfloat16".
        sums, a, b: places of 4, 4 and 4 registers. Of A, registers as of a dense 16 x 16 matrix of what it has.
        places: uint32. Of the lanes 4 g + t with t / 2 = ``selector`` that of t % 2 tells of columns 16 (t % 2) to
            16 (t % 2) + 15 of row g in its lower and of row g + 8 in its upper half, in 4 bits for each four
            neighbours: two ascending numbers of two bits, the first one lowest.
        selector: 0 or 1, whose lanes tell.
    """
    short = _SHORT[dtype]
    form = f"mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.{short}.{short}.f32"
    d, more = braces(0, 4), f"%12, {selector}"
    code = asm(
        f"{form} {d}, {braces(4, 4)}, {braces(8, 4)}, {d}, {more};",
        ", ".join(f'"+f"(sums[{i}])' for i in range(4)),
        ", ".join([*(f'"r"({name}[{i}])' for name in "ab" for i in range(4)), '"r"(places)']),
        memory=False,
    )
    name = f"ptx_mma_sp_{dtype}_{selector}"
    head = f"void {name}(float* sums, const unsigned int* a, const unsigned int* b, unsigned int places)"
    call(name, head, code, sums, a, b, places)


_MMA = {
    "float16": (16, "f32.f16.f16.f32", "f"),
    "bfloat16": (16, "f32.bf16.bf16.f32", "f"),
    "tf32": (8, "f32.tf32.tf32.f32", "f"),
    "int8": (32, "s32.u8.s8.s32", "r"),
}


def _mma(
    shape: str, dtype: str, types: str, kind: str, of_a: int, of_b: int, sums: Expr, a: Expr, b: Expr, of_sums: int = 4
) -> None:  # fmt: skip
    name, number, d = f"ptx_mma_{shape}_{dtype}", "float" if kind == "f" else "int", braces(0, of_sums)
    places = ", ".join((d, braces(of_sums, of_a), braces(of_sums + of_a, of_b), d))
    code = asm(
        f"mma.sync.aligned.{shape}.row.col.{types} {places};",
        ", ".join(f'"+{kind}"(sums[{i}])' for i in range(of_sums)),
        ", ".join([*(f'"r"(a[{i}])' for i in range(of_a)), *(f'"r"(b[{i}])' for i in range(of_b))]),
        memory=False,
    )
    head = f"void {name}({number}* sums, const unsigned int* a, const unsigned int* b)"
    call(name, head, code, sums, a, b)


def to_tf32(value: Expr) -> Expr:
    """The bits (uint32) of a float32 rounded to TF32, to nearest. Needs sm_80."""
    code = _returned(asm("cvt.rna.tf32.f32 %0, %1;", '"=r"(result)', '"f"(value)', memory=False))
    return _value("uint32", "ptx_to_tf32", f"unsigned int ptx_to_tf32(float value) {{{code}}}", value)


def cp_async(to: Expr, source: Expr, size: int, live: Expr) -> None:
    """Begin to copy ``size`` bytes of global memory to shared memory; zeros where not ``live``. Needs sm_80.

    Args:
        to: shared address.
        source: pointer, not read unless ``live``. Both are multiples of ``size``.
        size: one of ``COPY_BYTES``; 16 bytes go past the first cache.
        live: a condition.
    """
    name, cache = f"ptx_cp_async_{size}", "cg" if size == 16 else "ca"
    code = asm(
        f"cp.async.{cache}.shared.global [%0], [%1], {size}, %2;", "", '"r"(to), "l"(source), "r"(live)'
    )
    head = f"void {name}(int to, const void* source, int live)"
    call(name, head, code, to, source, TB.Select(live, size, 0))


def commit_group() -> None:
    """What this thread began to copy since the last call is one group. Needs sm_80."""
    call("ptx_commit_group", "void ptx_commit_group()", asm("cp.async.commit_group;"))


def warp_barrier() -> None:
    """Wait for all threads of the warp, and see what they wrote to shared memory."""
    call("ptx_warp_barrier", "void ptx_warp_barrier()", asm("bar.warp.sync 0xffffffff;"))


def wait_group(pending: int) -> None:
    """Wait until all groups of this thread but the last ``pending`` have arrived. Needs sm_80."""
    name = f"ptx_wait_group_{pending}"
    call(name, f"void {name}()", asm(f"cp.async.wait_group {pending};"))


def load_shared(to: Expr, source: Expr, count: int = 4, dtype: str = "uint32") -> None:
    """``count`` (1, 2, 4) registers from shared memory, at an address that is a multiple of their bytes."""
    name = f"ptx_load_shared_{dtype}x{count}"
    form = f"ld.shared{_vector(count)} {_list(0, count)}, [%{count}];"
    code = asm(form, _outputs("to", count, dtype), '"r"(source)')
    call(name, f"void {name}({_C[dtype]}* to, int source)", code, to, source)


def store_shared(to: Expr, source: Expr, count: int = 4, dtype: str = "uint32") -> None:
    """``count`` (1, 2, 4) registers to shared memory, at an address that is a multiple of their bytes."""
    name = f"ptx_store_shared_{dtype}x{count}"
    inputs = ", ".join(['"r"(to)', _inputs("source", count, dtype)])
    code = asm(f"st.shared{_vector(count)} [%0], {_list(1, count)};", "", inputs)
    call(name, f"void {name}(int to, const {_C[dtype]}* source)", code, to, source)


def load_global(to: Expr, source: Expr, count: int = 4, dtype: str = "uint32") -> None:
    """``count`` (1, 2, 4) registers from memory that the kernel does not write, at a multiple of their bytes."""
    name = f"ptx_load_global_{dtype}x{count}"
    form = f"ld.global.nc{_vector(count)} {_list(0, count)}, [%{count}];"
    code = asm(form, _outputs("to", count, dtype), '"l"(source)')
    call(name, f"void {name}({_C[dtype]}* to, const void* source)", code, to, source)


def store_global(to: Expr, source: Expr, count: int = 4, dtype: str = "uint32") -> None:
    """``count`` (1, 2, 4) registers to memory, at a multiple of their bytes."""
    name = f"ptx_store_global_{dtype}x{count}"
    inputs = ", ".join(['"l"(to)', _inputs("source", count, dtype)])
    code = asm(f"st.global{_vector(count)} [%0], {_list(1, count)};", "", inputs)
    call(name, f"void {name}(void* to, const {_C[dtype]}* source)", code, to, source)


def load_global_16(source: Expr) -> Expr:
    """The 16 bits at ``source``, in memory that the kernel does not write, as uint32."""
    instruction = asm("ld.global.nc.u16 %0, [%1];", '"=h"(bits)', '"l"(source)')
    head = "unsigned int ptx_load_global_16(const void* source)"
    code = f"{{ unsigned short bits; {instruction} return bits; }}"
    return _value("uint32", "ptx_load_global_16", f"{head} {code}", source)


def store_global_16(to: Expr, bits: Expr) -> None:
    """The low 16 bits of a uint32 to memory."""
    code = asm("st.global.u16 [%0], %1;", "", '"l"(to), "h"((unsigned short)bits)')
    call("ptx_store_global_16", "void ptx_store_global_16(void* to, unsigned int bits)", code, to, bits)


def rounded(value: Expr, dtype: str) -> Expr:
    """The bits (uint32, the upper half zero) of a float32 rounded to "float16" or, from sm_80 on, "bfloat16"."""
    short, name = _SHORT[dtype], f"ptx_to_{dtype}"
    instruction = asm(f"cvt.rn.{short}.f32 %0, %1;", '"=h"(bits)', '"f"(value)', memory=False)
    code = f"{{ unsigned short bits; {instruction} return bits; }}"
    return _value("uint32", name, f"unsigned int {name}(float value) {code}", value)


def rounded_pair(low: Expr, high: Expr, dtype: str) -> Expr:
    """Two float32 as two numbers of 16 bits, ``low`` in the lower half. Needs sm_80."""
    name = f"ptx_to_{dtype}x2"
    instruction = f"cvt.rn.{_SHORT[dtype]}x2.f32 %0, %1, %2;"
    code = _returned(asm(instruction, '"=r"(result)', '"f"(high), "f"(low)', memory=False))
    return _value("uint32", name, f"unsigned int {name}(float low, float high) {{{code}}}", low, high)


def widened(bits: Expr, dtype: str) -> Expr:
    """The float32 of the lower 16 bits of a uint32, which are a "float16" or "bfloat16"."""
    if dtype == "bfloat16":
        return TB.reinterpret("float32", TB.shift_left(bits, tirx.const(16, "uint32")))
    instruction = asm("cvt.f32.f16 %0, %1;", '"=f"(value)', '"h"((unsigned short)bits)', memory=False)
    code = f"{{ float value; {instruction} return value; }}"
    return _value("float32", "ptx_from_float16", f"float ptx_from_float16(unsigned int bits) {code}", bits)


def scaled_sum(total: Expr, scale: Expr, more: Expr | None) -> Expr:
    """total (int32) * scale + more in float32, rounded once behind the rounding of ``total``; None: without ``more``.

    By functions that the compiler joins with nothing: what it adds to the result is rounded for itself.
    """
    if more is None:
        code = "float ptx_scaled(int total, float scale) { return __fmul_rn(__int2float_rn(total), scale); }"
        return _value("float32", "ptx_scaled", code, total, scale)
    head = "float ptx_scaled_sum(int total, float scale, float more)"
    code = f"{head} {{ return __fmaf_rn(__int2float_rn(total), scale, more); }}"
    return _value("float32", "ptx_scaled_sum", code, total, scale, more)


def level(value: Expr, inverse: Expr, zero_point: int) -> Expr:
    """clamp(round(value * inverse) + zero_point, 0, 255) as uint32, ties to even; NaN becomes 0."""
    head = f"unsigned int ptx_level_{zero_point}(float value, float inverse)"
    low, high = f"{-zero_point}.0f", f"{255 - zero_point}.0f"
    # Of two maxima with NaN the other number is taken.
    within = f"fminf(fmaxf(__fmul_rn(value, inverse), {low}), {high})"
    code = f"{head} {{ return (unsigned int)(__float2int_rn({within}) + {zero_point}); }}"
    return _value("uint32", f"ptx_level_{zero_point}", code, value, inverse)


_SHORT = {"float16": "f16", "bfloat16": "bf16"}
_C = {"uint32": "unsigned int", "float32": "float", "int32": "int"}
_KIND = {"uint32": "r", "float32": "f", "int32": "r"}
_SHARED_ADDRESS = "int ptx_shared_address(void* start) { return (int)__cvta_generic_to_shared(start); }"


def call(name: str, head: str, code: str, *arguments: Expr) -> None:
    """Call a device function without a result: its name, its head in C, the code in its braces, what it is given."""
    TB.evaluate(_value("void", name, f"{head} {{ {code} }}", *arguments))


def _value(dtype: str, name: str, source: str, *arguments: Expr) -> Expr:
    definition = f"__device__ __forceinline__ {source}\n"
    return tirx.call_intrin(dtype, "tirx.cuda.func_call", name, *arguments, definition)


def asm(instruction: str, outputs: str = "", inputs: str = "", memory: bool = True) -> str:
    """One instruction. memory: it reads or writes some, or orders those that do; the compiler moves none across."""
    return f'asm volatile("{instruction}" : {outputs} : {inputs}' + (' : "memory");' if memory else ");")


def _returned(code: str) -> str:
    return f" unsigned int result; {code} return result; "


def _outputs(name: str, count: int, dtype: str = "uint32") -> str:
    return ", ".join(f'"={_KIND[dtype]}"({name}[{i}])' for i in range(count))


def _inputs(name: str, count: int, dtype: str) -> str:
    return ", ".join(f'"{_KIND[dtype]}"({name}[{i}])' for i in range(count))


def _list(first: int, count: int) -> str:
    """Operands from number ``first`` on; several are in braces."""
    return f"%{first}" if count == 1 else braces(first, count)


def braces(first: int, count: int) -> str:
    """Operands from number ``first`` on, as a vector."""
    return "{" + ", ".join(f"%{i}" for i in range(first, first + count)) + "}"


def _vector(count: int) -> str:
    return ".b32" if count == 1 else f".v{count}.b32"
