"""Watching modalities while a model trains: is one of them about to be ignored?"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.gates import Floor, Gate, named_gates
from l0compile.gates.floor import covers
from l0compile.tasks.multimodal.transformer import SharedTransformer

_log = logging.getLogger("l0compile")


@dataclass(frozen=True)
class Presence:
    """How much of one modality is left.

    active: the expected share of its gates that are open, in [0, 1]; None if it has no gates. gradient: its share of
    the gradient, in [0, 1]: the Euclidean norm at its tokens over the sum of these norms of all modalities, a mean over
    steps.
    """

    active: float | None
    gradient: float


@dataclass(frozen=True)
class Reading:
    """What a watch saw. step: of the training. collapsed: the modalities below a threshold."""

    step: int
    modalities: Mapping[str, Presence]
    collapsed: tuple[str, ...]


class ModalityWatch:
    """Read presence of each modality during training, keep floors, and warn of modality collapse.

    Use it as a context around `train(..., on_step=watch.step)`, after `attach`. A modality has collapsed while less
    than ``least_active`` of its gates are expected open, or its tokens get less than ``least_gradient`` of the
    gradient. The logger ``l0compile`` then warns once, and again if it collapses after it has recovered.

    Args:
        model: what trains.
        tokens: modality -> name of the module that returns its tokens. Default: ``tokens.<modality>`` of a
            `SharedTransformer`.
        gates: modality -> name pattern of the gated modules that only its tokens pass. Default:
            ``between.*.<modality>``.
        floors: modality -> the share of gates that stays open in each of its modules, see `Floor`. Give
            `harden_floors` to ``harden``.
        every: steps between readings.
        least_active, least_gradient: the thresholds.

    Attributes:
        readings: all of them, the latest last.

    Raises:
        ConfigError: a modality or a module is unknown, or a number is out of range.
        GateError: a floor is out of range, or its modality has no gates.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokens: Mapping[str, str] | None = None,
        gates: Mapping[str, str] | None = None,
        floors: Mapping[str, float] | None = None,
        every: int = 25,
        least_active: float = 0.05,
        least_gradient: float = 0.01,
    ) -> None:
        if every < 1 or not 0 <= least_active <= 1 or not 0 <= least_gradient <= 1:
            raise ConfigError(
                f"ModalityWatch: expected every >= 1 and thresholds in [0, 1], got {every}, {least_active}, "
                f"{least_gradient}"
            )
        names = model.modalities if isinstance(model, SharedTransformer) else tuple(tokens or ())
        self._model, self._every = model, every
        self._least_active, self._least_gradient = least_active, least_gradient
        self._patterns = dict(gates or {name: f"between.*.{name}" for name in names})
        self._sources = _modules(model, tokens or {name: f"tokens.{name}" for name in names})
        if unknown := sorted(set(floors or {}) - set(self._patterns)):
            raise ConfigError(
                f"ModalityWatch: floors: expected some of {sorted(self._patterns)}, got {unknown}"
            )
        self.harden_floors = {self._patterns[name]: share for name, share in (floors or {}).items()}
        self._floor = Floor(model, self.harden_floors)
        self._handles: list[Any] = []
        # The squared norms of this step, and the norms of the steps since the last reading.
        self._squares = dict.fromkeys(self._sources, 0.0)
        self._norms = dict.fromkeys(self._sources, 0.0)
        self._down: set[str] = set()
        self.readings: list[Reading] = []

    def __enter__(self) -> "ModalityWatch":
        for name, module in self._sources.items():
            self._handles.append(module.register_forward_hook(partial(self._follow, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def step(self, done: int) -> None:
        """Take note of step ``done`` (from 1), after the optimiser's step."""
        self._floor.step()
        for name, square in self._squares.items():
            self._norms[name] += square**0.5
            self._squares[name] = 0.0
        if done % self._every == 0:
            self._read(done)

    def presence(self) -> dict[str, Presence]:
        """Return the presence of each modality now, its gradient since the last reading."""
        total = sum(self._norms.values())
        return {
            name: Presence(active_share(self._model, self._patterns[name]), norm / total if total else 0.0)
            for name, norm in self._norms.items()
        }

    def _follow(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(partial(self._note, name))

    def _note(self, name: str, gradient: Tensor) -> None:
        self._squares[name] += float(gradient.square().sum())

    def _read(self, done: int) -> None:
        found = self.presence()
        reasons = {name: self._reason(name, presence) for name, presence in found.items()}
        collapsed = tuple(name for name, reason in reasons.items() if reason)
        for name in collapsed:
            if name not in self._down:
                _log.warning("step %d: modality %r collapses: %s", done, name, reasons[name])
        self._down = set(collapsed)
        self._norms = dict.fromkeys(self._norms, 0.0)
        self.readings.append(Reading(done, found, collapsed))

    def _reason(self, name: str, presence: Presence) -> str:
        if presence.active is not None and presence.active < self._least_active:
            return (
                f"{presence.active:.1%} of its gates are expected open, at least {self._least_active:.1%} wanted. Set "
                f"a floor, floors={{{name!r}: {2 * self._least_active:g}}}, ask for a higher density, or let the "
                "density fall more slowly"
            )
        if presence.gradient < self._least_gradient:
            return (
                f"its tokens get {presence.gradient:.2%} of the gradient, at least {self._least_gradient:.2%} wanted. "
                "See with ablate(task, model) whether it still matters; if it should, set a floor, train longer, or "
                "train without the modality that drowns it first"
            )
        return ""


def active_share(model: nn.Module, pattern: str) -> float | None:
    """Return the expected share of open gates, in [0, 1], on the modules that a pattern matches; None without gates."""
    gates: list[Gate] = [gate for name, gate in named_gates(model).items() if covers(pattern, name)]
    if not gates:
        return None
    with torch.no_grad():
        return float(torch.cat([gate.open_probability().reshape(-1) for gate in gates]).double().mean())


def _modules(model: nn.Module, names: Mapping[str, str]) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    missing = sorted(set(names.values()) - set(modules))
    if missing or not names:
        known = [name for name in modules if fnmatchcase(name, "*token*")][:5]
        raise ConfigError(
            f"ModalityWatch: tokens: expected the names of modules that return tokens, got no module "
            f"{', '.join(missing) or 'at all'}; {type(model).__name__} has {', '.join(known) or 'none of such a name'}"
        )
    return {modality: modules[name] for modality, name in names.items()}
