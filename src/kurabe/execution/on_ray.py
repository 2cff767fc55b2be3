"""The engine of a Ray cluster: runs on its nodes, each where the cores and GPU memory are free.

Which cluster: the one that RAY_ADDRESS names, else one that runs on this machine, else one that is
begun here and ends with the command. On its node a run is carried out by the process that would do
it on this machine, so its scores are the same. The run's folder is how the two sides talk: it must
lie on a file system that all nodes share, which is seen before anything runs. A node that is lost
takes its runs with it; they go on elsewhere, from where they were saved.
"""

import importlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any, Self, TypeVar, cast

from kurabe.errors import KurabeError, RunFailed, UserError
from kurabe.execution.engine import End, Need
from kurabe.execution.on_node import SHARED, Carrier, Seen, called, seen
from kurabe.records.surroundings import cores
from kurabe.runs.precision import settled_device

T = TypeVar("T")

# How long a node may take to answer the first time, in seconds: Python and Kurabe are loaded.
ANSWER = 120.0
# And to say that it is there at all.
KNOCK = 10.0
# Nodes come and go; they are counted anew after so many seconds.
COUNTED = 2.0
# Of Ray's own store nothing is used but this much, in bytes: what it asks for at least.
STORE = 80 * 2**20


class RayWorker:
    """A worker on a node of the cluster; Ray chooses which."""

    def __init__(self, actor: Any, need: Need, news: Event) -> None:
        self.need = need
        self._actor, self._news = actor, news
        self._answer: Future[int] | None = None
        self._is_alive = True
        self._ready: Future[bool] = actor.__ray_ready__.remote().future()

    @property
    def is_alive(self) -> bool:
        """Whether it can be given another run."""
        return self._is_alive

    @property
    def is_waiting(self) -> bool:
        """Whether no node has had room for it yet."""
        return not self._ready.done()

    def give(self, folder: Path) -> None:
        """Let it carry out the run in that folder."""
        answer = self._actor.carry_out.remote(str(folder.absolute())).future()
        self._answer = answer
        answer.add_done_callback(lambda _: self._news.set())

    def end(self) -> End | None:
        """How the run ended; None where it is under way."""
        if self._answer is None or not self._answer.done():
            return None
        answer, self._answer = self._answer, None
        end = _told(answer.exception(), answer)
        self._is_alive = end.code == 0
        return end

    def close(self) -> None:
        """Ask it to save and end."""
        self._is_alive = False
        if self._answer is None:
            self._let_go()
        else:
            self._actor.stop.remote()

    def wait(self, seconds: float) -> None:
        """Until it has ended; it is killed where that takes longer."""
        if self._answer is not None:
            wait([self._answer], seconds)
        self._let_go()

    def _let_go(self) -> None:
        """Give its cores back; a process that is still at work there saves and ends."""
        ray = _ray()
        # Where it is gone already there is nothing to give back.
        with suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self._actor)


def _told(error: BaseException | None, answer: "Future[int]") -> End:
    if error is None:
        return End(answer.result())
    if isinstance(cause := getattr(error, "cause", error), KurabeError):
        return End(cause.exit_code, str(cause))
    if isinstance(error, _ray().exceptions.RayTaskError):
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        return End(1, f"its node could not begin it ({first})")
    return End(None, f"the machine that carried it out was lost ({_first_line(error)})")


