"""Which number format "auto" becomes, from what a processor says of itself."""

from pathlib import Path

import pytest
import torch

from kurabe.runs import precision
from kurabe.runs.precision import usual_dtype

# As Linux writes them: x86 on one line "flags", Arm on one line "Features".
COOPER_LAKE = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx512f avx512_vnni avx512_bf16\n"
SAPPHIRE_RAPIDS = "processor\t: 0\nflags\t\t: fpu avx2 amx_bf16 amx_tile amx_int8\n"
NEOVERSE_V1 = "processor\t: 0\nFeatures\t: fp asimd sve i8mm bf16 dgh\nCPU implementer\t: 0x41\n"
SKYLAKE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512bw\nbugs\t\t: spectre_v1\n"
# The word stands elsewhere than among the flags.
NAMED = "model name\t: avx512_bf16 bf16 imitation\nflags\t\t: fpu avx2\n"


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        (COOPER_LAKE, "bfloat16"),
        (SAPPHIRE_RAPIDS, "bfloat16"),
        (NEOVERSE_V1, "bfloat16"),
        (SKYLAKE, "float32"),
        (NAMED, "float32"),
        ("", "float32"),
    ],
)
def test_a_processor_that_multiplies_bfloat16_trains_in_it(
    text: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = tmp_path / "cpuinfo"
    flags.write_text(text)
    monkeypatch.setattr(precision, "CPU_FLAGS", flags)
    assert usual_dtype("cpu") == dtype
    # What this processor can do says nothing of other devices.
    assert usual_dtype("mps") == "float32"


def test_a_system_that_tells_nothing_of_its_processor_trains_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "CPU_FLAGS", tmp_path / "missing")
    assert usual_dtype("cpu") == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what holds without such a device")
def test_a_cuda_device_that_is_not_there_is_not_asked_for_its_format() -> None:
    assert usual_dtype("cuda:0") == "float32"
