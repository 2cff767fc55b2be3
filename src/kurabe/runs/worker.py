"""Runs, one after another, in a process of their own: python -m kurabe.runs.worker.

A line of standard input is a run's folder, as JSON text; a line of the answer says that the run is
finished. Each is trained and measured, and its scores are written: everything a run needs stands in
its folder, and begun again, it goes on. What all runs need (torch, encoder, images) is loaded once.

Of the runs before it a run sees nothing: what is random is a function of its recipe, and after one
that did not finish the process ends, with an exit code that says why.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from _thread import interrupt_main
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from kurabe.errors import KurabeError, sentence
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.records.lock import FolderBusy
from kurabe.records.run import now
from kurabe.runs.processes import together

# A worker that lost its parent saves before it lets its folder go; a new one waits that long.
WAIT_FOR_FOLDER = 60.0
# The exit code that says that another process has the folder, whose record is left alone.
BUSY = 75


def execute(folder: RunFolder) -> None:
    """Train and measure the run in that folder; a learning-rate trial is trained only.

    The status becomes finished, failed or interrupted. What went wrong is raised again.
    """
    deadline = time.monotonic() + WAIT_FOR_FOLDER
    while folder.is_being_written and time.monotonic() < deadline:
        time.sleep(0.2)
    with folder.writing():
        folder.update(status="running", error=None)
        try:
            began = time.monotonic()
            # Drawn in by the first optimiser that torch makes; a process's first run would else
            # seem to need the memory that the module takes.
            import torch._dynamo  # noqa: F401

            from kurabe.runs.stages import go_on

            with together(folder, Recipe.from_toml(folder.recipe_path).where):
                trained = go_on(folder)
            beside = time.monotonic() - began - trained
            folder.update(status="finished", finished=now(), beside_seconds=max(0.0, beside))
        except KeyboardInterrupt:
            folder.update(status="interrupted")
            raise
        except Exception as error:
            # What stopped the run may keep this from being written too; the first is the reason.
            with suppress(OSError):
                folder.update(status="failed", error=sentence(error))
            raise


def main() -> int:
    """Carry out what is asked for until standard input closes; the exit code is 0, 1, 2, BUSY or
    130 and belongs to the last run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers, asked = os.dup(1), SimpleQueue[str | None]()
    at_work = threading.Event()
    threading.Thread(target=_listen, args=(asked, at_work), daemon=True).start()
    try:
        while (folder := asked.get()) is not None:
            at_work.set()
            # Where there can be no log, the run goes on without.
            with suppress(OSError):
                _speak_into(Path(folder) / "worker.log")
            if code := _carried_out(RunFolder(folder)):
                return code
            _let_go()
            at_work.clear()
            os.write(answers, b"finished\n")
    except KeyboardInterrupt:
        return 130
    return 0


def _carried_out(folder: RunFolder) -> int:
    try:
        execute(folder)
    except KeyboardInterrupt:
        return 130
    except FolderBusy as error:
        print(error, file=sys.stderr)
        return BUSY
    except KurabeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        print(sentence(error), file=sys.stderr)
        return 1
    return 0


def _listen(asked: SimpleQueue[str | None], at_work: threading.Event) -> None:
    """Pass on what is asked for; where the parent is gone or wants to stop, end."""
    # Not through sys.stdin, whose lock this thread would still hold when the process ends.
    rest = b""
    while part := os.read(0, 1 << 16):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            asked.put(json.loads(line))
    asked.put(None)
    if at_work.is_set():
        interrupt_main()


def _speak_into(log: Path) -> None:
    """What this process and torch's own code say from now on goes to that file."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _let_go() -> None:
    """Give back the memory that the last run held."""
    from kurabe.runs.peak_memory import let_go

    let_go()


if __name__ == "__main__":
    sys.exit(main())
