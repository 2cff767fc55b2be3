"""Runs on a Ray cluster of two nodes on this machine: the same scores, and losses survived.

Real nodes, real processes, on scikit-learn's digits.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from kurabe.errors import UserError
from kurabe.execution.engine import Need
from kurabe.execution.on_ray import COUNTED, Ray
from kurabe.methods import find
from kurabe.records import RunFolder, StudyFolder
from kurabe.studies.state import StudyState

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from tiny_study import STUDY

ray = pytest.importorskip("ray")
Cluster: Any = pytest.importorskip("ray.cluster_utils").Cluster
T = TypeVar("T")
GB = 10**9
SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
# Rows that tell what a run cost here and now.
MEASURED_BY_CLOCK = {"seconds", "images-per-second", "seconds-per-sample", "peak-memory"}
PATIENCE = 900
# So many images last beyond the first state that is saved on the way, after 15 s of training.
LONG = 60_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a node beside it, each with one core; where it is, is in RAY_ADDRESS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
        made.add_node(**SMALL)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


def begin(place: Path, images: int, *more: str) -> subprocess.Popen[str]:
    """`kurabe study` in that folder, its speeds known already."""
    place.mkdir()
    (place / "tiny.toml").write_text(STUDY.format(workers=2, images=images))
    (place / "study").mkdir()
    StudyState(rates={"masked": 1e3, "ddpm": 1e3}).write(place / "study" / "study.json")
    command = [sys.executable, "-m", "kurabe", "study", "tiny.toml", "--yes", "--out", "study"]
    return subprocess.Popen(
        [*command, "--lang", "en", *more],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    """What a command that must succeed said."""
    out, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) == (0, ""), (out, error)
    return out


def outcome(place: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Each column's weights and scores, without what was measured by the clock."""
    found: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for (column, _), run in StudyFolder(place / "study").runs().items():
        assert run.status == "finished", run.info
        measured = run.score("scores")["metrics"].items()
        scores = {row: of for row, of in measured if row not in MEASURED_BY_CLOCK}
        assert len(scores) > 10
        found[column] = (run.checkpoints / "model.safetensors").read_bytes(), scores
    assert len(found) == 2
    return found


def wait_until(check: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def process_of(run: RunFolder) -> psutil.Process | None:
    """The process that carries out the run: it is the one that speaks into its log."""
    log = str(run.path / "worker.log")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(of.path == log for of in process.open_files()):
                return process
    return None


def saved(place: Path) -> list[RunFolder]:
    """The study's runs where both have saved a state on the way, else none."""
    runs = list(StudyFolder(place / "study").runs().values())
    states = [run.checkpoints / "state.safetensors" for run in runs]
    return runs if len(states) == 2 and all(state.exists() for state in states) else []


@pytest.mark.slow
def test_two_nodes_give_the_scores_of_this_machine(cluster: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    said(begin(here, 640))
    assert "on 2 cores of 2 machines" in said(begin(there, 640, "--on", "ray"))
    assert outcome(there) == outcome(here)
    # Nothing that was asked of the nodes is left in the folder.
    assert not list((there / "study").glob(".seen-*"))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, dict[str, Any]]]:
    place = tmp_path_factory.mktemp("untouched") / "here"
    said(begin(place, LONG))
    return outcome(place)


@pytest.mark.slow
def test_a_killed_worker_goes_on(cluster: Any, tmp_path: Path, untouched: dict[str, Any]) -> None:
    process = begin(tmp_path / "killed", LONG, "--on", "ray")
    run = wait_until(lambda: saved(tmp_path / "killed"))[0]
    victim = wait_until(lambda: process_of(run))
    victim.kill()
    after = wait_until(lambda: (of := process_of(run)) and of.pid != victim.pid and of)
    assert after.pid != victim.pid
    said(process)
    assert outcome(tmp_path / "killed") == untouched


