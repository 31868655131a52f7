"""From the CUDA C++ of a kernel to C++ that g++ compiles against the emulation's headers."""

import re

from l0compile.kernels.cuda.emulation.assembly import without_assembly
from l0compile.kernels.cuda.emulation.faults import UnknownInstruction

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*)?(\w+)\s*\(")
_ALIGNMENT = r"(?:(?:__align__|alignas)\s*\(\s*(?P<{}>\w+)\s*\)\s*)?"
_SHARED = re.compile(
    r"(?P<extern>extern\s+)?" + _ALIGNMENT.format("before") + r"__shared__\s+" + _ALIGNMENT.format("after")
    + r"(?P<type>[A-Za-z_][\w: ]*?)\s+(?P<name>\w+)\s*(?P<sizes>(?:\[[^\]]*\]\s*)*);"
)  # fmt: skip
# A cast to a pointer to vectors, as `*(float4*)(x + i)` has it.
_VECTOR_CAST = re.compile(
    r"\(\s*((?:const\s+|volatile\s+)*(?:(?:u?(?:char|short|int|longlong)|float|double)[24]|"
    r"(?:half|__half|nv_bfloat16|__nv_bfloat16)[24]))\s*\*\s*\)\s*(?=\()"
)


def kernels(source: str) -> dict[str, int]:
    """Return the name of each kernel that ``source`` defines -> the most threads of a block that it is compiled for."""
    return {name: int(most or 1024) for most, name in _KERNEL.findall(source)}


def translated(source: str) -> str:
    """Return C++ for ``source``; a line keeps its number.

    Raises: UnknownInstruction for inline PTX that is not emulated, shared memory that is declared in an unknown way,
        or no kernel at all.
    """
    names = kernels(source)
    if not names:
        raise UnknownInstruction("expected CUDA C++ with a __global__ function, found none")
    count = 0

    def declare(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return _shared_memory(found, count - 1)

    code = _SHARED.sub(declare, without_assembly(source))
    if (left := code.find("__shared__")) >= 0:
        line, text = code.count("\n", 0, left) + 1, code[left:].partition("\n")[0]
        raise UnknownInstruction(
            f"line {line}: cannot read this declaration of shared memory: {text.strip()}"
        )
    code = _VECTOR_CAST.sub(r"emu::vector_pointer<\1>", code)
    table = ", ".join(f'emu::Caller<&{name}>::entry("{name}", {most})' for name, most in names.items())
    end = f"\nconst emu::Entry emu_entries[] = {{{table}, {{nullptr, 0, 0, nullptr, nullptr}}}};\n"
    return f'#include "cuda.h"\n#line 1 "kernel.cu"\n{code}{end}'


def _shared_memory(found: re.Match[str], number: int) -> str:
    kind, name = found["type"].strip(), found["name"]
    sizes = "".join(found["sizes"].split())
    newlines = "\n" * found[0].count("\n")
    alignment = found["before"] or found["after"] or f"alignof({kind})"
    if found["extern"]:
        return f"{kind}* {name} = static_cast<{kind}*>(emu::dynamic_shared({alignment}));{newlines}"
    whole = f"sizeof({kind}{sizes})"
    place = f'emu::shared_array({number}, "{name}", {whole}, {alignment})'
    return f"{kind} (&{name}){sizes} = *reinterpret_cast<{kind} (*){sizes}>({place});{newlines}"
