"""A training on disk, from which an interrupted one is resumed."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_log = logging.getLogger("l0compile")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MORE = "more."


@dataclass(frozen=True)
class Done:
    """How far a training on disk is.

    steps: made so far. seconds: they took. finished: whether it has ended. more: what else the training kept.
    """

    steps: int = 0
    seconds: float = 0.0
    finished: bool = False
    more: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Checkpoint:
    """Parameters, the moments of the optimiser and the progress of a training, in one safetensors file.

    key: says what is trained; a file with another key belongs to another training. every_s: the least seconds between
    two writes.
    """

    file: Path
    key: str
    every_s: float = 60.0
    _written: float = field(default_factory=time.monotonic)

    def load(self, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> Done:
        """Restore parameters and optimiser, and return how far the training is; nothing is done if there is no file."""
        if not self.file.exists():
            return Done()
        try:
            with safe_open(self.file, "pt") as stored:
                facts = stored.metadata() or {}
                names = set(stored.keys())
                wanted = {f"{kind}.{name}" for name in named for kind in ("weight", *_MOMENTS)}
                more = {name for name in names if name.startswith(_MORE)}
                if facts.get("key") != self.key or names - more != wanted or not more:
                    return Done()
                tensors = {name: stored.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            _log.warning("%s can't be read (%s): the training starts again", self.file, error)
            return Done()
        steps = int(facts["steps"])
        for name, parameter in named.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"weight.{name}"])
            state: dict[str, Any] = {kind: tensors[f"{kind}.{name}"] for kind in _MOMENTS}
            optimiser.state[parameter] = {"step": torch.tensor(float(steps)), **state}
        found = {name.removeprefix(_MORE): tensors[name] for name in more}
        return Done(steps, float(facts["seconds"]), facts["finished"] == "true", found)

    def save(
        self, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer, steps: int, seconds: float,
        *, finished: bool = False, more: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:  # fmt: skip
        """Write the training, and what ``more`` returns, if the last write is long ago or it has ``finished``."""
        if not finished and time.monotonic() - self._written < self.every_s:
            return
        tensors: dict[str, Tensor] = {f"{_MORE}{name}": value.contiguous() for name, value in more().items()}
        for name, parameter in named.items():
            moments = optimiser.state[parameter]
            tensors[f"weight.{name}"] = parameter.detach().contiguous()
            tensors |= {f"{kind}.{name}": moments.get(kind, torch.zeros_like(parameter)) for kind in _MOMENTS}
        draft = self.file.with_suffix(".draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        facts = {"steps": steps, "seconds": seconds, "finished": finished}
        save_file(
            tensors, draft, {"key": self.key, **{name: json.dumps(value) for name, value in facts.items()}}
        )
        draft.replace(self.file)
        self._written = time.monotonic()
