"""The errors that l0compile raises. A message says where, what was expected, what came instead, and what to do.

Errors about a bad value are ``ValueError`` too, so that a plain ``except ValueError`` catches them.
"""

from collections.abc import Mapping


class L0CompileError(Exception):
    """Base class of every error that l0compile raises on purpose."""


class GateError(L0CompileError, ValueError):
    """A gate pattern, granularity, budget or hardening request does not fit the model."""


class CaptureError(L0CompileError):
    """The model cannot be exported to a graph, or its graph holds an operator that l0compile cannot run."""


class RewriteError(L0CompileError):
    """A rewrite is inexact, or would be; the model is unchanged."""


class NoAnswerError(RewriteError):
    """The model itself raises, or gives NaN, for the inputs of verification: there is nothing to compare with."""


class TargetError(L0CompileError, ValueError):
    """A target is unknown, malformed or unsuitable."""


class ScheduleError(L0CompileError, ValueError):
    """A schedule does not divide the shapes of its kernel, or needs more registers than there are."""


class BuildError(L0CompileError):
    """No machine code could be made for a legal program.

    Attributes:
        nodes: name of each graph node at fault -> the reason; empty when the node at fault is unknown.
    """

    def __init__(self, message: str, nodes: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.nodes = dict(nodes or {})


class InputError(L0CompileError, ValueError):
    """A compiled model was called with arguments of a wrong structure, shape, dtype or index."""


class StateError(L0CompileError, RuntimeError):
    """A model with state was called from a thread for which it holds no state."""


class ConfigError(L0CompileError, ValueError):
    """An argument or a file of settings is malformed; the message names the file, the key and the allowed values."""


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
    """An optional package is missing; the message holds the ``pip install`` command that provides it."""
