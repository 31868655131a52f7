"""Write and read an artifact folder: ``manifest.json``, ``weights.safetensors`` and libraries, ``lib.so`` and so on."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import Target
from l0compile.ir.tensors import resolved
from l0compile.runtime.artifact.folder import check_file, check_replaceable, fingerprint, whole_folder
from l0compile.runtime.artifact.host import check_host, target_of
from l0compile.runtime.artifact.manifest import MANIFEST, read_manifest, seal

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Bundle:
    """What an artifact folder holds, checked.

    Attributes:
        target: what the libraries are made for.
        manifest: JSON values, with ``format``, ``versions``, ``target`` and the keys of ``write_bundle``.
        constants: tensors by name, on the CPU, in the shape and dtype that they were saved with. Names that shared
            one tensor then share one again.
        libraries: paths of the shared libraries in the folder, in the order in which they were given.
    """

    target: Target
    manifest: dict[str, Any]
    constants: dict[str, torch.Tensor]
    libraries: tuple[Path, ...]


def check_destination(path: str | Path) -> None:
    """Check, before work that takes long, whether ``write_bundle`` would put an artifact at ``path``; writes nothing.

    Raises:
        ArtifactError: something else is there, which is not replaced.
    """
    check_replaceable(Path(os.path.abspath(path)), MANIFEST)


def write_bundle(
    path: str | Path,
    manifest: Mapping[str, Any],
    constants: Mapping[str, torch.Tensor],
    *libraries: str | Path,
) -> None:
    """Write an artifact folder, replacing an older artifact there; a failure leaves what was there.

    Args:
        path: the folder.
        manifest: needs ``target`` (a ``Target``, encoded), ``inputs`` and ``outputs`` (lists of dicts), ``in_spec``
            and ``out_spec`` (``dump_spec``); may hold any other JSON, such as ``gate_rule`` and ``explanation``.
            Format, versions and file hashes are added here.
        constants: tensors by name.
        libraries: files to copy.

    Raises:
        ArtifactError: the disk is full or read-only, ``path`` holds something else, or JSON cannot hold a value.
    """
    # abspath, so that "." or a trailing slash still has a name and a parent.
    destination = Path(os.path.abspath(path))
    with whole_folder(destination, MANIFEST) as draft:
        tensors, aliases = _distinct(constants)
        try:
            save_file(tensors, draft / WEIGHTS)
        except SafetensorError as error:
            raise ArtifactError(
                f"{destination}: the weights could not be written: {error}; nothing was left behind"
            ) from error
        names = [library_name(number) for number in range(len(libraries))]
        for library, name in zip(libraries, names, strict=True):
            shutil.copyfile(library, draft / name)
        files = {name: fingerprint(draft / name) for name in (WEIGHTS, *names)}
        (draft / MANIFEST).write_text(seal({**manifest, "aliases": aliases}, files), encoding="utf-8")
        # safetensors creates its file readable by the owner only; an artifact is to be shared like any other file.
        shutil.copymode(draft / MANIFEST, draft / WEIGHTS)


def library_name(number: int) -> str:
    """Return the name of library ``number`` in an artifact folder."""
    return f"lib_{number}.so" if number else "lib.so"


def read_bundle(path: str | Path) -> Bundle:
    """Read an artifact folder, after checking format version, machine type and the hash of every file.

    Raises:
        ArtifactError: it is no artifact, of another format version, made for another machine type, or damaged.
    """
    folder = Path(os.path.abspath(path))
    manifest = read_manifest(folder)
    target = target_of(manifest, str(path))
    check_host(target, str(path))
    libraries = [library_name(number) for number in range(len(manifest["files"]) - 1)]
    for name in (WEIGHTS, *libraries):
        if name not in manifest["files"]:
            raise ArtifactError(f"{folder}: its manifest lists no file {name}; save the model again")
        check_file(folder / name, manifest["files"][name])
    try:
        constants = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{folder / WEIGHTS}: cannot be read: {error}") from error
    for name, original in manifest.pop("aliases").items():
        constants[name] = constants[original]
    return Bundle(target, manifest, constants, tuple(folder / name for name in libraries))


def _distinct(constants: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return tensors that share no memory, and for each name left out the name that holds the same tensor.

    safetensors refuses shared memory. The same view twice (tied weights) is stored once. Different views of one
    storage are stored apart, which makes no difference to a compiled model: it only reads them.
    """
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    views: dict[tuple[object, ...], str] = {}
    storages: set[int] = set()
    for name, value in constants.items():
        tensor = resolved(value.detach()).cpu()  # safetensors would drop a lazy sign without a word
        view = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and view in views:
            aliases[name] = views[view]
            continue
        views[view] = name
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = (
            tensor.clone(memory_format=torch.contiguous_format)
            if storage in storages
            else tensor.contiguous()
        )
        storages.add(storage)
    return tensors, aliases
