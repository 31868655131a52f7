"""``nn.MultiheadAttention`` as four linear layers, which can be narrow, around ``scaled_dot_product_attention``."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.quantization.eligible import has_foreign_hooks


class ProjectedAttention(nn.Module):
    """What an ``nn.MultiheadAttention`` computes, by the same call, with a layer for each projection.

    Attributes:
        query, key, value: [E, k] linear layers of what the module is given.
        out_proj: [E, E], of what the heads give.
        batch_first: whether the batch is the first axis, or the second.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    # What ``nn.TransformerEncoder`` reads to see whether its fast path, which reads weights itself, can be taken.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.batch_first, self.dropout = source.num_heads, source.batch_first, source.dropout
        biases = [None] * 3 if source.in_proj_bias is None else source.in_proj_bias.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), _weights(source), biases, strict=True):
            self.add_module(name, _linear(weight, bias))
        self.out_proj = _linear(source.out_proj.weight, source.out_proj.bias)
        self.train(source.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (result, weights of the heads or None); arguments as those of ``nn.MultiheadAttention``."""
        batched = query.ndim == 3
        q, k, v = (
            self._heads(layer(x), batched)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else self._mask(attn_mask, key_padding_mask, q, k)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = _softmax(q, k, mask)
            y = F.dropout(weights, dropout, self.training) @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
        return self.out_proj(self._joined(y, batched)), weights

    def _heads(self, x: Tensor, batched: bool) -> Tensor:
        """[B, S, E], [S, B, E] or [S, E] -> [B, H, S, D]."""
        parts = x.unflatten(-1, (self.num_heads, -1))
        if not batched:
            return parts.transpose(0, 1).unsqueeze(0)
        return parts.transpose(1, 2) if self.batch_first else parts.permute(1, 2, 0, 3)

    def _joined(self, y: Tensor, batched: bool) -> Tensor:
        if not batched:
            return y.squeeze(0).transpose(0, 1).flatten(-2)
        return (y.transpose(1, 2) if self.batch_first else y.permute(2, 0, 1, 3)).flatten(-2)

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """Both masks as one that broadcasts to [B, H, Sq, Sk]: bool, True where a key is seen, or added."""
        masks = []
        if attn_mask is not None:
            by_head = attn_mask.ndim == 3
            masks.append(attn_mask.view(q.shape[0], -1, *attn_mask.shape[1:]) if by_head else attn_mask)
        if padding is not None:
            masks.append(padding.view(q.shape[0] if padding.ndim == 2 else 1, 1, 1, k.shape[2]))
        if all(mask.dtype == torch.bool for mask in masks):
            seen = [~mask for mask in masks]
            return seen[0] & seen[1] if len(seen) == 2 else seen[0] if seen else None
        added = [_added(mask, q.dtype) for mask in masks]
        return added[0] + added[1] if len(added) == 2 else added[0]


def project_attention(model: nn.Module) -> nn.Module:
    """Put a :class:`ProjectedAttention` in the place of every ``nn.MultiheadAttention`` of ``model`` that has its form.

    Those with a bias or zeros of their own as keys, with computed weights, or with hooks stay as they are.

    Returns:
        The model, which may be such a layer itself.
    """
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, nn.MultiheadAttention) and _plain(child):
                parent._modules[name] = ProjectedAttention(child)
    return ProjectedAttention(model) if isinstance(model, nn.MultiheadAttention) and _plain(model) else model


def _plain(source: nn.MultiheadAttention) -> bool:
    own = [source._parameters.get(name) for name in ("in_proj_weight", "q_proj_weight")]
    return (
        type(source).forward is nn.MultiheadAttention.forward
        and source.bias_k is None
        and not source.add_zero_attn
        and any(isinstance(weight, nn.Parameter) for weight in own)
        and not any(has_foreign_hooks(module) for module in source.modules())
    )


def _weights(source: nn.MultiheadAttention) -> tuple[Tensor, ...]:
    if source.in_proj_weight is not None:
        return source.in_proj_weight.chunk(3)
    return source.q_proj_weight, source.k_proj_weight, source.v_proj_weight


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer


def _softmax(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is None:
        return scores.softmax(-1)
    return (scores + (_added(~mask, q.dtype) if mask.dtype == torch.bool else mask)).softmax(-1)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask whose True hides a key, as what is added to scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(mask, float("-inf"))
