"""Memory that is really not there: what a run says then, and that the setting it names helps.

Each process takes a limit on its address space, so much above what it holds once torch is there.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kurabe.errors import sentence
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits address space as Linux does"
)

LIMITED = """
import resource, runpy, sys
import torch, torch._dynamo
from pathlib import Path
import kurabe.studies.calibration, kurabe.runs.stages, kurabe.runs.worker
from kurabe.records import RunFolder
from kurabe.runs.images import load_images
from kurabe.studies.study import Study
# What comes with scikit-learn is no memory of the run's.
load_images(Study.from_toml(sys.argv[3]).data)
(held,) = (
    1024 * int(line.split()[1])
    for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize:")
)
# A pass of this network keeps about 1.5 GiB, a checkpointed one a tenth.
limit = held + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
if sys.argv[1] == "run":
    kurabe.runs.worker.execute(RunFolder(sys.argv[2]))
else:
    del sys.modules["kurabe.studies.calibration"]
    sys.argv[1:] = sys.argv[2:3]
    runpy.run_module("kurabe.studies.calibration", run_name="__main__")
"""


def limited(*words: str) -> subprocess.CompletedProcess[str]:
    # Address space is to be what tensors take: no arena for each thread, nothing kept for later.
    malloc = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    environment = {**os.environ, **malloc}
    command = [sys.executable, "-c", LIMITED, *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )


def study(checkpointed: bool = False) -> Study:
    """Twenty-four blocks on a token for each pixel of 128 digits at once."""
    return Study.model_validate(
        {
            "name": "s",
            "data": {"source": "digits", "size": 8, "channels": 1, "limit": 200},
            "columns": [{"id": "ddpm", "method": "ddpm"}],
            "baseline": "ddpm",
            "budget": {"images": 128},
            "equal": "images",
            "network": {"patch": 1, "width": 64, "depth": 24, "heads": 4},
            "optimiser": {"batch": 128},
            "evaluation": {"loss_images": 8},
            "device": "cpu",
            "dtype": "float32",
            "gradient_checkpointing": checkpointed,
        }
    )


def recipe(checkpointed: bool) -> Recipe:
    one = study(checkpointed)
    return one.recipe(one.columns[0], 1, StudyState())


def check(said: str) -> None:
    # Which request is the one too many, and whether its size is told, hangs on the allocator.
    assert said.startswith("There is not enough memory for this"), said
    assert "; set optimiser.micro_batch to less than" in said and said.count(". ") == 0
    assert "gradient_checkpointing = true" in said and "evaluation.batch" in said


@pytest.mark.slow
def test_a_run_without_room_names_the_setting_and_goes_on_with_it(tmp_path: Path) -> None:
    # A trial is trained only.
    info = {"id": "run", "trial": 1e-3}
    run = RunFolder(tmp_path / "run").create(recipe(False).to_toml(), info)
    study().save(tmp_path / "study.toml")
    words = ("run", str(run.path), str(tmp_path / "study.toml"))
    failed = limited(*words)
    assert (failed.returncode, run.status) == (1, "failed"), failed.stderr
    check(run.info["error"])
    run.recipe_path.write_text(recipe(True).to_toml())
    done = limited(*words)
    assert (done.returncode, run.status) == (0, "finished"), done.stderr


def test_a_speed_that_cannot_be_measured_for_want_of_memory_says_so(tmp_path: Path) -> None:
    study().save(tmp_path / "study.toml")
    done = limited("speed", str(tmp_path), str(tmp_path / "study.toml"))
    assert done.returncode == 1
    check(done.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        # As torch's CPU and CUDA allocators, numpy and cuBLAS say it.
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 67108864 "
                      "bytes. Error code 12 (Cannot allocate memory)"), "64 MiB"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity "
                      "of 15.0 GiB"), "20.00 GiB"),
        (MemoryError("Unable to allocate 7.45 GiB for an array"), "7.45 GiB"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), None),
        (MemoryError(), None),
        (OSError(12, "Cannot allocate memory"), None),
    ],
)  # fmt: skip
def test_how_much_was_asked_for_is_told_where_it_is_known(
    error: Exception, amount: str | None
) -> None:
    told = "" if amount is None else f" ({amount} were asked for at once)"
    assert sentence(error).startswith(f"There is not enough memory for this{told}; set optimiser.")
