"""Where a user's images lie: a folder's files, a zip file's, the rows of tables, members of tars.

Files of an archive are read into memory and never written under their own names. Order is by
name, so the same files always give the same set. No mathematics.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from kurabe.data.decoding import ENDINGS, UnreadableError
from kurabe.data.entries import Entry, Listing, hidden, of_the_file
from kurabe.data.report import CLOSED
from kurabe.data.shards import TABLES, TARS, entries_of, is_shard
from kurabe.data.tables import LABELS, METADATA, OnlyCaptions, read_table
from kurabe.data.zips import zipped
from kurabe.errors import UserError, refusal, shown

LARGEST = 1 << 30


@contextmanager
def opened(path: Path) -> Generator[Listing]:
    """The listing of a folder, .zip, .parquet, .arrow or .tar file, its tables of labels read.

    Raises UserError for what does not exist, cannot be read or is of another kind.
    """
    name = shown(path)
    try:
        if path.is_dir():
            _refuse_records(path)
            yield _folder(path)
        elif not path.exists():
            raise UserError(f"{name} does not exist, and no known set has that name.")
        elif _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                listing, names = zipped(archive)
                _choose(listing, names, lambda member: Entry(member, names[member]))
                yield listing
        elif path.suffix.lower() in TABLES or path.name.lower().endswith(TARS):
            yield _single(path)
        else:
            raise UserError(
                f"{name} is neither a folder nor a readable .zip, .parquet, .arrow or .tar file."
            )
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{name} is a damaged zip file ({error}); give a whole copy of it."
        ) from None
    except PermissionError as error:
        raise refusal(error) from None


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        # To is_zipfile a disk that fails is one more file of another kind.
        file.read(1)
        return zipfile.is_zipfile(file)


def fingerprint(path: Path) -> str:
    """Hex digits that change when a file of the source does: names, sizes, times of change."""
    files = [path]
    if path.is_dir():
        walk = _walked(path, _unless_of_the_file)
        files = sorted(Path(top) / name for top, names in walk for name in names)
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            _unless_of_the_file(error)
            continue
        said = f"\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_mode}\0"
        digest.update(os.fsencode(file) + said.encode())
    return digest.hexdigest()


def _unless_of_the_file(error: OSError) -> None:
    if not of_the_file(error):
        raise error


def _walked(
    path: Path,
    onerror: Callable[[OSError], None] | None = None,
    left: Callable[[Path, str], None] = lambda folder, why: None,
) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, below none that is hidden, a link, a run's or a study's: the
    samples of runs are no images to train on. left: is told of each of these."""
    for top, folders, files in os.walk(path, onerror=onerror):
        entered = list[str]()
        for name in sorted(folders):
            folder = Path(top) / name
            if folder.is_symlink():
                left(folder, "left.link")
            elif hidden(PurePosixPath(name)):
                left(folder, "left.hidden")
            elif _is_record(folder):
                left(folder, "left.record")
            else:
                entered.append(name)
        folders[:] = entered
        yield top, files


def _is_record(folder: Path) -> bool:
    """Whether a folder is a run's or a study's; one that may not be entered is none."""
    pairs = ("run.json", "recipe.toml"), ("study.json", "study.toml")
    try:
        return any(all((folder / name).is_file() for name in pair) for pair in pairs)
    except OSError:
        return False


def _refuse_records(path: Path) -> None:
    whole = path.resolve()
    for folder in (whole, *whole.parents):
        if _is_record(folder):
            raise UserError(
                f"{shown(path)} lies in {shown(folder)}, the folder of a run or a study, whose "
                "pictures are what was drawn; name a folder of images."
            )


