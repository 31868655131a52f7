"""Launches in C: one routine for all of them, ``launch.c``, and a table for each.

A table names the kernels, says where their arguments stand among those of the launch, and which kernels wait for those
before them. As functions of TVM, launches take as long to compile as all kernels together, because the code generator
writes a check of each argument, although they only pass arguments on.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from l0compile.errors import BuildError
from l0compile.hardware._tvm import cc
from l0compile.lower.tvm.launches import JointLaunch

# Bytes that kernels touch in about the time that it takes to wake another thread, and to wait for it at a barrier.
_WAKING, _BARRIER = 2**17, 2**15

_ROUTINE = Path(__file__).with_name("launch.c")
_OPTIONS = ("-x", "c", "-std=gnu11", "-O1", "-fPIC", "-w", "-c")


class LinkError(BuildError):
    """The linker of this machine failed, or made what cannot be loaded, as where temporary files may hold no code."""


def launch_source(launches: Sequence[JointLaunch]) -> str:
    """Return the C source of launches; each is a function ``__tvm_ffi_<name>``, as TVM's own are."""
    most = max(len(kernel.places) for launch in launches for kernel in launch.kernels)
    names = sorted({kernel.name for launch in launches for kernel in launch.kernels})
    parts = [f"#define MOST_ARGUMENTS {most}", _ROUTINE.read_text()]
    parts += [f"extern Function __tvm_ffi_{name};" for name in names]
    for number, launch in enumerate(launches):
        parts += _tables(number, launch)
    return "\n".join(parts) + "\n"


def _tables(number: int, launch: JointLaunch) -> Iterator[str]:
    flat = [place for kernel in launch.kernels for place in kernel.places]
    yield f"static const int32_t places_{number}[] = {{{', '.join(map(str, [*flat, 0]))}}};"
    steps, start = [], 0
    for kernel in launch.kernels:
        count = len(kernel.places)
        steps.append(f"{{__tvm_ffi_{kernel.name}, places_{number} + {start}, {count}, {int(kernel.waits)}}}")
        start += count
    yield f"static const Step steps_{number}[] = {{{', '.join(steps)}}};"
    count, small = len(launch.tensors), _small(launch)
    complaint = f"{launch.name} takes {count} arguments"
    yield (
        f"static const Launch launch_{number} = "
        f'{{steps_{number}, {len(launch.kernels)}, {count}, {small}, "{complaint}"}};'
    )
    yield (
        f"int __tvm_ffi_{launch.name}(void *self, const Any *arguments, int32_t count, Any *result) "
        f"{{ return run(&launch_{number}, arguments, count, result); }}"
    )


def _small(launch: JointLaunch) -> int:
    """Return up to how many bytes, counted for each kernel, the calling thread is faster alone."""
    return _WAKING + _BARRIER * sum(kernel.waits for kernel in launch.kernels) if launch.light else -1


def compiled(source: str, folder: Path) -> bytes:
    """Return the object file of a C source.

    Args:
        source: The source.
        folder: For files in between.

    Raises:
        LinkError: There is no C compiler that takes it.
    """
    written, made = folder / "launches.c", folder / "launches.o"
    written.write_text(source)
    command = [str(cc.get_cc()), *_OPTIONS, str(written), "-o", str(made)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
        return made.read_bytes()
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or ["no message"]
        raise LinkError(f"{cc.get_cc()} could not compile the launches: {lines[-1]}") from error
    except OSError as error:
        raise LinkError(f"{cc.get_cc()} could not compile the launches: {error}") from error
