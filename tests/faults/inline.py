"""Kurabe's own processes, carried out in this one, so that what fails here fails in them too.

What a study starts is `python -P -m kurabe.runs.worker` and `… kurabe.studies.calibration FOLDER`;
both talk through their standard streams alone. Here the same functions are called, and the streams
are kept in memory. Real processes are tried in test_warm_workers.py and test_study_continues.py.
"""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from kurabe.errors import UserError, sentence
from kurabe.records import RunFolder
from kurabe.runs import worker
from kurabe.studies import calibration


class _Answers:
    """Lines of a process's standard output, until it ends."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[bytes | None] = SimpleQueue()

    def __enter__(self) -> Iterator[bytes]:
        return iter(self.lines.get, None)

    def __exit__(self, *_: object) -> None:
        pass


class Inline:
    """What subprocess.Popen gives, of a module of Kurabe's."""

    def __init__(self, command: list[str], **_: Any) -> None:
        self._arguments = command[command.index("-m") + 1 :]
        self.stdin, self.stdout = self, _Answers()
        self.returncode: int | None = None

    def write(self, told: bytes) -> None:
        assert self._arguments == ["kurabe.runs.worker"]
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            code = worker._carried_out(RunFolder(json.loads(told)))
        if code:
            self._end(code)
        else:
            self.stdout.lines.put(b"finished\n")

    def communicate(self) -> tuple[str, str]:
        module, folder = self._arguments
        assert module == "kurabe.studies.calibration"
        try:
            measured = json.dumps(calibration._measure(Path(folder)))
        except Exception as error:
            self._end(UserError.exit_code if isinstance(error, UserError) else 1)
            return "", sentence(error)
        self._end(0)
        return measured, ""

    def _end(self, code: int) -> None:
        self.returncode = code if self.returncode is None else self.returncode
        self.stdout.lines.put(None)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._end(0)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        return self.returncode or 0

    kill = close
