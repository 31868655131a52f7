"""Models as users have them: functions with inputs by name, exported programs, folders of transformers."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

import l0compile as l0
from l0compile.cli.models.example import load_example, measured
from l0compile.errors import ConfigError


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(8, 4)

        def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * scale

    kwargs = {"scale": torch.tensor(2.0)}
    program = torch.export.export(Scaled().eval(), (torch.randn(3, 8),), kwargs)
    torch.export.save(program, tmp_path / "scaled.pt2")
    return tmp_path / "scaled.pt2"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_compile_takes_inputs_by_name(cli, model_file: Path, tmp_path: Path) -> None:
    where = f"{model_file}:named"
    code, _, err = cli("compile", where, "--out", tmp_path / "fast", "--size", "batch=5", "--engine", "tvm")
    assert code == 0, err
    example = load_example(where, {"batch": 5})
    torch.testing.assert_close(
        l0.load(tmp_path / "fast")(*example.args, **example.kwargs),
        example.module()(*example.args, **example.kwargs),
    )


def test_inputs_follow_named_dimensions(model_file: Path) -> None:
    dynamic = ["x:0=rows", "mask:0=rows"]
    example = load_example(f"{model_file}:named", {"rows": 5}, dynamic)
    base = load_example(f"{model_file}:named")
    assert torch.equal(example.args[0], base.args[0][[0, 1, 0, 1, 0]]) and example.kwargs["mask"].shape == (
        5,
        4,
    )
    assert load_example(f"{model_file}:named", {"rows": 1}, dynamic).args[0].shape == (1, 16)
    with pytest.raises(
        ConfigError, match=r"nothing in it is called 'tokens'; name a dimension with --dynamic"
    ):
        load_example(f"{model_file}:named", {"tokens": 5}, dynamic)
    with pytest.raises(
        ConfigError, match="--dynamic: y: expected one of the example tensors, x, scale, mask"
    ):
        load_example(f"{model_file}:named", {"rows": 5}, ["y:0=rows"])


def test_an_exported_program(cli, exported: Path, tmp_path: Path) -> None:
    code, _, err = cli("compile", exported, "--out", tmp_path / "fast", "--engine", "tvm")
    assert code == 0, err
    module, args, kwargs = measured(str(exported), {}, [])
    torch.testing.assert_close(l0.load(tmp_path / "fast")(*args, **kwargs), module.eval()(*args, **kwargs))
    with pytest.raises(ConfigError, match="fixes its sizes"):
        load_example(str(exported), {"batch": 1})
    code, _, err = cli("explain", exported, "--gates")
    assert code == 1 and "cannot get gates" in err


def test_exported_programs_that_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt2").write_bytes(b"PK no")
    with pytest.raises(ConfigError, match=r"expected a file of torch\.export\.save"):
        load_example(str(tmp_path / "broken.pt2"))
    with zipfile.ZipFile(exported) as good, zipfile.ZipFile(tmp_path / "pickled.pt2", "w") as bad:
        for file in good.namelist():
            content = good.read(file)
            if file.endswith("weights/model_weights_config.json"):
                config = json.loads(content)
                config["config"]["linear.weight"]["use_pickle"] = True
                content = json.dumps(config).encode()
            bad.writestr(file, content)
    with pytest.raises(ConfigError, match=r"linear\.weight is stored as a pickle, which may hold code"):
        load_example(str(tmp_path / "pickled.pt2"))
    program = torch.export.load(exported)
    program.example_inputs = None
    torch.export.save(program, tmp_path / "without.pt2")
    with pytest.raises(ConfigError, match="without example inputs"):
        load_example(str(tmp_path / "without.pt2"))


def test_a_folder_of_transformers(cli, bert: Path, tmp_path: Path) -> None:
    example = load_example(str(bert), {"batch": 2, "tokens": 16})
    assert {name: tuple(value.shape) for name, value in example.kwargs.items()} == {
        "input_ids": (2, 16), "attention_mask": (2, 16),
    }  # fmt: skip
    code, _, err = cli("compile", bert, "--out", tmp_path / "fast", "--size", "tokens=16", "--engine", "tvm")
    assert code == 0, err
    given = load_example(str(bert), {"tokens": 16})
    with torch.no_grad():
        logits = given.module()(**given.kwargs).logits
    torch.testing.assert_close(
        l0.load(tmp_path / "fast")(**given.kwargs)["logits"], logits, rtol=1e-4, atol=1e-5
    )


def test_images_and_what_no_input_can_be_made_up_for(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = transformers.ViTModel(transformers.ViTConfig(**small, image_size=16, patch_size=8))
    vit.save_pretrained(tmp_path / "vit")
    assert load_example(str(tmp_path / "vit"), {"batch": 3}).kwargs["pixel_values"].shape == (3, 3, 16, 16)
    sound = transformers.Wav2Vec2Config(
        **small, conv_dim=[8], conv_stride=[4], conv_kernel=[8], num_feat_extract_layers=1,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, vocab_size=8,
    )  # fmt: skip
    transformers.Wav2Vec2Model(sound).save_pretrained(tmp_path / "sound")
    with pytest.raises(ConfigError, match="takes 'input_values', for which no input can be made up"):
        load_example(str(tmp_path / "sound"))


def test_folders_that_are_refused(bert: Path) -> None:
    (bert / "model.safetensors").unlink()
    torch.save({}, bert / "pytorch_model.bin")  # a pickle is not read
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        load_example(str(bert))
    (bert / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}')
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        load_example(str(bert))
