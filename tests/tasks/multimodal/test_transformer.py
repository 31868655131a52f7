"""The shared transformer: padding, patches, gates of one modality, and its compiled form."""

import pytest
import torch
from torch import Tensor

import l0compile as l0
from l0compile.gates import Feature, Neuron, attach, harden, named_gates
from l0compile.tasks.multimodal.transformer import IdTokens, PatchTokens, SharedTransformer


def model(layers: int = 2) -> SharedTransformer:
    torch.manual_seed(0)
    tokens = {"text": IdTokens(20, 6, 16, padded=True), "image": PatchTokens(4, 2, 16)}
    return SharedTransformer(tokens, 3, 16, layers, 2, 0.1).eval()


def inputs(count: int = 5) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 20, (count, 6))
    ids[0, 3:] = 0
    return ids, torch.rand(count, 4, 4)


def test_padding_has_no_influence() -> None:
    made, (ids, image) = model(), inputs()
    short = made(ids[:1, :3], image[:1])
    torch.testing.assert_close(made(ids[:1], image[:1]), short)
    with torch.no_grad():
        made.tokens["text"].embedding.weight[0] = 1e3
    torch.testing.assert_close(made(ids[:1], image[:1]), short)
    assert not torch.allclose(made(ids[:1].clamp(min=1), image[:1]), short)


def test_patches_are_tokens_row_by_row() -> None:
    patches = PatchTokens(4, 2, 4)
    with torch.no_grad():
        patches.linear.weight.copy_(torch.eye(4))
        patches.linear.bias.zero_()
        patches.position.zero_()
    found = patches(torch.arange(16.0).reshape(1, 4, 4))[0].tolist()
    assert found == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_only_the_first_token_of_the_last_layer_is_computed_and_it_is_the_same() -> None:
    layer, x = model().layers[0], torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(x, None, 1), layer(x, None)[:, :1])


@pytest.mark.parametrize(("closed", "other"), [("text", 1), ("image", 0)])
def test_a_closed_gate_hides_one_modality_and_no_other(closed: str, other: int) -> None:
    made, given = attach(model(), {"between.*.*": Feature(16)}), inputs()
    for name, gate in named_gates(made).items():
        with torch.no_grad():
            gate.log_alpha.fill_(-8.0 if f".{closed}." in name else 8.0)
    before = made(*given)
    for place in (0, 1):
        changed = list(given)
        changed[place] = changed[place].flip(0)
        # Which of its words are padding still shows, because the mask is no feature.
        same = torch.allclose(made(*changed)[1:4], before[1:4], atol=1e-6)
        assert same == (place != other)


def test_compiled_code_answers_the_same_for_any_number_of_examples() -> None:
    gates = {"between.*.*": Feature(16), "layers.*.down": Neuron(), "representation": Feature()}
    made = attach(model(), gates)
    for gate in named_gates(made).values():
        with torch.no_grad():
            gate.log_alpha.uniform_(-4, 4)
    hardened, shapes = harden(made, 0.5), {"inputs": ({0: "batch"}, {0: "batch"})}
    compiled = l0.compile(hardened, inputs(), dynamic_shapes=shapes, engine="tvm")
    for count in (1, 5, 7):
        given = inputs(count)
        torch.testing.assert_close(compiled(*given), hardened(*given), rtol=1e-4, atol=1e-5)
