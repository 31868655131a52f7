"""A compiled model on disk: a folder with a manifest, the weights and a library; written whole or not at all."""

from l0compile.runtime.artifact.bundle import Bundle as Bundle
from l0compile.runtime.artifact.bundle import check_destination as check_destination
from l0compile.runtime.artifact.bundle import read_bundle as read_bundle
from l0compile.runtime.artifact.bundle import write_bundle as write_bundle
from l0compile.runtime.artifact.example import example_leaves as example_leaves
from l0compile.runtime.artifact.example import example_sizes as example_sizes
from l0compile.runtime.artifact.host import check_host as check_host
from l0compile.runtime.artifact.host import target_of as target_of
from l0compile.runtime.artifact.manifest import FORMAT as FORMAT
from l0compile.runtime.artifact.manifest import read_manifest as read_manifest
from l0compile.runtime.artifact.packed import pack as pack
from l0compile.runtime.artifact.packed import unpack as unpack
from l0compile.runtime.artifact.spec import dump_spec as dump_spec
from l0compile.runtime.artifact.spec import load_spec as load_spec

__all__ = [
    "FORMAT", "Bundle", "check_destination", "check_host", "dump_spec", "example_leaves",
    "example_sizes", "load_spec", "pack", "read_bundle", "read_manifest", "target_of", "unpack", "write_bundle",
]  # fmt: skip
