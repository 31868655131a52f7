"""g++: compiles translated kernels against the emulation, and keeps what it made."""

import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from l0compile.errors import MissingDependency
from l0compile.hardware.cache_folder import folder_for_this_process
from l0compile.kernels.cuda.emulation.faults import UnknownInstruction
from l0compile.kernels.cuda.emulation.translation import translated

_CODE = Path(__file__).parent / "cpp"
_LANGUAGE = ("-std=c++20", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-pie")
_RUNTIME = ("-O2",)
# -fsanitize=thread calls a function before each access; the runtime has its own. Variables without a value begin as
# 0xfe bytes, huge numbers, so that a sum which nobody set to zero shows. -fsanitize=bounds stops at an index past the
# end of an array in registers.
_KERNEL = (
    "-O1", "-g1", "-fsanitize=thread", "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error",
    "-ftrivial-auto-var-init=pattern", "-fno-tree-loop-distribute-patterns",
)  # fmt: skip


def executable(source: str) -> Path:
    """Return a program that runs the kernels of ``source``, compiled unless it is in the cache.

    Raises:
        MissingDependency: no g++, or one before 12.
        UnknownInstruction: what the emulation has not, or what is no C++; with g++'s words.
    """
    compiler = _compiler()
    code = translated(source)
    folder = folder_for_this_process() / "emulation"
    program = folder / f"{_stamp(code)}.exe"
    if program.exists():
        return program
    runtime = _runtime(compiler, folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        text, result = Path(place) / "kernel.cu", Path(place) / "kernel.exe"
        text.write_text(code, encoding="utf-8")
        objects = Path(place) / "kernel.o"
        command = [
            compiler,
            *_LANGUAGE,
            *_KERNEL,
            f"-I{_CODE}",
            "-x",
            "c++",
            "-c",
            str(text),
            "-o",
            str(objects),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnknownInstruction(f"g++ refused the kernel: {_first_errors(done.stderr)}")
        # Linked by hand, since -fsanitize=thread would bring g++'s own runtime.
        command = [compiler, "-no-pie", "-o", str(result), str(objects), *map(str, runtime)]
        subprocess.run(command, capture_output=True, text=True, check=True)
        result.replace(program)
    return program


def source_line(program: Path, address: str) -> str:
    """Return "line N" of the CUDA source of the call that returns to ``address``, or "" where nothing is known."""
    tool = shutil.which("addr2line")
    if tool is None:
        return ""
    done = subprocess.run(
        [tool, "-e", str(program), "-i", hex(int(address, 16) - 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = re.findall(r"kernel\.cu:(\d+)", done.stdout)
    return f"line {lines[-1]}" if lines else ""


def _first_errors(output: str) -> str:
    errors = [line for line in output.splitlines() if "error:" in line]
    return "; ".join(errors[:3]) or output.strip()[-400:]


def _stamp(code: str) -> str:
    return hashlib.sha256(
        "\0".join((code, _headers_stamp(), *_LANGUAGE, *_KERNEL, "kernel.cu")).encode()
    ).hexdigest()[:32]


@functools.cache
def _headers_stamp() -> str:
    files = sorted(_CODE.iterdir())
    text = "\0".join(f"{file.name}\0{file.read_text(encoding='utf-8')}" for file in files)
    return hashlib.sha256("\0".join((text, _version(_compiler()), *_RUNTIME)).encode()).hexdigest()[:32]


def _runtime(compiler: str, folder: Path) -> list[Path]:
    """Return the compiled parts of the runtime; each is compiled once for a version of it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for file in sorted(_CODE.glob("*.cpp")):
        result = folder / f"{file.stem}-{_headers_stamp()}.o"
        if not result.exists():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                part = Path(place) / "part.o"
                command = [compiler, *_LANGUAGE, *_RUNTIME, "-c", str(file), "-o", str(part)]
                subprocess.run(command, capture_output=True, text=True, check=True)
                part.replace(result)
        made.append(result)
    return made


@functools.cache
def _compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        raise MissingDependency(
            "emulating CUDA kernels needs g++ 12 or later; install it, and put it on PATH"
        )
    major = int(_version(found).partition(".")[0])
    if major < 12:
        raise MissingDependency(f"emulating CUDA kernels needs g++ 12 or later, found {_version(found)}")
    return found


@functools.cache
def _version(compiler: str) -> str:
    command = [compiler, "-dumpfullversion", "-dumpversion"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
