"""What is checked before anything is measured."""

import dataclasses

import pytest

from l0compile.errors import ConfigError
from l0compile.hardware.targets import load_target
from l0compile.studies.setup import legal_precisions, legal_shapes
from l0compile.studies.space.space import Space

AVX2 = dataclasses.replace(load_target("x86-64-avx2"), dot_products=())
VNNI = dataclasses.replace(AVX2, dot_products=("avxvnni",))


def test_precisions_without_instructions_are_left_out(narrow_space: Space) -> None:
    assert legal_precisions(narrow_space, AVX2) == ("float32",)
    assert legal_precisions(narrow_space, VNNI) == ("float32", "int8")
    only = dataclasses.replace(narrow_space, precision=("bfloat16",))
    with pytest.raises(
        ConfigError, match=r"tiny: precision: target x86-64-avx2 has no instructions for bfloat16 .*; add"
    ):
        legal_precisions(only, VNNI)


def test_heads_and_neurons_beside_narrow_numbers_are_refused(space: Space) -> None:
    with pytest.raises(
        ConfigError, match=r"precision: expected \['float32'\] beside gates 'heads' of kind 'head', got"
    ):
        legal_precisions(dataclasses.replace(space, precision=("int8",)), VNNI)
    assert legal_precisions(space, AVX2) == ("float32",)


def test_blocks_have_to_be_whole_words_where_all_numbers_are_narrow(narrow_space: Space) -> None:
    group = narrow_space.gates[0]
    assert legal_shapes(narrow_space, VNNI) == {group.name: group.shapes}
    only = dataclasses.replace(narrow_space, precision=("int8",))
    assert legal_shapes(only, VNNI) == {group.name: ((4, 4),)}
    single = dataclasses.replace(only, gates=(dataclasses.replace(group, shapes=((4, 1),)),))
    with pytest.raises(
        ConfigError, match=r"whole words of four \(int8\) or two \(bfloat16\) numbers, got 4x1"
    ):
        legal_shapes(single, VNNI)
