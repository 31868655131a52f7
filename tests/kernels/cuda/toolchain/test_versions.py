"""Wheels of NVIDIA's compiler that pip installs together and that do not work together."""

import pytest

from l0compile.errors import MissingDependency
from l0compile.kernels.cuda.toolchain.find import check_versions


def test_a_front_end_newer_than_the_assembler_is_refused() -> None:
    with pytest.raises(
        MissingDependency, match=r"nvidia-nvvm 13\.5\.37 writes .* pip install 'nvidia-nvvm==13\.0\.\*'"
    ):
        check_versions({"nvidia-cuda-nvcc": "13.0.88", "nvidia-nvvm": "13.5.37"})


@pytest.mark.parametrize("front", ["13.0.88", "13.0.12", "12.9.86"])
def test_others_fit(front: str) -> None:
    check_versions({"nvidia-cuda-nvcc": "13.0.48", "nvidia-nvvm": front})
