"""The place of a measurement: which processor, how many threads, which versions made the code."""

import ast
import functools
import hashlib
import importlib.metadata
from importlib import resources

from l0compile.hardware.costs.record import Place
from l0compile.hardware.targets import Host, Target, host_supports, read_host

# Operators with kernels of their own, whose files begin with the operator's name; they share a file of building blocks.
# Other operators are compiled by the rule of lower/tvm/ordinary.py.
_KERNELS, _SHARED = ("linear", "attention", "norm", "pack"), "lanes.py"


def place(target: Target, op: str, threads: int | None = None, host: Host | None = None) -> Place | None:
    """Where code for ``op`` made for ``target`` runs; None when that is neither here nor on devices of a farm.

    threads: that share the work; default: the cores of the target. host: default: this machine.
    """
    host = host or read_host()
    if target.kind != "llvm" or not (target.device or host_supports(target, host) is None):
        return None
    return Place(device(target, host), threads or target.cores, versions(op))


def device(target: Target, host: Host) -> str:
    """The processor and the instructions that are used of it. Not the number of cores: that is the threads.

    Of devices behind a tracker only their name is known.
    """
    code = "".join((target.cpu, *target.attrs))
    if target.device:
        return f"device {target.device}; {code}"
    caches = ", ".join(f"L{level} {size >> 10} KiB" for level, size in host.caches)
    return "; ".join(filter(None, (f"{host.arch} {host.model}", host.family, caches, code)))


@functools.cache
def versions(op: str) -> str:
    """The compiler and the code of the operator's kernels; comments, docstrings and imports do not count."""
    try:
        tvm = importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        tvm = "none"
    digest = hashlib.sha256()
    for text in _sources(op):
        digest.update(_code(text).encode())
    return f"apache-tvm {tvm}; {op} {digest.hexdigest()[:12]}"


def _sources(op: str) -> list[str]:
    package = resources.files("l0compile")
    if op not in _KERNELS:
        return [package.joinpath("lower", "tvm", "ordinary.py").read_text(encoding="utf-8")]
    files = {
        file.name: file for file in package.joinpath("kernels", "cpu").iterdir() if file.name.endswith(".py")
    }
    names = sorted(name for name in files if name.startswith(op) or name == _SHARED)
    return [files[name].read_text(encoding="utf-8") for name in names]


def _code(source: str) -> str:
    """The syntax tree of a module in words, without docstrings and imports: where code lies is not what it does."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
        if isinstance(body, list):
            node.body = [part for part in body if not isinstance(part, ast.Import | ast.ImportFrom)]  # type: ignore[attr-defined]
    return ast.dump(tree)