class Ray:
    """A Ray cluster, counted anew every now and then."""

    shares_gpus = True

    def __init__(self) -> None:
        self._is_own = False
        self._counted = 0.0
        self._known: list[dict[str, Any]] = []
        # Of the cluster's smallest GPU; None until nodes were asked, and where that is unknown.
        self.gpu_bytes: int | None = None

    def __enter__(self) -> Self:
        ray = _ray()
        if not ray.is_initialized():
            # A study tells nobody that it was made; who wants Ray's own statistics says so.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # What is begun here does nothing else, and is as urgent as without Ray.
            os.environ.setdefault("RAY_worker_niceness", "0")
            with _own_handlers():
                self._connect(ray)
            self._is_own = True
        return self

    def _connect(self, ray: Any) -> None:
        """To the cluster that there is, else to one begun here; UserError where neither works."""
        address = os.environ.get("RAY_ADDRESS", "")
        quietly = {"logging_level": logging.ERROR, "log_to_driver": False}
        here = {"num_cpus": cores(), "object_store_memory": STORE, "include_dashboard": False}
        try:
            _knock(address)
            try:
                ray.init(**here, **quietly)
            except ValueError:
                # There is one, whose size is not for this command to say.
                ray.init(**quietly)
        except (OSError, ValueError, RuntimeError) as error:
            where = f"RAY_ADDRESS={address}" if address else "the address of the last ray start"
            raise UserError(
                f"There is no Ray cluster at {where} ({_first_line(error)}); begin one there with "
                "ray start --head, or forget it, by unset RAY_ADDRESS or ray stop."
            ) from error

    def __exit__(self, *_: object) -> None:
        if self._is_own:
            _ray().shutdown()

    @property
    def cores(self) -> int:
        """Cores that the nodes offer."""
        return sum(int(node.get("CPU", 0)) for node in self._nodes().values())

    @property
    def machines(self) -> int:
        """Nodes that are there now."""
        return len(self._nodes())

    def device(self, name: str) -> str:
        """The device of that name; of "auto" a GPU where any node has one."""
        if name != "auto":
            return settled_device(name)
        return "cuda" if any(node.get("GPU") for node in self._nodes().values()) else "cpu"

    def room(self, need: Need, most: int | None) -> int:
        """As many runs as the nodes have room for, at most so many."""
        room = sum(self._room_on(node, need) for node in self._nodes().values())
        return room if most is None else min(room, most)

    def beside(self, need: Need, most: int | None) -> int:
        """As many as the roomiest node has room for; of a GPU, as many as share it."""
        if share := self._share(need):
            room = max(1, int(1 / share))
        else:
            room = max((self._room_on(node, need) for node in self._nodes().values()), default=1)
        return max(1, room if most is None else min(room, most))

    def there(self, function: Callable[..., T], *arguments: object, need: Need) -> T:
        """What the function gives on a node that has room for that need."""
        ray = _ray()
        task = ray.remote(called).options(**self._placed(need))
        try:
            return cast(T, ray.get(task.remote(str(Path.cwd()), function, *arguments)))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, KurabeError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise RunFailed(f"The Ray cluster did not answer ({_first_line(error)}).") from error

    def check(self, folder: Path, sources: Sequence[Path], need: Need) -> None:
        """Every node with room for a run is asked what it sees; all must see the same."""
        ray = _ray()
        secret = secrets.token_hex(8)
        trace = folder.absolute() / f".seen-{secret}"
        trace.write_text(secret, encoding="ascii")
        try:
            asked = {
                name: ray.remote(seen)
                .options(num_cpus=0, max_retries=0, scheduling_strategy=_only(name))
                .remote(str(trace), secret, [str(path.absolute()) for path in sources])
                for name, node in self._nodes().items()
                if self._room_on(node, need)
            }
            answers = {self._name(name): self._answer(name, of) for name, of in asked.items()}
        finally:
            trace.unlink()
        if not answers:
            raise UserError(f"No node of the Ray cluster has room for a run, which {_shown(need)}.")
        for node, told in answers.items():
            if told.unseen is not None:
                raise UserError(f"The Ray node {node} does not see {told.unseen}: {SHARED}.")
            if told.version != version("kurabe"):
                raise UserError(
                    f"The Ray node {node} has Kurabe {told.version}, this machine "
                    f"{version('kurabe')}; install the same on all of them."
                )
        gpus = [told.gpu_bytes for told in answers.values() if told.gpu_bytes]
        self.gpu_bytes = min(gpus, default=None)

    def start(self, first: Path, need: Need, news: Event) -> RayWorker:
        """An actor for runs of that need, on whichever node has room; it waits where none has."""
        # Two calls at once: one carries out, the other may stop it.
        kind = _ray().remote(Carrier).options(max_concurrency=2, **self._placed(need))
        return RayWorker(kind.remote(need, str(Path.cwd())), need, news)

    def _placed(self, need: Need) -> dict[str, Any]:
        """What Ray is asked for. Runs are spread, so that they share a machine's memory last."""
        return {
            "num_cpus": need.cores,
            "num_gpus": self._share(need),
            "scheduling_strategy": "SPREAD",
        }

    def _share(self, need: Need) -> float:
        """The need as a share of a GPU, in hundredths; whole where either is unknown, or more."""
        if need.gpu_bytes == 0:
            return 0.0
        if need.processes > 1:
            return float(need.processes)
        if need.gpu_bytes is None or self.gpu_bytes is None:
            return 1.0
        return min(1.0, -(-100 * need.gpu_bytes // self.gpu_bytes) / 100)

    def _room_on(self, node: dict[str, float], need: Need) -> int:
        room = int(node.get("CPU", 0)) // need.cores
        share = self._share(need)
        gpus = int(node.get("GPU", 0))
        if share <= 1:
            return min(room, gpus * int(1 / share)) if share else room
        return min(room, gpus // int(share))

    def _nodes(self) -> dict[str, dict[str, float]]:
        """What each node that is there offers, by its id."""
        if time.monotonic() - self._counted > COUNTED:
            self._known, self._counted = _ray().nodes(), time.monotonic()
        return {node["NodeID"]: node["Resources"] for node in self._known if node["Alive"]}

    def _name(self, node: str) -> str:
        return next(of["NodeManagerAddress"] for of in self._known if of["NodeID"] == node)

    def _answer(self, node: str, asked: Any) -> Seen:
        ray = _ray()
        try:
            return ray.get(asked, timeout=ANSWER)
        except ray.exceptions.GetTimeoutError:
            reason = f"it did not answer within {ANSWER:.0f} s"
        except ray.exceptions.RayError as error:
            reason = _first_line(getattr(error, "cause", error))
        raise UserError(
            f"The Ray node {self._name(node)} cannot carry out runs ({reason}); it needs the same "
            "Python packages as this machine: pip install 'kurabe[train,ray]'."
        )


def _shown(need: Need) -> str:
    cores = f"takes {need.cores} {'core' if need.cores == 1 else 'cores'}"
    gpus = "a GPU" if need.processes == 1 else f"{need.processes} GPUs"
    return cores if need.gpu_bytes == 0 else f"{cores} and {gpus}"


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return said[0].rstrip(".: ") if said else type(error).__name__


def _knock(address: str) -> None:
    """OSError where nobody answers at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray's handler of SIGTERM would end this process before its runs are saved; ours stays."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _only(node: str) -> Any:
    """On that node and no other."""
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    return strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _ray() -> Any:
    """Ray, imported when it is used; UserError where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise UserError(
            "Ray is not installed; pip install 'kurabe[ray]', here and on every node, or leave "
            "--on out to use this machine."
        ) from error