def _folder(path: Path) -> Listing:
    listing, names = Listing([]), list[str]()

    def closed(error: OSError) -> None:
        where = Path(error.filename)
        if where == path:
            raise refusal(error) from None
        if not of_the_file(error):
            raise error
        listing.left.append((f"{where.relative_to(path).as_posix()}/", "left.closed", 0))

    def left(folder: Path, why: str) -> None:
        count = 1 if why == "left.link" else _files_below(folder)
        listing.left.append((f"{folder.relative_to(path).as_posix()}/", why, count))

    for top, files in _walked(path, closed, left):
        inside = Path(top).relative_to(path)
        names += [(inside / name).as_posix() for name in files]
    found = {name: lambda name=name: _read_file(path / name) for name in sorted(names)}
    shards = _choose(listing, found, lambda name: Entry(name, found[name]))
    if not listing.entries and shards:
        read = set(shards)
        listing.left = [one for one in listing.left if one[0] not in read]
        listing.left += [(name, "left.container", 1) for name in shards]
        listing.entries = _of_shards(path, shards, listing)
    return listing


def _files_below(folder: Path) -> int:
    """All files below a folder, links to folders among them, as a listing of the disk has them."""
    count = 0
    for top, folders, files in os.walk(folder):
        count += len(files) + sum((Path(top) / name).is_symlink() for name in folders)
    return count


def _read_file(path: Path) -> bytes:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableError("is no file but a device, a pipe or a folder")
    if state.st_size > LARGEST:
        raise UnreadableError(f"is larger than {LARGEST >> 20} MB")
    return path.read_bytes()


def _single(path: Path) -> Listing:
    listing = Listing([])

    def entries() -> Iterator[Entry]:
        try:
            yield from entries_of(path, "", listing)
        except UnreadableError as error:
            raise UserError(f"{shown(path)} {error}.") from None

    listing.entries = entries()
    return listing


def _of_shards(path: Path, names: list[str], listing: Listing) -> Iterator[Entry]:
    """The images of each shard in turn; one that is damaged does not stop the others."""
    for name in names:
        try:
            if not stat.S_ISREG((path / name).stat().st_mode):
                raise UnreadableError("is no file")
            yield from entries_of(path / name, f"{name}/", listing)
        except (UnreadableError, OSError) as error:
            if isinstance(error, OSError) and not of_the_file(error):
                raise
            listing.left.remove((name, "left.container", 1))
            closed = isinstance(error, OSError)
            listing.dropped.append((name, f"{CLOSED} ({error.strerror})" if closed else str(error)))


def _choose(listing: Listing, names: Iterable[str], entry: Callable[[str], Entry]) -> list[str]:
    """Keep what has an image's ending, read tables, and say what else there is; the shards."""
    images, shards = list[str](), list[str]()
    for name in sorted(names):
        path = PurePosixPath(name)
        if hidden(path):
            listing.left.append((name, "left.hidden", 1))
        elif path.suffix.lower() in ENDINGS:
            images.append(name)
        elif path.name.lower() in (LABELS, *METADATA) and _is_table(listing, name, entry(name)):
            listing.left.append((name, "left.table", 1))
        else:
            listing.left.append((name, "left.ending", 1))
            shards += [name] if is_shard(name) else []
    listing.entries = [entry(name) for name in images]
    return shards


def _is_table(listing: Listing, name: str, entry: Entry) -> bool:
    """Read a table into the listing; one that is only metadata and cannot be used is noted."""
    try:
        table = read_table(entry.read(), name)
    except UnreadableError as error:
        raise UserError(f"{shown(name)} {error}.") from None
    except OnlyCaptions:
        listing.notes.append(("table.captions", {"table": shown(name)}))
        return False
    except UserError as error:
        if PurePosixPath(name).name.lower() == LABELS:
            raise
        listing.notes.append(
            ("table.unused", {"table": shown(name), "why": str(error).removesuffix(".")})
        )
        return False
    folder = PurePosixPath(name).parent
    rows = {(folder / row).as_posix(): label for row, label in table.rows.items()}
    listing.tables.append(replace(table, rows=rows))
    return True
