"""The gate itself, a submodule of the module that it gates."""

from typing import Any

import torch
from torch import Tensor, nn

from l0compile.gates import hard_concrete
from l0compile.gates.granularity import Granularity, Layer, site
from l0compile.ir.ops.gate import gate_in_training


class Gate(nn.Module):
    """Hard-concrete gates on one tensor of one module.

    Once hardened, the gates have the constant values ``z``. Before that, every call in training mode draws a new
    sample (one mask for the whole batch), and evaluation mode uses the median.

    Attributes:
        granularity: What one entry covers.
        site: Which tensor of the module the gates multiply.
        block: Block edges in elements; ``(0,)`` stands for the whole last dimension (:class:`Layer`).
        log_alpha: ``[*grid]`` parameter, float32 unless the model is converted.
        hardened: Bool scalar buffer.
        z: ``[*grid]`` buffer, the values once hardened (zeros before).
        folded: Bool scalar buffer. If true, the weights hold the values, and ``z`` is 1 where a gate is open (see
            ``fold``).
        record: ``[5]`` float64 buffer that says how the gate was hardened (see ``harden.hardening``).
        generator: Of the noise in training mode; None for PyTorch's global one.
    """

    hardened: Tensor
    folded: Tensor
    z: Tensor
    record: Tensor

    def __init__(
        self,
        granularity: Granularity,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        open_probability: float,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.granularity = granularity
        self.site = site(granularity)
        self.block = block
        probability = torch.full(grid, open_probability, dtype=torch.float32, device=device)
        self.log_alpha = nn.Parameter(hard_concrete.log_alpha_of(probability))
        self.register_buffer("hardened", torch.zeros((), dtype=torch.bool, device=device))
        self.register_buffer("folded", torch.zeros((), dtype=torch.bool, device=device))
        self.register_buffer("z", torch.zeros(grid, dtype=torch.float32, device=device))
        self.register_buffer("record", torch.zeros(5, dtype=torch.float64, device=device))
        # The same facts as the buffers, kept in Python: a branch on a tensor cannot be exported.
        self.is_hardened = self.is_folded = False
        self.generator: torch.Generator | None = None

    def value(self) -> Tensor:
        """Return the gates of this call, ``[*grid]`` in [0, 1]; random in training mode until hardened."""
        if self.is_hardened:
            return self.z
        if self.training:
            return hard_concrete.sample(self.log_alpha, self.generator)
        return hard_concrete.median(self.log_alpha)

    def open_probability(self) -> Tensor:
        """Return P(open) of every entry, ``[*grid]``; 0 or 1 once hardened."""
        if self.is_hardened:
            return (self.z != 0).to(self.z.dtype)
        return hard_concrete.open_probability(self.log_alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the blocks of ``x`` by the gates; the result has the shape and dtype of ``x``."""
        block = [x.shape[-1]] if isinstance(self.granularity, Layer) else list(self.block)
        return multiply(x, cast(self.value(), x), block, self.training)

    def set_constant(self, z: Tensor, record: Tensor) -> None:
        """Harden the gate: from now on its value is ``z`` (``[*grid]``), and ``log_alpha`` is not used."""
        with torch.no_grad():
            self.z.copy_(z)
            self.record.copy_(record)
            self.hardened.fill_(True)
        self._follow_buffers()

    def set_folded(self) -> None:
        """Note that the weights hold the values from now on; ``z`` then only says which entries are open."""
        with torch.no_grad():
            self.z.copy_(self.z != 0)
            self.folded.fill_(True)
        self._follow_buffers()

    def _follow_buffers(self) -> None:
        before = self.is_hardened
        self.is_hardened, self.is_folded = bool(self.hardened), bool(self.folded)
        if (
            self.is_hardened != before
        ):  # else a loop that hides gates from its optimiser would find them again
            self.log_alpha.requires_grad_(not self.is_hardened)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: object, **kwargs: object
    ) -> None:
        if f"{prefix}z" in state_dict:  # an older version had no buffer "folded"
            state_dict.setdefault(f"{prefix}folded", torch.zeros((), dtype=torch.bool))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._follow_buffers()

    def extra_repr(self) -> str:
        """Return granularity, grid and state, for ``print(model)``."""
        return f"{self.granularity}, grid={tuple(self.log_alpha.shape)}, hardened={self.is_hardened}"


def multiply(x: Tensor, z: Tensor, block: list[int], training: bool) -> Tensor:
    """Multiply blocks of ``x`` by ``z``: by the operator that graphs know, or in the quickest way in training mode."""
    return gate_in_training(x, z, block) if training else torch.ops.l0compile.gate(x, z, block)


def cast(z: Tensor, x: Tensor) -> Tensor:
    """Convert ``z`` to the dtype of ``x``, without a call of ``to`` where that would add a needless node to a graph."""
    return z if z.dtype == x.dtype else z.to(x.dtype)


def named_gates(model: nn.Module) -> dict[str, Gate]:
    """Return every gate of ``model`` by its path (``"encoder.layer.0.output.dense.l0_block"``), in module order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Gate)}
