"""The target inside a manifest, and whether this machine can run code made for it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import Core, Target, host_supports

_Kind = TypeVar("_Kind", Target, Core)


def dump_target(target: Target) -> dict[str, Any]:
    """``target`` as JSON values."""
    return dataclasses.asdict(target)


def restore_target(record: Mapping[str, Any], where: str) -> Target:
    """The ``Target`` that ``dump_target`` gave ``record`` for. Raises ``ArtifactError`` if the fields differ.

    Fields that were added later may be missing.
    """
    core = _restored(Core, record.get("core", {}), where)
    return _restored(Target, {**record, "core": core}, where)


def _restored(kind: type[_Kind], record: Mapping[str, Any], where: str) -> _Kind:
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    needed = {name for name, default in fields.items() if default is dataclasses.MISSING}
    if not needed <= set(record) <= set(fields):
        differing = ", ".join(sorted((needed - set(record)) | (set(record) - set(fields))))
        raise ArtifactError(
            f"{where}: its target record differs from this version's in: {differing}; save the model again"
        )
    return kind(**{name: _tuples(value) for name, value in record.items()})


def check_host(target: Target, where: str) -> None:
    """Raise ``ArtifactError`` if code for ``target`` would not run on this machine.

    Without the check the process dies at the first call, by an illegal instruction.
    """
    reason = host_supports(target)
    if reason is not None:
        raise ArtifactError(
            f"{where}: made for target {target.name!r}, which cannot run here: {reason}; "
            "compile the model again with target='native' on this machine"
        )


def _tuples(value: Any) -> Any:
    # JSON has no tuples, and a Target must be hashable.
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
