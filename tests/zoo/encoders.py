"""Encoders of text: BERT, DistilBERT, ALBERT (one layer, used several times) and ELECTRA."""

from typing import Any

from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
)

from tests.zoo.model import Call, ZooModel, ids, padding
from tests.zoo.prune import Coupled

WIDTH, HEADS, LAYERS, VOCABULARY = 64, 4, 2, 101


def common(scale: int) -> dict[str, Any]:
    """Settings that the four configurations share by name."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH * scale,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH * scale,
        "max_position_embeddings": 160,
    }


def bert(scale: int) -> nn.Module:
    return BertModel(BertConfig(**common(scale)))


def distilbert(scale: int) -> nn.Module:
    sizes = {"dim": WIDTH * scale, "hidden_dim": 2 * WIDTH * scale, "n_layers": LAYERS, "n_heads": HEADS}
    return DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, max_position_embeddings=160, **sizes))


def albert(scale: int) -> nn.Module:
    return AlbertModel(AlbertConfig(embedding_size=32, **common(scale)))


def electra(scale: int) -> nn.Module:
    return ElectraModel(ElectraConfig(embedding_size=32, **common(scale)))


def text(batch: int, length: int) -> Call:
    """Token ids and a padding mask, by keyword."""
    return (), {"input_ids": ids(batch, length, VOCABULARY), "attention_mask": padding(batch, length)}


def bert_layers(prefix: str) -> tuple[Coupled, ...]:
    """Heads and neurons of layers named as BERT names them."""
    attention = f"{prefix}.attention.self"
    return (
        Coupled(
            out=tuple(f"{attention}.{name}" for name in ("query", "key", "value")),
            into=(f"{prefix}.attention.output.dense",),
            units=HEADS,
        ),
        Coupled(out=(f"{prefix}.intermediate.dense",), into=(f"{prefix}.output.dense",)),
    )


# The residual stream: the same channels dead wherever it is written or read.
BERT_RESIDUAL = Coupled(
    out=(
        *(f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")),
        "encoder.layer.*.attention.output.dense",
        "encoder.layer.*.output.dense",
        "embeddings.LayerNorm",
        "encoder.layer.*.attention.output.LayerNorm",
        "encoder.layer.*.output.LayerNorm",
    ),
    together=True,
)

DISTILBERT = (
    Coupled(
        out=tuple(f"transformer.layer.*.attention.{name}_lin" for name in "qkv"),
        into=("transformer.layer.*.attention.out_lin",),
        units=HEADS,
    ),
    Coupled(out=("transformer.layer.*.ffn.lin1",), into=("transformer.layer.*.ffn.lin2",)),
)

ALBERT_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"
ALBERT = (
    Coupled(
        out=tuple(f"{ALBERT_LAYER}.attention.{name}" for name in ("query", "key", "value")),
        into=(f"{ALBERT_LAYER}.attention.dense",),
        units=HEADS,
    ),
    Coupled(out=(f"{ALBERT_LAYER}.ffn",), into=(f"{ALBERT_LAYER}.ffn_output",)),
)

TOKENS = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
SIZES: dict[str, Any] = {"sizes": (2, 12), "other": (3, 17), "timed": (1, 128), "dynamic_shapes": TOKENS}

MODELS = (
    ZooModel("bert", bert, text, (*bert_layers("encoder.layer.*"), BERT_RESIDUAL), **SIZES),
    ZooModel("distilbert", distilbert, text, DISTILBERT, **SIZES),
    ZooModel("albert", albert, text, ALBERT, **SIZES),
    ZooModel("electra", electra, text, bert_layers("encoder.layer.*"), **SIZES),
)
