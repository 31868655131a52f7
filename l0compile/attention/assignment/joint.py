"""What a model loses when all its heads have patterns at once: exactly, and estimated around one such assignment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from l0compile.attention.assignment.assign import AssignedPatterns, HeadPattern
from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.calls import answered
from l0compile.attention.assignment.losses import frozen
from l0compile.errors import DataError

Predict = Callable[[nn.Module, object], Tensor]
HeadPatterns = Mapping[str, Sequence[HeadPattern]]


@dataclass(frozen=True)
class OutputChanges:
    """How the model's output would change, in random projections of it, if one head took another pattern.

    The loss of several changes together is the mean square of ``residual`` plus the sum of their columns, so changes
    that cancel out or add up are told apart.

    Attributes:
        residual: [S], what the output differs by from the dense model's already.
        changes: site -> [S, candidates, heads].
    """

    residual: Tensor
    changes: Mapping[str, Tensor]


class JointLosses:
    """Losses of assignments of patterns to all heads of some attentions, on calibration inputs.

    The loss is the mean over inputs of the squared change of the output. Nothing is evaluated twice.
    """

    def __init__(self, model: nn.Module, batches: Sequence[object], predict: Predict) -> None:
        """Remember the dense model's outputs.

        Args:
            model: the dense model.
            batches: calibration inputs without padding.
            predict: takes the model and a batch, and returns the output whose change has to stay small.

        Raises:
            DataError: there are no batches.
        """
        if not batches:
            raise DataError("JointLosses: expected one batch or more of calibration inputs, got none")
        self._model, self._batches, self._predict = model.eval(), batches, predict
        with torch.no_grad():
            self._wanted = [predict(model, batch) for batch in batches]
        self._known: dict[tuple[tuple[str, tuple[HeadPattern, ...]], ...], float] = {}

    @property
    def evaluations(self) -> int:
        """How many assignments were evaluated."""
        return len(self._known)

    def of(self, patterns: HeadPatterns) -> float:
        """Return the loss of a pattern for each head of each site."""
        key = tuple((name, tuple(patterns[name])) for name in sorted(patterns))
        if key not in self._known:
            with torch.no_grad(), answered(self._model, _Assigned(patterns).answer):
                changes = [
                    float((self._predict(self._model, batch) - wanted).double().square().sum())
                    for batch, wanted in zip(self._batches, self._wanted, strict=True)
                ]
            self._known[key] = sum(changes) / len(changes)
        return self._known[key]

    def around(
        self, patterns: HeadPatterns, candidates: HeadPatterns, *, projections: int = 8, seed: int = 0
    ) -> OutputChanges:
        """Estimate what changes if one head takes another pattern, to first order.

        Args:
            patterns: those that heads have.
            candidates: site -> what each of its heads may take.
            projections: of the output of each batch, each one backward pass.
            seed: of the projections.

        Raises:
            DataError: the batches never reach a site.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = list[tuple[Tensor, dict[str, Tensor]]]()
        with frozen(self._model):
            for batch, wanted in zip(self._batches, self._wanted, strict=True):
                assigned = _Assigned(patterns)
                with torch.enable_grad(), answered(self._model, assigned.answer):
                    output = self._predict(self._model, batch)
                if unseen := set(candidates) - set(assigned.calls):
                    raise DataError(f"JointLosses: a batch never reached {', '.join(sorted(unseen)[:5])}")
                shape = projections, *output.shape
                directions = torch.randn(shape, generator=generator)
                residual = (directions * (output.detach() - wanted)).flatten(1).double().sum(1)
                parts.append((residual, assigned.projected(output, directions, candidates)))
        names = list(candidates)
        return OutputChanges(
            torch.cat([residual for residual, _ in parts]),
            {name: torch.cat([changes[name] for _, changes in parts]) for name in names},
        )


class _Assigned:
    """A pass through a model whose heads have patterns; with gradients, it keeps what attention was called with."""

    def __init__(self, patterns: HeadPatterns) -> None:
        self._patterns = {name: AssignedPatterns(name, tuple(heads)) for name, heads in patterns.items()}
        self.calls: dict[str, tuple[Call, Tensor]] = {}

    def answer(self, name: str, call: Call) -> Tensor:
        found = self._patterns.get(name)
        if found is None:
            return call.dense()
        result = found.answer(call)
        if torch.is_grad_enabled():
            result = result if result.requires_grad else result.requires_grad_().clone()
            self.calls[name] = call._replace(**{w: getattr(call, w).detach() for w in _TENSORS}), result
        return result

    def projected(self, output: Tensor, directions: Tensor, candidates: HeadPatterns) -> dict[str, Tensor]:
        """Site -> [projections, candidates, heads], what ``directions`` of the output change by."""
        names = list(candidates)
        results = [self.calls[name][1] for name in names]
        each = [torch.autograd.grad(output, results, one, retain_graph=True) for one in directions]
        found = {}
        for name, gradients in zip(names, zip(*each, strict=True), strict=True):
            call, plain = self.calls[name]
            gradient = torch.stack(gradients)
            columns = [
                torch.einsum("pbhqd,bhqd->ph", gradient, _changed(call, pattern) - plain.detach())
                for pattern in candidates[name]
            ]
            found[name] = torch.stack(columns, 1).double()
        return found


_TENSORS = ("query", "key", "value")


@torch.no_grad()
def _changed(call: Call, pattern: HeadPattern) -> Tensor:
    return AssignedPatterns("", (pattern,) * call.query.shape[1]).answer(call)
