"""Reading machine code: the loops that compute, and registers that did not fit."""

import re

_LABEL = re.compile(r"(\.L\w+):")
_JUMP = re.compile(r"\b(?:j\w+|b\.\w+|cbn?z\s+\w+,)\s+(\.L\w+)")
_MULTIPLY_ADD = re.compile(r"\b(vfn?madd\w+ps|fmla)\b")
VECTOR_ON_STACK = re.compile(r"%[xyz]mm\d+.*\(%r[sb]p|\(%r[sb]p\).*%[xyz]mm|\bq\d+.*\[sp")


def innermost_loops(code: str) -> list[list[str]]:
    """The lines of each loop without another one inside."""
    lines, labels, loops = code.splitlines(), dict[str, int](), list[tuple[int, int]]()
    for number, line in enumerate(lines):
        if label := _LABEL.match(line):
            labels[label[1]] = number
        elif (jump := _JUMP.search(line)) and jump[1] in labels:
            loops.append((labels[jump[1]], number))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[start:end] for start, end in inner]


def computing_loops(code: str) -> list[list[str]]:
    """Innermost loops that multiply and add."""
    return [loop for loop in innermost_loops(code) if multiplications(loop)]


def multiplications(loop: list[str]) -> int:
    """How many instructions of a loop multiply and add."""
    return sum(map(bool, map(_MULTIPLY_ADD.search, loop)))
