"""PTX instructions as C++ calls of the emulation (``cpp/ptx.h``); what is not in the table here is refused."""

import re
from collections.abc import Callable

from l0compile.kernels.cuda.emulation.faults import UnknownInstruction

Names = dict[str, str]
InstructionWriter = Callable[[re.Match[str], list[list[str]], int], str]

_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8}
_SHAPES = {
    ("f16", 16, 16), ("f16", 16, 8), ("bf16", 16, 16), ("bf16", 16, 8), ("tf32", 16, 8), ("tf32", 16, 4),
    ("s8", 16, 32), ("u8", 16, 32), ("s8", 16, 16), ("u8", 16, 16), ("s8", 8, 16), ("u8", 8, 16),
}  # fmt: skip
_WGMMA = {("f16", 16), ("bf16", 16), ("tf32", 8)}
_ELEMENTS = {"f16": 2, "bf16": 2, "tf32": 1, "s8": 4, "u8": 4}  # in a register, along k
_LITERAL = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)[uU]?")


def instruction(text: str, names: Names, line: int) -> str:
    """Return the C++ for one PTX instruction.

    text: without its guard and semicolon.
    names: operand or register as PTX names it -> the C++ variable that holds its bits.

    Raises: UnknownInstruction.
    """
    opcode, _, rest = text.partition(" ")
    for pattern, writer in _TABLE:
        if found := pattern.fullmatch(opcode):
            operands = [_operand(part.strip(), names, text, line) for part in _parts(rest)]
            try:
                return writer(found, operands, line)
            except (IndexError, ValueError) as error:
                raise UnknownInstruction(
                    f"line {line}: operands of PTX `{text}` are not understood ({error})"
                ) from error
    raise UnknownInstruction(f"line {line}: the emulation has no PTX instruction `{text}`")


def _parts(text: str) -> list[str]:
    return re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text)


def _operand(text: str, names: Names, whole: str, line: int) -> list[str]:
    """Return the variables of an operand: one, or those of a vector in braces; an address with its offset added."""
    if text[0] == "{":
        return [_operand(part.strip(), names, whole, line)[0] for part in text[1:-1].split(",")]
    if text[0] == "[":
        base, *offset = re.split(r"\s*\+\s*", text[1:-1].strip())
        (variable,) = _operand(base, names, whole, line)
        return [f"({variable} + {' + '.join(offset)})" if offset else variable]
    if text in names:
        return [names[text]]
    if text.lower().startswith("0f"):
        return [f"0x{text[2:]}u"]
    if _LITERAL.fullmatch(text):
        return [f"emu::Bits({text})"]
    raise UnknownInstruction(
        f"line {line}: the emulation does not know the operand {text!r} of PTX `{whole}`"
    )


def _out(registers: list[str]) -> str:
    return "{" + ", ".join(f"&{register}" for register in registers) + "}"


def _in(registers: list[str]) -> str:
    return "{" + ", ".join(registers) + "}"


