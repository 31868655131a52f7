"""The examples run, on models of a few hundred weights; one whose package is missing or broken is skipped."""

import importlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a bird sings it is raining again on the roofs of this town birds are singing"


def example(name: str, needs: str) -> ModuleType:
    """The example ``name`` as a module."""
    try:
        importlib.import_module(needs)
    except (
        ImportError,
        RuntimeError,
    ) as error:  # torchvision raises RuntimeError beside a torch it was not built for
        pytest.skip(f"{needs} cannot be imported: {str(error).splitlines()[0]}")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bert(tmp_path: Path) -> str:
    """A classifier with its tokenizer."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = WORDS.split()
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    return str(tmp_path)


def test_sentence_transformers(bert: str, capsys: pytest.CaptureFixture[str]) -> None:
    example("sentence_transformers_backbone", "sentence_transformers").main(bert)
    assert capsys.readouterr().out.startswith("3 embeddings, largest difference ")


def test_a_pipeline(bert: str, capsys: pytest.CaptureFixture[str]) -> None:
    example("transformers_pipeline", "transformers").main("text-classification", bert)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == [
        "a bird s",
        "  before",
        "  after ",
        "it is ra",
        "  before",
        "  after ",
    ]
    for before, after in ((lines[1], lines[2]), (lines[4], lines[5])):
        old, new = (json.loads(line[9:].replace("'", '"')) for line in (before, after))
        assert old["label"] == new["label"] and old["score"] == pytest.approx(new["score"], abs=1e-5)


def test_timm(capsys: pytest.CaptureFixture[str]) -> None:
    example("timm_model", "timm").main("resnet10t", 64)
    assert "checked: compiled = gated within" in capsys.readouterr().out


def test_sparse_attention(capsys: pytest.CaptureFixture[str]) -> None:
    example("sparse_attention", "torch").main(steps=12, tokens=160)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(re.findall(r": (.*) nats", line)[0]) for line in lines[:2]]
    assert losses[1] < losses[0] - 0.5
    assert any("checked: compiled = " in line for line in lines)


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert all(f'"{path.stem}"' in tested for path in EXAMPLES.glob("*.py"))
