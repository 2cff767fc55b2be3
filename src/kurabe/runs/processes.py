"""Several processes on one machine that share a run's training: this one, and its helpers.

The process that carries out the run begins the others, `python -m kurabe.runs.helper FOLDER`;
torch.distributed joins them (gloo on CPUs, NCCL on GPUs). They draw their parts of every update
(`kurabe.training.loop`) and write nothing; this one alone holds the folder, writes and measures.
A helper whose standard input closes has lost this process and ends; this one ends as a helper was
killed, so that whoever began it sees a run that was cut short.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeAlias

from kurabe.errors import KurabeError, RunFailed, UserError
from kurabe.recipe import Where
from kurabe.records import RunFolder

# How long a helper may take to end once its connection is lost, in seconds.
ENDING = 5.0

Helpers: TypeAlias = "Sequence[subprocess.Popen[bytes]]"


def ranks(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torch.distributed and accelerate read of the environment: which process this is.

    Nothing where there is one.
    """
    if processes == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that nobody listens at."""
    with ExitStack() as held:
        free = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in free]


@contextmanager
def together(folder: RunFolder, where: Where) -> Iterator[None]:
    """Inside, this process shares the run's training with helpers; alone, nothing happens.

    UserError where there is not a GPU for each, RunFailed where a helper ended early.
    """
    if where.processes == 1:
        yield
        return
    _check_gpus(where)
    (port,) = free_ports(1)
    helpers = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "kurabe.runs.helper", str(folder.path)],
            stdin=subprocess.PIPE,
            env={**os.environ, **ranks(rank, where.processes, port)},
        )
        for rank in range(1, where.processes)
    ]
    os.environ |= ranks(0, where.processes, port)
    threading.Thread(target=_watch, args=(helpers, folder), daemon=True).start()
    try:
        yield
    except Exception as error:
        _blame(helpers, error)
        raise
    finally:
        for helper in helpers:
            assert helper.stdin is not None
            with suppress(OSError):
                helper.stdin.close()


def _check_gpus(where: Where) -> None:
    if where.device != "cuda":
        return
    import torch

    if (count := torch.cuda.device_count()) < where.processes:
        raise UserError(
            f"processes = {where.processes}: each takes a GPU, and there "
            f"{'is' if count == 1 else 'are'} {count} here."
        )


def _watch(helpers: Helpers, folder: RunFolder) -> None:
    """End this process where a helper was killed, or ended and left this one waiting for it."""
    while not (codes := _codes(helpers)) and any(helper.poll() is None for helper in helpers):
        time.sleep(0.2)
    _end_as_killed(codes)
    if codes and codes[0] != 130:
        # Enough for this process to say by itself what went wrong.
        time.sleep(4 * ENDING)
        if not folder.info.get("stopped"):
            os._exit(codes[0])


def _codes(helpers: Helpers) -> list[int]:
    """The exit codes of those that ended otherwise than well."""
    return [code for helper in helpers if (code := helper.poll())]


def _blame(helpers: Helpers, error: Exception) -> None:
    """A lost connection is no reason: RunFailed, or this process's end, says what became of it."""
    if isinstance(error, KurabeError):
        return
    deadline = time.monotonic() + ENDING
    while time.monotonic() < deadline and any(helper.returncode != 0 for helper in helpers):
        _end_as_killed(codes := _codes(helpers))
        if codes:
            raise RunFailed(
                f"A process that shared the run ended first, with exit code {codes[0]}; see "
                "worker.log in the run's folder."
            ) from error
        time.sleep(0.05)


def _end_as_killed(codes: Sequence[int]) -> None:
    if (killed := next((code for code in codes if code < 0), None)) is not None:
        os.kill(os.getpid(), -killed)
