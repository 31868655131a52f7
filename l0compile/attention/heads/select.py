"""Which heads of a model tell classes apart: sparse attention vectors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from l0compile.attention.heads.last_token import CallArguments, class_means, last_tokens, nearest
from l0compile.errors import ConfigError


@dataclass(frozen=True, order=True)
class HeadPlace:
    """A head of a model.

    Attributes:
        layer: Name of the output projection that it leads to.
        head: Its number there.
    """

    layer: str
    head: int


@dataclass(frozen=True)
class HeadSelection:
    """The heads that classify best.

    Attributes:
        heads: The best first.
        accuracy: Of each, on the examples.
        layers: Name of each output projection that was asked about -> its number of heads.
    """

    heads: tuple[HeadPlace, ...]
    accuracy: tuple[float, ...]
    layers: Mapping[str, int]


def select_heads(
    model: nn.Module,
    layers: Mapping[str, int],
    examples: Iterable[CallArguments],
    labels: Tensor,
    num_heads: int = 20,
) -> HeadSelection:
    """Find the heads whose output at the last token tells the classes apart (SAVs, Mitra et al. 2024).

    The mean of a head's output is taken for each class (arXiv:2412.00142). A head is as good as the share of the
    examples that are nearest to the mean of their class. Nothing is trained; 20 examples of each class are enough in
    the paper.

    Args:
        model: The model, in evaluation mode.
        layers: Name of an output projection, an ``nn.Linear`` that joins heads -> their number.
        examples: Arguments of calls, together as many sequences as labels. In a batch the last token of each sequence
            stands last.
        labels: [N] int64, from 0.
        num_heads: How many heads to find.

    Raises:
        ConfigError: There are fewer heads, or a class has no example.
        InputError: A layer is not called with tokens of so many heads.
    """
    if sum(layers.values()) < num_heads:
        raise ConfigError(
            f"select_heads: expected {num_heads} heads or more, got {sum(layers.values())}; ask for fewer"
        )
    values = outputs_of_heads(model, layers, examples)
    classes = int(labels.max()) + 1
    scores: list[tuple[float, HeadPlace]] = []
    for name, of_layer in values.items():
        right = nearest(of_layer, class_means(of_layer, labels, classes)) == labels.unsqueeze(1)
        accuracy = right.double().mean(0).tolist()
        scores += [(share, HeadPlace(name, head)) for head, share in enumerate(accuracy)]
    best = sorted(scores, key=lambda pair: -pair[0])[:num_heads]
    return HeadSelection(tuple(place for _, place in best), tuple(share for share, _ in best), dict(layers))


@torch.no_grad()
def outputs_of_heads(
    model: nn.Module, layers: Mapping[str, int], examples: Iterable[CallArguments]
) -> dict[str, Tensor]:
    """Return name of the layer -> [N, heads, D], what its heads say at the last token of each example."""
    calls = [last_tokens(model, layers, args) for args in examples]
    return {name: torch.cat([call[name] for call in calls]) for name in layers}
