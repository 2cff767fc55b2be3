"""What a source of images holds: candidates, and what is left out of them. No mathematics."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kurabe.data.report import Left, Note
from kurabe.data.tables import Table

# Refusals that stay until someone mends the file: it is left out and named. All others may be gone
# the next time (a disk that is away, too many open files): a set must not shrink by them.
_LASTING = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
# Of an archive or a table, whose damage comes out as errors of many numbers, only these.
_PASSING = {
    errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.EAGAIN, errno.EINTR,
    errno.ETIMEDOUT, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.ECONNABORTED, errno.ENODEV,
}  # fmt: skip


def of_the_file(error: OSError) -> bool:
    """Whether a file that could not be opened is to be left out, and not the whole refused."""
    return error.errno in _LASTING


def of_the_system(error: BaseException) -> bool:
    """Whether what broke off in an archive or a table says nothing of its content: it could not be
    opened (the system names the file), or not read on."""
    return isinstance(error, OSError) and (bool(error.filename) or error.errno in _PASSING)


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate: its name in the source, how to read its bytes, its label if the source
    itself (a column) gives one. `read` raises UnreadableError or OSError.

    path: what labels are looked up by, "" for a row; None is the name. row: it is no file of its
    own. without: the source says that it has no label.
    """

    name: str
    read: Callable[[], bytes]
    label: str | None = None
    path: str | None = None
    row: bool = False
    without: bool = False

    @property
    def place(self) -> str:
        """The name by which a table or a folder labels it."""
        return self.name if self.path is None else self.path


@dataclass
class Listing:
    """What a source holds; `entries` may be walked once, and adds to the rest on its way."""

    entries: Iterable[Entry]
    left: list[Left] = field(default_factory=list[Left])
    dropped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tables: list[Table] = field(default_factory=list[Table])
    notes: list[Note] = field(default_factory=list[Note])
    rows_dropped: int = 0

    @property
    def ignored(self) -> int:
        """Files without an image's ending."""
        return sum(count for _, why, count in self.left if why == "left.ending")


def hidden(path: PurePosixPath) -> bool:
    """Whether a name is hidden, or macOS's own beside the true file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
