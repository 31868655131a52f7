"""The manifest of an artifact: what it must hold, how it is sealed, and how it is read back."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l0compile import __version__
from l0compile.errors import ArtifactError
from l0compile.runtime.artifact.nesting import check_depth, parse

FORMAT = 5
"""Version of the folder layout and of the manifest's keys. A reader accepts exactly its own."""

MANIFEST = "manifest.json"
REQUIRED = ("target", "inputs", "outputs", "in_spec", "out_spec")
"""Keys that the writer must bring; the rest (``gate_rule``, ``explanation``, ...) are optional facts."""


def seal(manifest: Mapping[str, Any], files: Mapping[str, dict[str, Any]]) -> str:
    """Return the JSON text of ``manifest``, with format, versions, file hashes and a hash over all of it.

    The hash finds damage, not malice: a library is machine code, so load only artifacts that you trust.

    Raises:
        ArtifactError: a key is missing, or JSON cannot hold a value.
    """
    missing = [key for key in REQUIRED if key not in manifest]
    if missing:
        raise ArtifactError(
            f"write_bundle: the manifest lacks {', '.join(missing)}; it needs {', '.join(REQUIRED)}"
        )
    if not isinstance(manifest["target"], Mapping):
        raise ArtifactError("write_bundle: manifest['target'] must be a dict; codec.encode(target) makes it")
    full: dict[str, Any] = {**manifest, "format": FORMAT, "versions": _versions(), "files": dict(files)}
    try:
        # Through JSON first: the reader hashes what JSON gives back, where tuples are lists and keys are text.
        check_depth(full)
        full = json.loads(json.dumps(full, allow_nan=False))
        full["seal"] = _digest(full)
        return json.dumps(full, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"write_bundle: the manifest must hold only finite JSON values: {error}"
        ) from error


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Return the checked manifest of the artifact folder ``path``, without reading weights or libraries.

    Raises:
        ArtifactError: it is missing, damaged or of another format version.
    """
    file = Path(path) / MANIFEST
    try:
        loaded = parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{path}: expected a folder written by save(), found no {MANIFEST} in it"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); save the model again") from error
    if not isinstance(loaded, dict) or "format" not in loaded:
        raise ArtifactError(f"{file}: expected an l0compile manifest, got other JSON")
    if loaded["format"] != FORMAT:
        versions = loaded.get("versions")
        wrote = versions.get("l0compile", "?") if isinstance(versions, dict) else "?"
        raise ArtifactError(
            f"{file}: expected artifact format {FORMAT}, got {loaded['format']!r} (written by l0compile {wrote}); "
            "compile the model again with this version, or load it with that one"
        )
    if loaded.pop("seal", None) != _digest(loaded):
        raise ArtifactError(
            f"{file}: damaged: its contents do not match the hash it carries; save the model again"
        )
    return loaded


def _digest(manifest: Mapping[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = {"torch": "torch", "tvm": "apache-tvm", "tvm_ffi": "apache-tvm-ffi"}
    return {"l0compile": __version__} | {key: _version(package) for key, package in packages.items()}


def _version(package: str) -> str:
    # From the metadata: asking TVM itself would import it, and a report of what was saved must not need that.
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
