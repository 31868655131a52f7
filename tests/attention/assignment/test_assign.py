"""Heads with patterns see what these show, in PyTorch, in training and compiled."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

import l0compile as l0
from l0compile.attention.assignment.assign import EveryKey, assign_patterns
from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.calls import answered, attention_sites
from l0compile.attention.assignment.losses import pattern_losses
from l0compile.errors import DataError, InputError
from tests.attention.window_pattern import Near


def bert() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    return BertModel(BertConfig(**sizes, vocab_size=50)).eval()


def llama() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaModel(LlamaConfig(**sizes, intermediate_size=32, vocab_size=50, use_cache=False)).eval()


IDS = torch.arange(2 * 40).view(2, 40) % 50
HEADS = [Near(3, 3), Near(0, 5), Near(3, 3, block=32), EveryKey()]


def dense_answer(model: nn.Module, site: str) -> torch.Tensor:
    """The model with the patterns of HEADS at one site, by dense masks written here."""
    masks = torch.stack([p.mask(40, 40) if isinstance(p, Near) else torch.ones(40, 40).bool() for p in HEADS])

    def answer(name: str, call: Call) -> torch.Tensor:
        if name != site:
            return call.dense()
        seen = masks.tril() if call.is_causal else masks
        return call._replace(attn_mask=seen.unsqueeze(0), is_causal=False).dense()

    with torch.no_grad(), answered(model, answer):
        return model(IDS)[0]


@pytest.mark.parametrize(
    ("make", "site"), [(bert, "encoder.layer.1.attention.self"), (llama, "layers.0.self_attn")]
)
def test_heads_see_what_their_patterns_show(make, site: str) -> None:  # type: ignore[no-untyped-def]
    model = make()
    losses = {site: [0.25, 0.5, 0.75, 0.0]}
    sparse = assign_patterns(copy.deepcopy(model), {site: HEADS}, losses)
    wanted = dense_answer(model, site)
    assert (wanted - model(IDS)[0]).abs().max() > 1e-2
    with torch.no_grad():
        torch.testing.assert_close(sparse(IDS)[0], wanted, atol=2e-6, rtol=0)
        torch.testing.assert_close(copy.deepcopy(sparse)(IDS)[0], wanted, atol=2e-6, rtol=0)
        compiled = l0.compile(sparse, (IDS,))
        torch.testing.assert_close(compiled(IDS)[0], wanted, atol=2e-5, rtol=0)
    told = compiled.explain()
    assert [(head.region, head.head, head.pattern, head.loss) for head in told.heads] == [
        (site, number, str(pattern), loss)
        for number, (pattern, loss) in enumerate(zip(HEADS, losses[site], strict=True))
    ]
    assert 0 < told.heads[0].density < told.heads[3].density <= 1
    assert f"{site} 0, 2: " not in str(told) and f"{site} 0: {HEADS[0]}" in " ".join(str(told).split())
    assert type(told).from_json(told.to_json()).heads == told.heads
    exported = torch.export.export(sparse, (IDS,))
    listed = [n for n in exported.graph.nodes if n.target is torch.ops.l0compile.block_attention.default]
    assert len(listed) == 1
    sparse(IDS)[0].sum().backward()
    assert all(p.grad is not None for name, p in sparse.named_parameters() if "pooler" not in name)


def test_padding_stays_masked() -> None:
    model, site = bert(), "encoder.layer.0.attention.self"
    mask = torch.ones(2, 40, dtype=torch.int64)
    mask[1, 25:] = 0
    sparse = assign_patterns(copy.deepcopy(model), {site: [Near(40, 40)] * 4})
    with torch.no_grad():
        wanted = model(IDS, mask)[0]
        torch.testing.assert_close(sparse(IDS, mask)[0], wanted, atol=2e-6, rtol=0)
        compiled = l0.compile(sparse, (IDS, mask))
        torch.testing.assert_close(compiled(IDS, mask)[0], wanted, atol=2e-5, rtol=0)
    assert not any("block_attention" in str(region) for region in compiled.explain().islands)


def test_sites_tell_sizes_and_masks() -> None:
    site = attention_sites(llama(), (IDS,))["layers.0.self_attn"]
    assert (site.heads, site.key_heads, site.width, site.value_width) == (4, 2, 8, 8)
    assert (site.sequences, site.queries, site.keys, site.causal, site.masked) == (2, 40, 40, True, False)


def test_a_module_that_calls_attention_twice_is_no_site() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            attend = nn.functional.scaled_dot_product_attention
            return attend(x, x, attend(x, x, x))

    assert attention_sites(nn.Sequential(Twice()), (torch.randn(1, 2, 3, 4),)) == {}


def test_wrong_names_and_heads_are_refused() -> None:
    with pytest.raises(InputError, match="name of a module, got 'nowhere'"):
        assign_patterns(bert(), {"nowhere": HEADS})
    sparse = assign_patterns(bert(), {"encoder.layer.0.attention.self": HEADS[:3]})
    with pytest.raises(InputError, match="3 heads and lengths that are numbers, got 4 heads"):
        sparse(IDS)


def test_losses_grow_as_less_is_seen_and_tell_heads_apart() -> None:
    model = bert()
    sites = list(attention_sites(model, (IDS,)))
    candidates = [Near(1, 1), Near(10, 10), Near(39, 39)]
    found = pattern_losses(model, sites, candidates, [IDS, IDS[:, :30]], lambda m, ids: m(ids)[0])
    assert list(found) == sites[::-1] or list(found) == sites
    for losses in found.values():
        assert losses.shape == (3, 4) and (losses[0] > losses[1]).all() and (losses[1] > 0).all()
        assert (losses[2] < 1e-9 * losses[0]).all()
        assert losses[0].max() > 1.02 * losses[0].min()
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(DataError, match="never reached"):
        pattern_losses(model, ["somewhere"], candidates, [IDS], lambda m, ids: m(ids)[0])


def test_a_loss_is_the_change_of_the_output_where_it_is_linear() -> None:
    """One attention whose output is the model's: the loss is the mean squared change, by random signs squared."""

    class Alone(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = x.unflatten(-1, (2, -1)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(-2)

    torch.manual_seed(0)
    model, pattern = nn.Sequential(nn.Linear(16, 16), Alone()), Near(2, 2)
    batches = [torch.randn(4, 64, 16) for _ in range(20)]
    found = pattern_losses(model, ["1"], [pattern], batches, lambda m, x: m(x))["1"][0]
    sparse = assign_patterns(copy.deepcopy(model), {"1": [pattern] * 2})
    with torch.no_grad():
        changes = torch.cat([(sparse(x) - model(x)).unflatten(-1, (2, -1)) for x in batches])
    wanted = changes.square().sum(-1).mean((0, 1)).double()
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0)
