"""The target in a manifest, and whether this machine can run code made for it."""

from collections.abc import Mapping
from typing import Any

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import Target, host_supports
from l0compile.ir.codec import decode


def target_of(manifest: Mapping[str, Any], where: str) -> Target:
    """Return the target that the artifact ``where`` was compiled for.

    Raises:
        ArtifactError: the record of it is malformed, or of another version.
    """
    return decode(
        manifest.get("target"), Target, f"{where}: target", ArtifactError, advice="save the model again"
    )


def check_host(target: Target, where: str) -> None:
    """Check that code for ``target`` runs on this machine; otherwise the first call would end the process.

    Raises:
        ArtifactError: it does not; says why.
    """
    reason = host_supports(target)
    if reason is not None:
        there = "copy the folder to a machine that has one, or " if target.kind == "cuda" else ""
        raise ArtifactError(
            f"{where}: made for target {target.name!r}, which cannot run here: {reason}; {there}"
            "compile the model again with target='native' on this machine"
        )
