"""Facts about the machine this process runs on, and whether it can run code made for a target."""

import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from l0compile.hardware.targets.card import read_cards, runs_on
from l0compile.hardware.targets.target import Target

# x86-64 psABI levels, as /proc/cpuinfo names the features (abm stands for lzcnt).
_V3 = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
X86_LEVELS: tuple[tuple[str, int, frozenset[str]], ...] = (
    ("x86-64-v4", 512, _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", 256, _V3),
    ("x86-64", 128, frozenset()),
)


# LLVM's name -> that of /proc/cpuinfo.
_DOT_PRODUCTS = {"avx512vnni": "avx512_vnni", "avxvnni": "avx_vnni", "avx512bf16": "avx512_bf16", "i8mm": "i8mm",
                 "bf16": "bf16", "avx512bw": "avx512bw", "avx2": "avx2"}  # fmt: skip
# Of 16-bit integers, which 8-bit ones are widened to where no other instruction takes them.
_WIDER_PRODUCTS = ("avx512bw", "avx2")


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        system: such as "Linux".
        machine: such as "x86_64".
        model: name of the CPU.
        flags: of its instruction set.
        cores: physical ones.
        caches: (level, bytes) pairs.
        family: the generation of the CPU, which ``model`` may not tell.
    """

    system: str
    machine: str
    model: str
    flags: frozenset[str]
    cores: int
    caches: tuple[tuple[int, int], ...]
    family: str = ""

    @property
    def arch(self) -> str:
        """The architecture as LLVM triples spell it."""
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(self.machine.lower(), self.machine.lower())

    @property
    def isa(self) -> str:
        """The level of the instruction set, such as ``x86-64-v3`` or ``aarch64-neon``; else ``arch``."""
        if self.arch == "x86_64":
            return next(name for name, _, needs in X86_LEVELS if needs <= self.flags)
        return "aarch64-neon" if self.arch == "aarch64" else self.arch

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether the CPU has instructions for products of bfloat16 numbers."""
        return not self.flags.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})

    @property
    def dot_products(self) -> tuple[str, ...]:
        """LLVM's names of the instruction sets for products of narrow numbers."""
        found = [name for name, flag in _DOT_PRODUCTS.items() if flag in self.flags]
        narrow = not {"avx512vnni", "avxvnni", "i8mm"}.isdisjoint(found)
        return tuple(name for name in found if not (narrow and name in _WIDER_PRODUCTS))

    def fingerprint(self) -> dict[str, str]:
        """What an artifact or a measurement records of its machine."""
        return {
            "system": self.system,
            "arch": self.arch,
            "model": self.model,
            "isa": self.isa,
            "cores": str(self.cores),
        }


@functools.lru_cache(maxsize=1)
def read_host() -> Host:
    """Describe this machine, once in a process: later changes of the affinity go unseen."""
    model, family, flags = _cpuinfo(Path("/proc/cpuinfo"))
    return Host(
        system=platform.system(),
        machine=platform.machine(),
        model=model or platform.processor() or platform.machine(),
        flags=flags or _flags_from_torch(),
        cores=available_cores(),
        caches=_caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        family=family,
    )


def available_cores() -> int:
    """Return how many physical cores the affinity and the cgroup of this process let it use."""
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
        root = Path("/sys/devices/system/cpu")
        groups = {_read(root / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus}
        cores = len(groups)
    else:
        cores = os.cpu_count() or 1
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, int(quota[0]) // int(quota[1]))
    return max(1, cores)


def host_supports(target: Target, host: Host | None = None) -> str | None:
    """Return why code for ``target`` does not run on ``host`` (default: this machine); None if it does."""
    if target.kind == "cuda":
        return _cuda_reason(target)
    host = host or read_host()
    if target.arch != host.arch:
        return f"it is for {target.arch} and this machine is {host.arch}"
    if _system_of(target.triple) not in (host.system, ""):
        return f"it is for {_system_of(target.triple)} and this machine runs {host.system}"
    needs = {_DOT_PRODUCTS[name] for name in target.dot_products}
    if host.arch == "x86_64":
        needs |= _x86_needs(target)
    missing = needs - host.flags
    return f"the CPU ({host.model}) lacks {', '.join(sorted(missing))}" if missing else None


def _x86_needs(target: Target) -> frozenset[str]:
    for name, bits, needs in X86_LEVELS:
        # A CPU model name says more than a level, but its vector width is what the kernels rely on.
        if target.cpu == name or (not target.cpu.startswith("x86-64") and target.vector_bits >= bits):
            return needs
    return _V3  # x86-64-v2 and the like: the generated vectors still need what their width implies


def _system_of(triple: str) -> str:
    for word, system in (
        ("linux", "Linux"),
        ("darwin", "Darwin"),
        ("macos", "Darwin"),
        ("windows", "Windows"),
    ):
        if word in triple:
            return system
    return ""


def _cuda_reason(target: Target) -> str | None:
    import torch

    if not torch.cuda.is_available():
        cards = read_cards()
        advice = f"; {cards[0].name} is here, so install a PyTorch that is built for CUDA" if cards else ""
        return f"it needs an NVIDIA GPU ({target.cpu}) and PyTorch sees none{advice}"
    found = "sm_{}{}".format(*torch.cuda.get_device_capability())
    return None if runs_on(target.cpu, found) else f"it is for {target.cpu} and the GPU here is {found}"


def _cpuinfo(path: Path) -> tuple[str, str, frozenset[str]]:
    fields: dict[str, str] = {}
    for line in _read(path).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = frozenset((fields.get("flags") or fields.get("Features") or "").split())
    # Virtual machines often shorten the name to "AMD EPYC" for every generation.
    family = " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields)
    return fields.get("model name", fields.get("CPU part", "")), family, flags


def _flags_from_torch() -> frozenset[str]:
    # Other systems have no /proc/cpuinfo; PyTorch asks the CPU itself.
    import torch

    level = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": X86_LEVELS[0][2], "AVX2": X86_LEVELS[1][2]}.get(level, frozenset())


def _caches(folder: Path) -> tuple[tuple[int, int], ...]:
    found: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and level.isdigit() and size[:-1].isdigit() and size[-1] in "KMG":
            found[int(level)] = int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]
    return tuple(sorted(found.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
