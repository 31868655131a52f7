"""Find and read target files; every complaint names the file, the key, what is allowed and what was found."""

import difflib
import functools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l0compile.errors import ConfigError, TargetError
from l0compile.hardware.targets.host import read_host
from l0compile.hardware.targets.native import native_target
from l0compile.hardware.targets.shipped import shipped_folder
from l0compile.hardware.targets.target import Core, Target

DTYPES = ("float32", "float16", "bfloat16", "float64")
_TOP = ("kind", "triple", "cpu", "attrs", "cores", "dtypes", "vector", "cache", "blocks", "core")


def list_targets() -> tuple[str, ...]:
    """Names that ``load_target`` knows: ``native`` first, then the shipped files."""
    return ("native", *sorted(path.stem for path in shipped_folder("targets").glob("*.toml")))


def load_target(name_or_path: str | os.PathLike[str]) -> Target:
    """The target called ``name_or_path``: a name of ``list_targets()``, or the path of a TOML file.

    Raises ``TargetError`` for an unknown name or a missing file, ``ConfigError`` for a malformed file.
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


@functools.lru_cache(maxsize=1)
def _native() -> Target:
    return native_target(read_host(), [load_target(name) for name in list_targets() if name != "native"])


def _load_file(path: Path) -> Target:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetError(
            f"target: no file {str(path)!r}; shipped targets are {', '.join(list_targets())}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_target(table, str(path), path.stem)


def parse_target(table: Mapping[str, Any], where: str, name: str) -> Target:
    """The ``Target`` called ``name`` from a parsed TOML ``table``; ``where`` starts every error message."""
    _check_keys(table, _TOP, where, "")
    kind = _text(table, "kind", where)
    if kind not in ("llvm", "cuda"):
        raise ConfigError(f"{where}: key 'kind': expected 'llvm' or 'cuda', got {kind!r}")
    cpu = _text(table, "cpu", where)
    if kind == "cuda" and not re.fullmatch(r"sm_\d{2,3}a?", cpu):
        raise ConfigError(
            f"{where}: key 'cpu': expected an architecture such as 'sm_80' for kind 'cuda', got {cpu!r}"
        )
    vector = _section(table, "vector", ("bits", "registers"), where)
    cache = _section(table, "cache", ("l1_bytes", "l2_bytes", "l3_bytes"), where)
    blocks = _blocks(table, where)
    bits = _integer(vector, "bits", where, "vector.", low=64)
    if bits & (bits - 1):
        raise ConfigError(f"{where}: key 'vector.bits': expected a power of two from 64, got {bits}")
    return Target(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # checked above; mypy does not narrow str to Literal by `in`
        triple=_text(table, "triple", where),
        cpu=cpu,
        attrs=_texts(table, "attrs", where, r"[+-][\w.-]+", "features such as '+fma' or '-prefer-256-bit'"),
        vector_bits=bits,
        registers=_integer(vector, "registers", where, "vector.", low=1),
        l1_bytes=_integer(cache, "l1_bytes", where, "cache.", low=1),
        l2_bytes=_integer(cache, "l2_bytes", where, "cache.", low=0),
        l3_bytes=_integer(cache, "l3_bytes", where, "cache.", low=0),
        cores=_integer(table, "cores", where, "", low=1),
        dtypes=_texts(table, "dtypes", where, "|".join(DTYPES), f"some of {', '.join(DTYPES)}"),
        blocks=tuple(block for block, _ in blocks),
        efficiency=blocks,
        core=_core(table, where),
    )


def _core(table: Mapping[str, Any], where: str) -> Core:
    """The optional table ``core``; what it leaves out is as in ``Core``."""
    names = tuple(Core.__dataclass_fields__)
    section = _section(table, "core", names, where) if "core" in table else {}
    return Core(**{name: _integer(section, name, where, "core.", low=1) for name in section})


def _blocks(table: Mapping[str, Any], where: str) -> tuple[tuple[tuple[int, int], float], ...]:
    section = _require(table, "blocks", where, "")
    if not isinstance(section, Mapping) or not section:
        raise ConfigError(
            f"{where}: key 'blocks': expected a table such as {{\"4x1\" = 1.0}}, got {section!r}"
        )
    found = []
    for key, speed in section.items():
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", key)
        if match is None:
            raise ConfigError(f"{where}: key 'blocks.{key}': expected ROWSxCOLS such as \"4x1\", got {key!r}")
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed <= 2:
            raise ConfigError(
                f"{where}: key 'blocks.{key}': expected a relative speed in (0, 2], got {speed!r}"
            )
        found.append(((int(match[1]), int(match[2])), float(speed)))
    # Best first; between equals the finer block, because finer zeros cost the model less.
    return tuple(sorted(found, key=lambda item: (-item[1], item[0][0] * item[0][1], item[0])))


def _section(table: Mapping[str, Any], key: str, keys: tuple[str, ...], where: str) -> Mapping[str, Any]:
    section = _require(table, key, where, "")
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: key '{key}': expected a table with {', '.join(keys)}, got {section!r}")
    _check_keys(section, keys, where, f"{key}.")
    return section


def _check_keys(table: Mapping[str, Any], allowed: tuple[str, ...], where: str, prefix: str) -> None:
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ConfigError(f"{where}: unknown key '{prefix}{key}': allowed are {', '.join(allowed)}{hint}")


def _require(table: Mapping[str, Any], key: str, where: str, prefix: str) -> Any:
    if key not in table:
        raise ConfigError(f"{where}: key '{prefix}{key}' is missing; found {', '.join(table) or 'nothing'}")
    return table[key]


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = _require(table, key, where, "")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: key '{key}': expected text, got {value!r}")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str, pattern: str, allowed: str) -> tuple[str, ...]:
    value = _require(table, key, where, "")
    if not isinstance(value, list):
        raise ConfigError(f"{where}: key '{key}': expected a list of {allowed}, got {value!r}")
    for item in value:
        if not isinstance(item, str) or not re.fullmatch(pattern, item):
            raise ConfigError(f"{where}: key '{key}': expected {allowed}, got {item!r}")
    return tuple(value)


def _integer(table: Mapping[str, Any], key: str, where: str, prefix: str, low: int) -> int:
    value = _require(table, key, where, prefix)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(
            f"{where}: key '{prefix}{key}': expected a whole number of at least {low}, got {value!r}"
        )
    return value
