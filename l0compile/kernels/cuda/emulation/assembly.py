"""Inline assembly of CUDA C++: finds its statements, and writes each as calls of the emulated instructions.

``asm volatile("{ .reg .pred p; setp.ne.b32 p, %1, 0; @p mov.b32 %0, %2; }" : "=r"(d) : "r"(c), "r"(x));`` becomes a
block in which each operand is a 64-bit value that holds the bits of its register, and each PTX instruction a call.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from l0compile.kernels.cuda.emulation.faults import UnknownInstruction
from l0compile.kernels.cuda.emulation.instructions import instruction

_STATEMENT = re.compile(r"\b(?:asm|__asm__)\s*(?:volatile|__volatile__)?\s*\(")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_OPERAND = re.compile(r'\s*(?:\[(\w+)\]\s*)?"([=+&]*)([a-zA-Z])"\s*\(')
_DECLARATION = re.compile(r"\.reg\s+\.(\w+)\s+(.+)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True)
class AsmOperand:
    """One operand of a statement.

    Attributes:
        written, read: what the assembly does with it.
        expression: the C++ expression that it binds.
    """

    written: bool
    read: bool
    expression: str


def without_assembly(source: str) -> str:
    """Return ``source`` with each ``asm`` statement replaced; lines keep their numbers.

    Raises: UnknownInstruction for an instruction that is not emulated, with its text and line.
    """
    done, position = [], 0
    while found := _STATEMENT.search(source, position):
        end = closing(source, found.end() - 1)
        line = source.count("\n", 0, found.start()) + 1
        block = _block(source[found.end() : end], line)
        done.append(source[position : found.start()] + block + "\n" * source.count("\n", found.start(), end))
        position = end + 1
    return "".join(done) + source[position:]


def closing(source: str, start: int) -> int:
    """Return where the bracket that opens at ``start`` closes; strings are passed over."""
    depth, position = 0, start
    while position < len(source):
        character = source[position]
        if character == '"' and (string := _STRING.match(source, position)):
            position = string.end()
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        if not depth:
            return position
        position += 1
    raise UnknownInstruction(f"the bracket after {source[start : start + 60]!r} is never closed")


def split(text: str, mark: str) -> list[str]:
    """Split ``text`` at ``mark`` outside of brackets and strings; ``::`` is no mark."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        if text[position] == '"' and (string := _STRING.match(text, position)):
            position = string.end()
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[position], 0)
        if text[position] == mark and not depth:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _block(statement: str, line: int) -> str:
    template, *rest = split(statement, ":")
    code = "".join(_STRING.findall(template))
    code = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), code)
    code = re.sub(r"%\[(\w+)\]", r"%\1", code)
    names: dict[str, str] = {}
    operands: list[AsmOperand] = []
    for part in rest[:2]:
        for operand, name in _operands(part):
            names[f"%{name}" if name else ""] = f"emu_{len(operands)}"
            names[f"%{len(operands)}"] = f"emu_{len(operands)}"
            operands.append(operand)
    # What wgmma computes is there later: it takes the places of registers, and what is in them only then.
    later = "wgmma.mma_async" in code
    lines = []
    for i, operand in enumerate(operands):
        start = f"emu::get({operand.expression})" if operand.read else "emu::UNSET"
        if later and operand.written:
            start = f"emu::place({operand.expression})"
        lines.append(f"emu::Bits emu_{i} = {start};")
    lines += _instructions(code, names, line)
    if not later:
        lines += [f"emu::put({o.expression}, emu_{i});" for i, o in enumerate(operands) if o.written]
    return "do { " + " ".join(lines) + " } while (0)"


def _operands(part: str) -> Iterator[tuple[AsmOperand, str | None]]:
    for text in split(part, ","):
        if not text.strip():
            continue
        found = _OPERAND.match(text)
        if found is None:
            raise UnknownInstruction(f"cannot read the operand {text.strip()!r} of inline assembly")
        expression = " ".join(text[found.end() - 1 : closing(text, found.end() - 1) + 1].split())
        name, how, _ = found.groups()
        yield AsmOperand("=" in how or "+" in how, "=" not in how, expression), name


def _instructions(code: str, names: dict[str, str], line: int) -> Iterator[str]:
    code = re.sub(r"//[^\n]*", "", code).replace("%%", "$")
    for text in code.split(";"):
        text = " ".join(text.split())
        while text[:1] in ("{", "}") and text:
            # A scope of registers: their names are unique within one statement, so one C++ scope holds them all.
            text = text[1:].strip()
        if not text:
            continue
        if declared := _DECLARATION.fullmatch(text):
            for name in declared[2].split(","):
                names[name.strip()] = f"emu_{name.strip().lstrip('$')}"
                yield f"emu::Bits emu_{name.strip().lstrip('$')} = emu::UNSET;"
            continue
        guard = re.match(r"@(!?)(\S+)\s+", text)
        body = instruction(text[guard.end() :] if guard else text, names, line)
        yield f"if ({guard[1]}{names[guard[2]]}) {{ {body} }}" if guard else body