@pytest.mark.slow
def test_the_runs_of_a_lost_node_go_on_elsewhere(
    cluster: Any, tmp_path: Path, untouched: dict[str, Any]
) -> None:
    process = begin(tmp_path / "lost", LONG, "--on", "ray")
    wait_until(lambda: saved(tmp_path / "lost"))
    cluster.remove_node(cluster.list_all_nodes()[1])
    said(process)
    assert outcome(tmp_path / "lost") == untouched
    cluster.add_node(**SMALL)


@pytest.fixture
def nodes(cluster: Any) -> Iterator[Ray]:
    """The cluster as an engine of this process."""
    with Ray() as engine:
        yield engine


def test_what_nodes_cannot_do_is_said_in_a_sentence(nodes: Ray, tmp_path: Path) -> None:
    nodes.check(tmp_path, [tmp_path], Need(1))
    # A folder that this process alone sees, and a file.
    handle = os.open(tmp_path, os.O_RDONLY)
    alone = Path(f"/proc/self/fd/{handle}")
    (tmp_path / "scans").write_text("")
    address = ray.util.get_node_ip_address()
    for folder, source in ((alone, tmp_path), (tmp_path, alone / "scans")):
        with pytest.raises(UserError) as raised:
            nodes.check(folder, [source], Need(1))
        lacking = alone if folder == alone else alone / "scans"
        assert str(raised.value) == (
            f"The Ray node {address} does not see {lacking}: a study on Ray lies, as its images "
            "do, on a file system that all nodes share, under one path."
        )
    os.close(handle)
    for need, takes in ((Need(2), "2 cores"), (Need(1, None), "1 core and a GPU")):
        with pytest.raises(UserError, match=f"has room for a run, which takes {takes}"):
            nodes.check(tmp_path, [], need)


def test_what_is_asked_of_a_node_is_done_there_and_errors_come_back(nodes: Ray) -> None:
    assert nodes.there(os.getpid, need=Need(1)) != os.getpid()
    assert nodes.there(Path.cwd, need=Need(1)) == Path.cwd()
    with pytest.raises(UserError, match=r'^No method "lorra"\. Did you mean lora or t-lora\?$'):
        nodes.there(find, "lorra", need=Need(1))


def test_runs_have_as_much_room_as_nodes_have_cores_and_gpu_memory(
    cluster: Any, nodes: Ray
) -> None:
    assert (nodes.cores, nodes.machines, nodes.device("auto")) == (2, 2, "cpu")
    assert [nodes.room(Need(cores), None) for cores in (1, 2)] == [2, 0]
    assert [nodes.room(Need(1), most) for most in (1, 2, 3)] == [1, 2, 2]
    assert nodes.room(Need(1, None), None) == 0
    more = cluster.add_node(num_cpus=8, num_gpus=2, object_store_memory=80 * 2**20)
    time.sleep(COUNTED)
    try:
        assert (nodes.cores, nodes.machines, nodes.device("auto")) == (10, 3, "cuda")
        assert [nodes.room(Need(cores), None) for cores in (1, 2, 3)] == [10, 4, 2]
        # Whole GPUs, as long as it is not known how much memory they have.
        assert [nodes.room(Need(1, of), None) for of in (None, GB)] == [2, 2]
        nodes.gpu_bytes = 80 * GB
        # Two or three of a GPU, one of it; of eight cores, four each leave room for two.
        parts = (40 * GB, 26 * GB, 41 * GB, 100 * GB)
        assert [nodes.room(Need(1, part), None) for part in parts] == [4, 6, 2, 2]
        assert nodes.room(Need(4, 20 * GB), None) == 2
        assert nodes.beside(Need(1, 20 * GB), None) == 4 and nodes.beside(Need(2), None) == 4
    finally:
        cluster.remove_node(more)


def test_a_cluster_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        # Bound and not listened at: nobody else answers there.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=f"no Ray cluster at RAY_ADDRESS={address}"), Ray():
            pass
