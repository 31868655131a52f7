"""Find and read target files; every error names the file, the key, what was expected and what came."""

import difflib
import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from l0compile.errors import ConfigError, TargetError
from l0compile.hardware.targets.card import Card, runs_on
from l0compile.hardware.targets.gpu import Gpu
from l0compile.hardware.targets.host import read_host
from l0compile.hardware.targets.native import native_target
from l0compile.hardware.targets.shipped import shipped_folder
from l0compile.hardware.targets.target import Core, Target
from l0compile.ir.codec import Count, Meta, Natural, Text, decode, read_toml


def list_targets() -> tuple[str, ...]:
    """Return the names that ``load_target`` knows: ``native`` first, then the shipped files."""
    return ("native", *sorted(path.stem for path in shipped_folder("targets").glob("*.toml")))


def load_target(name_or_path: str | os.PathLike[str]) -> Target:
    """Return a target.

    Args:
        name_or_path: a name of ``list_targets()``, or the path of a TOML file.

    Raises:
        TargetError: there is no such name or file.
        ConfigError: the file is malformed.
    """
    text = os.fspath(name_or_path)
    if text.endswith(".toml") or os.sep in text:
        return _load_file(Path(text))
    if text == "native":
        return _native()
    if text in list_targets():
        return _load_file(shipped_folder("targets") / f"{text}.toml")
    near = difflib.get_close_matches(text, list_targets(), n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise TargetError(
        f"target: expected one of {', '.join(list_targets())} or a path ending in .toml, got {text!r}{hint}"
    )


def target_of_card(card: Card) -> Target | None:
    """Return the shipped target that knows most of a card among those whose code runs on it; None: there is none."""
    gpus = [load_target(name) for name in list_targets() if name.startswith("cuda")]
    fits = [target for target in gpus if runs_on(target.cpu, card.cpu)]
    return max(
        fits, key=lambda target: (int(target.cpu.removeprefix("sm_").rstrip("a")), target.cpu), default=None
    )


@functools.lru_cache(maxsize=1)
def _native() -> Target:
    return native_target(read_host(), [load_target(name) for name in list_targets() if name != "native"])


def _load_file(path: Path) -> Target:
    try:
        table = read_toml(path)
    except FileNotFoundError:
        raise TargetError(
            f"target: no file {str(path)!r}; shipped targets are {', '.join(list_targets())}"
        ) from None
    return parse_target(table, str(path), path.stem)


@dataclass(frozen=True)
class _VectorUnit:
    bits: Annotated[int, Meta(ge=64, description="a power of two from 64")]
    registers: Count

    def __post_init__(self) -> None:
        if self.bits & (self.bits - 1):
            raise ConfigError(f"bits: expected a power of two from 64, got {self.bits}")


@dataclass(frozen=True)
class _Cache:
    l1_bytes: Count
    l2_bytes: Natural
    l3_bytes: Natural


_CpuFeature = Annotated[
    str, Meta(pattern=r"^[+-][\w.-]+\Z", description="features such as '+fma' or '-prefer-256-bit'")
]
_BlockShape = Annotated[str, Meta(pattern=r"^[1-9]\d*x[1-9]\d*\Z", description='ROWSxCOLS such as "4x1"')]
_Speed = Annotated[float, Meta(gt=0, le=2, description="a relative speed in (0, 2]")]


@dataclass(frozen=True)
class _TargetFile:
    """A target as TOML writes it."""

    kind: Literal["llvm", "cuda"]
    triple: Text
    cpu: Text
    attrs: tuple[_CpuFeature, ...]
    cores: Count
    dtypes: tuple[Literal["float32", "float16", "bfloat16", "float64"], ...]
    vector: _VectorUnit
    cache: _Cache
    blocks: Annotated[
        dict[_BlockShape, _Speed], Meta(min_length=1, description='a table such as {"4x1" = 1.0}')
    ]
    core: Core = field(default_factory=Core)
    dot_products: tuple[
        Literal["avx512vnni", "avxvnni", "avx512bw", "avx2", "avx512bf16", "i8mm", "bf16"], ...
    ] = ()
    gpu: Gpu | None = None

    def __post_init__(self) -> None:
        if self.kind == "cuda" and not re.fullmatch(r"sm_\d{2,3}a?", self.cpu):
            raise ConfigError(
                f"cpu: expected an architecture such as 'sm_80' for kind 'cuda', got {self.cpu!r}"
            )
        if (self.kind == "cuda") != (self.gpu is not None):
            wanted = "is missing; expected a table" if self.kind == "cuda" else "expected none"
            raise ConfigError(f"gpu: {wanted} for kind {self.kind!r}")


def parse_target(table: Mapping[str, Any], where: str, name: str) -> Target:
    """Return the ``Target`` called ``name`` that a TOML ``table`` describes; ``where`` begins every message.

    Raises:
        ConfigError: a key is missing, unknown or malformed.
    """
    found = decode(table, _TargetFile, where, ConfigError)
    # Best first; between equals the finer block, because finer zeros cost the model less.
    blocks = sorted(
        ((_rows_cols(key), speed) for key, speed in found.blocks.items()),
        key=lambda item: (-item[1], item[0][0] * item[0][1], item[0]),
    )
    return Target(
        name=name,
        kind=found.kind,
        triple=found.triple,
        cpu=found.cpu,
        attrs=found.attrs,
        vector_bits=found.vector.bits,
        registers=found.vector.registers,
        **vars(found.cache),
        cores=found.cores,
        dtypes=found.dtypes,
        blocks=tuple(block for block, _ in blocks),
        efficiency=tuple(blocks),
        core=found.core,
        dot_products=found.dot_products,
        gpu=found.gpu,
    )


def _rows_cols(key: str) -> tuple[int, int]:
    rows, _, cols = key.partition("x")
    return int(rows), int(cols)
