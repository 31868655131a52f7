"""Every error a user can meet. One root; a message says where, what was expected, what came, and what to do.

Subclasses that describe a bad value also inherit ``ValueError`` so that plain ``except ValueError`` keeps working.
"""

from collections.abc import Mapping


class L0CompileError(Exception):
    """Root of all errors raised on purpose by l0compile."""


class GateError(L0CompileError, ValueError):
    """A gate pattern, granularity, budget or hardening request does not fit the model."""


class CaptureError(L0CompileError):
    """The model could not be exported to a graph, or the graph holds an operator that nothing here can run."""


class RewriteError(L0CompileError):
    """A rewrite would be (or was found to be) inexact; nothing is changed when this is raised."""


class TargetError(L0CompileError, ValueError):
    """An unknown, malformed or unsuitable target."""


class ScheduleError(L0CompileError, ValueError):
    """A schedule does not divide the shapes of its kernel, or needs more registers than there are."""


class BuildError(L0CompileError):
    """Code generation failed for a captured and legal program.

    ``nodes``: names of the graph nodes at fault, each with its reason; empty when no single node is known to be.
    """

    def __init__(self, message: str, nodes: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.nodes = dict(nodes or {})


class InputError(L0CompileError, ValueError):
    """A compiled model was called with a wrong structure, shape, dtype or index."""


class StateError(L0CompileError, RuntimeError):
    """A model with state was called by a thread whose sequence of calls it does not hold."""


class ConfigError(L0CompileError, ValueError):
    """An argument, a search space or a target file is malformed; the message names the key and the allowed values."""


class InfeasibleError(ConfigError):
    """No candidate can satisfy what was asked for."""


class DataError(L0CompileError):
    """Data for training, evaluation or a measurement is missing, empty or unreadable."""


class StorageError(DataError):
    """A file, a database or a study cannot be read or written, or holds something else than l0compile wrote."""


class ArtifactError(StorageError):
    """A saved model is incomplete, damaged, or made for another version or machine type."""


class DeviceError(DataError):
    """A device, or the tracker that lends it, does not answer, has gone, or cannot run what it was sent."""


class MissingDependency(L0CompileError, ImportError):
    """An optional package is needed; the message holds the ``pip install`` command that provides it."""
