"""Predicting a whole program on a GPU: its parts, its zeros, and that it never looks like a measurement."""

import torch
from torch import nn

from l0compile.compiler.predict import predict_program
from l0compile.frontend.export import capture
from l0compile.hardware.costs import GpuModel
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costs_of
from l0compile.quantization import quantize
from l0compile.rewrite.pipeline import choose, optimise_dense
from l0compile.runtime.account.explanation import Explanation
from l0compile.runtime.account.predicted import PredictedTime


class Encoder(nn.Module):
    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(ids))
        q, k, v = (part.unflatten(-1, (8, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        x = x + nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.down(torch.relu(self.up(x)))


def predicted(model: nn.Module, args: tuple[torch.Tensor, ...], name: str = "cuda-sm90") -> PredictedTime:
    target = load_target(name)
    program = choose(optimise_dense(capture(model.eval(), args, None)), target, costs_of(target))
    return predict_program(program, GpuModel(target))


def sparse(model: Encoder, kept: float) -> Encoder:
    torch.manual_seed(0)
    for layer in (model.up, model.down):
        rows, cols = (size // 64 for size in layer.weight.shape)
        mask = (torch.rand(rows, cols) < kept).repeat_interleave(64, 0).repeat_interleave(64, 1)
        layer.weight.data *= mask
    return model


def test_every_layer_is_a_part_and_zeros_make_it_shorter() -> None:
    ids = torch.randint(1000, (16, 512))
    dense, pruned = predicted(Encoder(), (ids,)), predicted(sparse(Encoder(), 0.1), (ids,))
    assert {"up", "down", "embedding", "layer_norm"} <= {part.name for part in dense.parts}
    times = [{part.name: part.ms for part in each.parts} for each in (dense, pruned)]
    assert times[1]["up"] < 0.5 * times[0]["up"]
    assert pruned.mid_ms < dense.mid_ms
    # relu and the two sums are computed where their operands are
    assert not {"relu", "add.Tensor"} & set(times[0])


def test_narrow_numbers_use_tensor_cores() -> None:
    ids = torch.randint(1000, (16, 512))
    model = sparse(Encoder(), 0.2).eval()
    narrow = quantize(model, [(ids[:1],)], precision="bfloat16")
    before, after = predicted(model, (ids,)), predicted(narrow, (ids,))
    assert after.mid_ms < 0.7 * before.mid_ms


def test_a_model_of_halves_is_predicted_as_such() -> None:
    ids = torch.randint(1000, (16, 512))
    wide, half = (predicted(Encoder(256).to(dtype), (ids,)) for dtype in (torch.float32, torch.bfloat16))
    assert half.mid_ms < 0.5 * wide.mid_ms


def test_integers_are_the_fastest_and_round_their_results_at_once() -> None:
    ids = torch.randint(1000, (64, 512))
    model = Encoder(256).eval()
    times = {
        p: predicted(quantize(model, [(ids[:1],)], p), (ids,), "cuda-sm80") for p in ("bfloat16", "int8")
    }
    layers = {
        p: sum(part.ms for part in time.parts if part.name in ("up", "down")) for p, time in times.items()
    }
    assert layers["int8"] < layers["bfloat16"]
    # one for what the projection reads, one for the first layer; what that gives is rounded by its own kernel
    rounding = next(part for part in times["int8"].parts if "quantize" in part.name)
    assert rounding.calls == 2


def test_a_prediction_says_so_and_survives_json() -> None:
    found = predicted(Encoder(), (torch.randint(1000, (1, 64)),), "cuda-sm80")
    text = "\n".join(line.text for line in found.lines(100))
    assert text.startswith("predicted ") and "nothing was measured" in text and "A100" in text
    explained = Explanation((), (), {"checked": False}, {}, predicted=found)
    assert Explanation.from_json(explained.to_json()) == explained
    assert str(explained).startswith("predicted ")
