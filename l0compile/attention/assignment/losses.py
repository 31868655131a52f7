"""What a model loses when a head sees only what a pattern shows, without training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from l0compile.attention.assignment.assign import HeadPattern
from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.calls import answered
from l0compile.errors import DataError


def pattern_losses(
    model: nn.Module,
    sites: Iterable[str],
    candidates: Sequence[HeadPattern],
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Estimate the loss of each pattern at each head, all other heads as they are.

    The loss is the mean over tokens of sum_f g_f^2 d_f^2, with d the change of the head's output and g the gradient of
    the model's output, multiplied by random vectors, at it: the second-order estimate that weights are pruned by, so
    the losses of both add up. MInference (arXiv 2407.02490) and Sparse-vDiT
    (arXiv 2506.03065) choose the pattern of each head by its error on calibration inputs, too.

    Args:
        model: the dense model. Parameters are frozen meanwhile.
        sites: names of modules that call attention, see :func:`attention_sites`.
        candidates: patterns to choose from.
        batches: calibration inputs without padding.
        predict: takes the model and a batch, and returns the output whose change has to stay small.
        seed: of the random vectors.

    Returns:
        Site -> losses [candidates, heads], float64.

    Raises:
        DataError: the batches never reach a site.
    """
    wanted = set(sites)
    sums: dict[str, Tensor] = {}
    tokens: dict[str, int] = {}

    def answer(name: str, call: Call) -> Tensor:
        result = call.dense()
        if name not in wanted:
            return result
        result = result if result.requires_grad else result.requires_grad_().clone()
        q, k, v = (t.detach() for t in call[:3])
        kept = call._replace(query=q, key=k, value=v)
        plain = result.detach()

        def add(gradient: Tensor) -> None:
            found = torch.stack([_loss(kept, plain, gradient, candidate) for candidate in candidates])
            sums[name] = sums.get(name, 0.0) + found
            tokens[name] = tokens.get(name, 0) + call.query.shape[0] * call.query.shape[2]

        result.register_hook(add)
        return result

    _backward(model, batches, predict, answer, seed)
    if unseen := wanted - set(sums):
        raise DataError(f"pattern_losses: calibration batches never reached {', '.join(sorted(unseen)[:5])}")
    return {name: total / tokens[name] for name, total in sums.items()}


def _backward(
    model: nn.Module,
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    answer: Callable[[str, Call], Tensor],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    with frozen(model):
        for batch in batches:
            with torch.enable_grad(), answered(model, answer):
                output = predict(model, batch)
                if output.requires_grad:  # else it reached no site
                    output.backward(torch.randn(output.shape, generator=generator))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Meanwhile ``model`` is in evaluation mode and no parameter wants a gradient."""
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)


@torch.no_grad()
def _loss(call: Call, plain: Tensor, gradient: Tensor, candidate: HeadPattern) -> Tensor:
    """[heads] float64: sum over tokens and features of squared gradient times squared change."""
    queries, keys = call.query.shape[2], call.key.shape[2]
    change = call.masked(candidate.program(queries, keys).to_mask(queries, keys)) - plain
    return (gradient * change).double().square().sum((0, 2, 3))
