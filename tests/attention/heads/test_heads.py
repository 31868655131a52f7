"""Heads that tell classes apart are found, vote, and are all that is left of a compiled model."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import l0compile as l0
from l0compile.attention.heads import HeadClassifier, HeadPlace, close_heads, select_heads
from l0compile.errors import ConfigError, InputError

LAYERS = {"layers.0.out": 4, "layers.1.out": 4, "layers.2.out": 4}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.out = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (to(x).unflatten(-1, (4, 8)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        return x + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Model(nn.Module):
    """Three layers; head 2 of the second reads the features that hold the class, the others noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(6, 32)
        self.layers = nn.ModuleList(Attention() for _ in range(3))
        self.answer = nn.Linear(32, 2000)
        with torch.no_grad():
            self.embed.weight[:, :3], self.embed.weight[:3], self.embed.bias[:3] = 0.0, 0.0, 0.0
            self.embed.weight[:3, :3] = 5 * torch.eye(3)
            for number, layer in enumerate(self.layers):
                layer.out.weight[:3], layer.out.bias[:3] = 0.0, 0.0
                for head in range(4):
                    if (number, head) != (1, 2):
                        layer.to_v.weight[head * 8 : head * 8 + 8, :3] = 0.0
            self.layers[1].out.weight[:, 16:24] *= 1e-3  # so that the last layer does not hear of it

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.answer(x)


def data(number: int) -> tuple[list[tuple[Tensor]], Tensor]:
    """Batches of eight sequences; which of the first three features is large tells the class."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(number * 8) % 3
    x = torch.randn(number * 8, 5, 6, generator=generator)
    x[..., :3] = nn.functional.one_hot(labels, 3).unsqueeze(1) + 0.1 * x[..., :3]
    return [(batch,) for batch in x.split(8)], labels


def test_the_head_that_sees_the_class_is_first() -> None:
    examples, labels = data(6)
    found = select_heads(Model().eval(), LAYERS, examples, labels, 3)
    assert found.heads[0] == HeadPlace("layers.1.out", 2) and found.accuracy[0] > 0.95
    assert found.accuracy == tuple(sorted(found.accuracy, reverse=True)) and found.accuracy[1] < 0.9


def test_votes_are_those_of_the_nearest_means() -> None:
    model = Model().eval()
    examples, labels = data(6)
    classifier = HeadClassifier(model, select_heads(model, LAYERS, examples, labels, 3), examples, labels)
    others, truth = data(9)
    with torch.no_grad():
        votes = torch.cat([classifier(*args) for args in others])
        heads = torch.cat([model.layers[0](model.embed(*args)) for args in others])
        v = model.layers[1].to_v(heads).unflatten(-1, (4, 8)).transpose(1, 2)
        q, k = (
            to(heads).unflatten(-1, (4, 8)).transpose(1, 2)
            for to in (model.layers[1].to_q, model.layers[1].to_k)
        )
        one = scaled_dot_product_attention(q, k, v)[:, 2, -1]
    means = classifier.means[:, 0]
    near = torch.cosine_similarity(one[:, None], means[None], dim=-1).argmax(1)
    assert bool((votes.gather(1, near[:, None]) >= 1).all()) and bool((votes.sum(1) == 3).all())
    assert float((near == truth).double().mean()) > 0.95


def test_compiled_only_what_the_heads_need_is_left() -> None:
    model = Model().eval()
    examples, labels = data(6)
    selection = select_heads(model, LAYERS, examples, labels, 1)
    classifier = HeadClassifier(model, selection, examples, labels).eval()
    compiled = l0.compile(classifier, examples[0])
    assert "layers.2" not in str(compiled.explain()) and "answer" not in str(compiled.explain())
    for args in data(4)[0]:
        assert torch.equal(compiled(*args), classifier(*args))


def test_other_heads_are_closed_and_compiled_away() -> None:
    model = Model().eval()
    examples, labels = data(6)
    selection = select_heads(model, LAYERS, examples, labels, 1)
    close_heads(model, selection)
    for name, count in LAYERS.items():
        weight = model.get_submodule(name).weight.detach().unflatten(1, (count, -1)).abs().sum((0, 2))
        open_heads = {place.head for place in selection.heads if place.layer == name}
        assert {head for head in range(count) if weight[head] > 0} == open_heads
    classifier = HeadClassifier(model, selection, examples, labels).eval()
    others, truth = data(9)
    compiled = l0.compile(classifier, others[0])
    with torch.no_grad():
        votes = torch.cat([classifier(*args) for args in others])
        assert torch.equal(torch.cat([compiled(*args) for args in others]), votes)
    smaller = l0.compact(classifier, others[0])
    weights = sum(p.numel() for p in smaller.parameters())
    assert weights < sum(p.numel() for p in model.layers.parameters()) / 3
    assert float((votes.argmax(1) == truth).double().mean()) > 0.95


def test_what_does_not_fit_is_refused() -> None:
    examples, labels = data(2)
    with pytest.raises(ConfigError, match="expected 20 heads or more, got 12"):
        select_heads(Model(), LAYERS, examples, labels)
    with pytest.raises(ConfigError, match="all 6 classes"):
        select_heads(Model(), LAYERS, examples, labels.where(labels < 2, 5), 3)
    with pytest.raises(InputError, match="5 equal heads, got"):
        select_heads(Model(), {"layers.0.out": 5}, examples, labels, 3)
