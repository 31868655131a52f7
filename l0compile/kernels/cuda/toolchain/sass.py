"""Instructions of a GPU's machine code, counted by kind."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import BuildError
from l0compile.kernels.cuda.toolchain.find import find_toolchain

_FUNCTION = re.compile(r"^\s*Function : (\S+)$", re.MULTILINE)
# "/*0070*/  @!P0 LDG.E.128.CONSTANT R4, ..." -> LDG.E.128.CONSTANT
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)

_REGISTERS = re.compile(r"Function (\S+):\s+REG:(\d+)")


@dataclass(frozen=True)
class Instructions:
    """How many instructions of each kind stand in the code of a kernel; those of a loop count once.

    Attributes:
        hmma: products of tensor cores of 16-bit and TF32 numbers (HMMA).
        hgmma: the same, begun by four warps together (HGMMA, sm_90a only).
        hmma_sp: those of hmma that skip two of each four numbers of a weight.
        imma: of 8-bit whole numbers (IMMA).
        ldgsts: asynchronous copies from global to shared memory (LDGSTS, from sm_80 on).
        ldsm: loads of fragments for tensor cores from shared memory (LDSM).
        ldg128: loads of 16 bytes a thread from global memory.
        stg128: stores of 16 bytes a thread to global memory.
        lds128: loads of 16 bytes a thread from shared memory.
        ffma: multiply-adds of float32 outside tensor cores, two to an FFMA2 of sm_100.
        bar: barriers of a thread block.
        ldl: loads from local memory: spilled registers, and arrays that are indexed by what only a run knows.
        total: all of them.
    """

    hmma: int
    hgmma: int
    hmma_sp: int
    imma: int
    ldgsts: int
    ldsm: int
    ldg128: int
    stg128: int
    lds128: int
    ffma: int
    bar: int
    ldl: int
    total: int


def count_instructions(cubin: bytes) -> dict[str, Instructions]:
    """Name of each kernel -> counts of its instructions.

    Raises:
        MissingDependency: cuobjdump or nvdisasm is not installed.
        BuildError: they do not read the code.
    """
    return {name: _counted(found) for name, found in opcodes(cubin).items()}


def opcodes(cubin: bytes) -> dict[str, Counter[str]]:
    """Name of each kernel -> how often each instruction stands in its code, such as ``LDG.E.128``.

    Errors as of ``count_instructions``.
    """
    parts = _FUNCTION.split(disassemble(cubin))
    return {
        name: Counter(_INSTRUCTION.findall(text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def registers_of(cubin: bytes) -> dict[str, int]:
    """Name of each kernel -> registers of a thread, whoever compiled it; errors as of ``count_instructions``."""
    found = _REGISTERS.findall(_listing(cubin, "-res-usage"))
    return {name: int(registers) for name, registers in found}


def disassemble(cubin: bytes) -> str:
    """The listing of its instructions; errors as of ``count_instructions``."""
    return _listing(cubin, "-sass")


def _listing(cubin: bytes, option: str) -> str:
    cuobjdump, nvdisasm = find_toolchain().disassembler()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run(
            [cuobjdump, option, str(file)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": str(nvdisasm.parent)},
        )
    if done.returncode:
        raise BuildError(f"{cuobjdump}: cannot read the machine code: {done.stderr.strip()[-400:]}")
    return done.stdout


def _counted(found: Mapping[str, int]) -> Instructions:
    def of(name: str, *modifiers: str) -> int:
        return sum(
            count
            for opcode, count in found.items()
            if opcode.split(".")[0] == name and set(modifiers) <= set(opcode.split("."))
        )

    return Instructions(
        hmma=of("HMMA"),
        hgmma=of("HGMMA"),
        hmma_sp=of("HMMA", "SP"),
        imma=of("IMMA"),
        ldgsts=of("LDGSTS"),
        ldsm=of("LDSM"),
        ldg128=of("LDG", "128"),
        stg128=of("STG", "128"),
        lds128=of("LDS", "128"),
        ffma=of("FFMA") + 2 * of("FFMA2"),
        bar=of("BAR"),
        ldl=of("LDL"),
        total=sum(found.values()),
    )
