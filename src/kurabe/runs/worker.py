"""One run, in a process of its own: python -m kurabe.runs.worker RUNFOLDER.

Load the images (decoded once, cached), split them by the block's seed, train, measure, write the
scores. Everything it needs stands in the folder; begun again, it goes on.
"""

import os
import signal
import sys
import threading
import time
import traceback
from _thread import interrupt_main
from contextlib import suppress

from kurabe.errors import KurabeError, sentence
from kurabe.records import RunFolder
from kurabe.records.lock import FolderBusy
from kurabe.records.run import now

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
            from kurabe.runs.stages import go_on

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


def main(path: str) -> int:
    """Run and answer with the exit code: 0, 1, 2 or 130."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch_parent, daemon=True).start()
    try:
        execute(RunFolder(path))
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


def _watch_parent() -> None:
    # Not through sys.stdin, whose lock this thread would still hold when the process ends.
    os.read(0, 1)
    interrupt_main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