def _mma(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    m, k, d_type, a_type, b_type, c_type = found.groups()
    rows, depth = int(m), int(k)
    d, a, b, c = operands
    integers = a_type in ("s8", "u8")
    legal = (a_type, rows, depth) in _SHAPES and (a_type == b_type or (integers and b_type in ("s8", "u8")))
    legal &= d_type == c_type and d_type in (
        ("s32",) if integers else ("f32", "f16") if a_type == "f16" else ("f32",)
    )
    steps = depth // (4 * _ELEMENTS[a_type])
    accumulators = rows // 8 * (1 if d_type == "f16" else 2)
    expected = (accumulators, rows // 8 * steps, steps, accumulators)
    given = tuple(map(len, operands))
    if not legal or given != expected:
        raise ValueError(f"no such mma, or it takes {expected} registers where {given} are given")
    types = ", ".join(f"emu::Type::{name}" for name in (d_type, a_type, b_type))
    return f"emu::mma({line}, {rows}, {depth}, {types}, {_out(d)}, {_in(a)}, {_in(b)}, {_in(c)});"


def _mma_sp(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    a_type, b_type = found.groups()
    d, a, b, c, (places,), (selector,) = operands
    if a_type != b_type or tuple(map(len, (d, a, b, c))) != (4, 4, 4, 4):
        raise ValueError("no such mma.sp, or it does not have 4 registers of each matrix")
    if selector not in ("emu::Bits(0)", "emu::Bits(1)", "emu::Bits(0x0)", "emu::Bits(0x1)"):
        raise ValueError("the sparsity selector of k 32 is 0 or 1")
    given = ", ".join((_out(d), _in(a), _in(b), _in(c), places, selector))
    return f"emu::mma_sp({line}, emu::Type::{a_type}, {given});"


def _wgmma(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    n, k, a_type, b_type = found.groups()
    places, (a,), (b,), (accumulate,), (a_sign,), (b_sign,), *turned = operands
    columns, whole = int(n), ("emu::Bits(1)", "emu::Bits(-1)")
    if (a_type, int(k)) not in _WGMMA or a_type != b_type or columns % 8 or not 8 <= columns <= 256:
        raise ValueError("no such wgmma")
    if len(places) != columns // 2 or len(turned) != 2 * (a_type != "tf32"):
        raise ValueError(
            f"{columns // 2} registers and, of 16-bit numbers, which matrices are transposed, are expected"
        )
    if a_sign not in whole or b_sign not in whole:
        raise ValueError("signs are 1 or -1")
    more = ", ".join(one for (one,) in turned) or "0, 0"
    what = f"{{{line}, {n}, emu::Type::{a_type}, {a}, {b}, {accumulate}, {a_sign}, {b_sign}, {more}}}"
    return f"emu::begin_product({what}, {_in(places)});"


def _ldmatrix(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    count, transposed = found.groups()
    to, (address,) = operands
    if len(to) != int(count):
        raise ValueError(f"{count} registers expected")
    return f"emu::ldmatrix({line}, {'true' if transposed else 'false'}, {_out(to)}, {address});"


def _stmatrix(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    count, transposed = found.groups()
    (address,), of = operands
    if len(of) != int(count):
        raise ValueError(f"{count} registers expected")
    return f"emu::stmatrix({line}, {'true' if transposed else 'false'}, {address}, {_in(of)});"


def _cp_async(found: re.Match[str], operands: list[list[str]], _: int) -> str:
    (to,), (source,), (size,), *given = operands
    number = re.search(r"\d+", size)
    if found[1] == "cg" and number and number[0] != "16" and "(" in size:
        raise ValueError("cp.async.cg copies 16 bytes")
    read = given[0][0] if given else size
    return f"emu::copy_async({to}, reinterpret_cast<const void*>({source}), {size}, {read});"


def _load(found: re.Match[str], operands: list[list[str]], _: int) -> str:
    space, cached, count, width = found.groups()
    to, (address,) = operands
    if len(to) != int(count or 1):
        raise ValueError(f"{count} registers expected")
    where = f"{'true' if space == 'shared' else 'false'}, {'true' if cached else 'false'}"
    return f"emu::load({where}, {_BYTES[width]}, {_out(to)}, {address});"


def _store(found: re.Match[str], operands: list[list[str]], _: int) -> str:
    space, count, width = found.groups()
    (address,), of = operands
    if len(of) != int(count or 1):
        raise ValueError(f"{count} registers expected")
    return f"emu::store({'true' if space == 'shared' else 'false'}, {_BYTES[width]}, {address}, {_in(of)});"


def _compare(found: re.Match[str], operands: list[list[str]], _: int) -> str:
    relation, kind = found.groups()
    (to,), (x,), (y,) = operands
    sign = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[relation]
    cast = "int32_t" if kind == "s" else "uint32_t"
    return f"{to} = {cast}({x}) {sign} {cast}({y});"


def _set(value: str) -> InstructionWriter:
    """A result in one register: ``{0}``, ``{1}``, ... are the operands after it."""

    def write(_: re.Match[str], operands: list[list[str]], __: int) -> str:
        (to,), *inputs = operands
        return f"{to} = {value.format(*(one for (one,) in inputs))};"

    return write


def _named(value: str) -> InstructionWriter:
    """As ``_set``, with what the opcode's pattern found as ``{name}``."""

    def write(found: re.Match[str], operands: list[list[str]], line: int) -> str:
        return _set(value.replace("{name}", str(found[1])))(found, operands, line)

    return write


def _do(code: str) -> InstructionWriter:
    def write(_: re.Match[str], operands: list[list[str]], line: int) -> str:
        return code.format(*(one for (one,) in operands), line=line)

    return write


def _unary(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    flushed = "emu::flushed({0})" if found[2] else "{0}"
    value = f'emu::unary("{found[1]}", {flushed})'
    return _set(f"emu::flushed({value})" if found[2] else value)(found, operands, line)


def _dp4a(found: re.Match[str], operands: list[list[str]], line: int) -> str:
    signs = ", ".join("true" if name == "s32" else "false" for name in found.groups())
    return _set(f"emu::dp4a({signs}, {{0}}, {{1}}, {{2}})")(found, operands, line)


def _barrier(_: re.Match[str], operands: list[list[str]], line: int) -> str:
    if operands[0] != ["emu::Bits(0)"] or len(operands) > 1:
        raise ValueError("only barrier 0, for all threads of a block")
    return f"emu::barrier({line});"


_NUMBER = r"(?:b|u|s|f)(8|16|32|64)"
_SHARED = r"shared(?:::cta)?"
_TABLE: tuple[tuple[re.Pattern[str], InstructionWriter], ...] = tuple(
    (re.compile(pattern), writer)
    for pattern, writer in (
        (r"mma\.sync\.aligned\.m(16|8)n8k(\d+)\.row\.col\.(\w+)\.(\w+)\.(\w+)\.(\w+)", _mma),
        (
            r"mma\.sp::ordered_metadata\.sync\.aligned\.m16n8k32\.row\.col\.f32\.(f16|bf16)\.(f16|bf16)\.f32",
            _mma_sp,
        ),
        (r"wgmma\.mma_async\.sync\.aligned\.m64n(\d+)k(\d+)\.f32\.(\w+)\.(\w+)", _wgmma),
        (r"wgmma\.fence\.sync\.aligned", _do("emu::fence_registers({line});")),
        (r"wgmma\.commit_group\.sync\.aligned", _do("emu::commit_products({line});")),
        (r"wgmma\.wait_group\.sync\.aligned", _do("emu::wait_products({line}, {0});")),
        (r"fence\.proxy\.async(?:\.shared::cta)?", _do("emu::show_writes();")),
        (rf"ldmatrix\.sync\.aligned\.(?:m8n8\.)?x([124])(\.trans)?\.{_SHARED}\.b16", _ldmatrix),
        (rf"ldmatrix\.sync\.aligned\.m8n8\.x([124])(\.trans)?\.{_SHARED}\.b16", _ldmatrix),
        (rf"stmatrix\.sync\.aligned\.m8n8\.x([124])(\.trans)?\.{_SHARED}\.b16", _stmatrix),
        (rf"cp\.async\.(ca|cg)\.{_SHARED}\.global(?:\.L2::(?:64|128|256)B)?", _cp_async),
        (r"cp\.async\.commit_group", _do("emu::commit_copies();")),
        (r"cp\.async\.wait_group", _do("emu::wait_copies({0});")),
        (r"cp\.async\.wait_all", _do("emu::wait_all_copies();")),
        (r"(?:bar\.sync|barrier\.sync(?:\.aligned)?)", _barrier),
        (r"bar\.warp\.sync", _do("emu::warp_barrier({line}, {0});")),
        (r"cvta\.to\.shared\.u64", _set("emu::shared_address(reinterpret_cast<const void*>({0}))")),
        (r"cvta\.to\.global\.u64", _set("{0}")),
        (r"cvt\.u32\.u64", _set("uint32_t({0})")),
        (r"cvt\.u64\.u32", _set("uint32_t({0})")),
        (r"mov\.(?:b|u|s|f)(?:16|32|64)", _set("{0}")),
        (r"setp\.(eq|ne|lt|le|gt|ge)\.(b|u|s)32", _compare),
        (r"selp\.(?:b|u|s|f)(?:16|32|64)", _set("({2} ? {0} : {1})")),
        (r"(ex2|lg2|rcp|rsqrt|sqrt|tanh)\.(?:approx|rn)(\.ftz)?\.f32", _unary),
        (r"cvt\.rna\.tf32\.f32", _set("emu::round_tf32({0})")),
        (r"cvt\.rn\.(f16|bf16)x2\.f32", _named("emu::pack(emu::Type::{name}, {0}, {1})")),
        (r"cvt\.rn\.(f16|bf16)\.f32", _named("emu::narrow(emu::Type::{name}, {0})")),
        (r"cvt\.f32\.(f16|bf16)", _named("emu::widen(emu::Type::{name}, {0})")),
        (r"dp4a\.(u32|s32)\.(u32|s32)", _dp4a),
        (
            rf"ld\.(?:volatile\.|relaxed\.\w+\.)?(global|shared)(?:::cta)?(\.nc)?(?:\.c[agsv])?(?:\.L\d::\w+)*(?:\.v([24]))?\.{_NUMBER}",
            _load,
        ),
        (
            rf"st\.(?:volatile\.|relaxed\.\w+\.)?(global|shared)(?:::cta)?(?:\.w[bt]|\.c[gs])?(?:\.L\d::\w+)*(?:\.v([24]))?\.{_NUMBER}",
            _store,
        ),
        (r"prefetch\.(?:global\.)?L[12]", _do("(void){0};")),
    )
)
