"""The errors that Kurabe raises on purpose, each with the exit code the command answers with.

What the system refuses (a full disk, a closed folder) becomes one of them in one place:
`refusal` says any OSError in a sentence that names the file and the way out.
"""

import errno
import io
import os
import re
import unicodedata
from pathlib import Path


class KurabeError(Exception):
    """Base of every error that Kurabe raises on purpose."""

    exit_code = 1


class UserError(KurabeError):
    """What the user gave is wrong.

    The message is one sentence that names the file, field or value and the way out; the
    command prints it alone on stderr.
    """

    exit_code = 2


class RunFailed(KurabeError):
    """A run stopped by itself (a non-finite loss, say); its last good state is kept."""


def sentence(error: BaseException) -> str:
    """What went wrong in one sentence, for a record or a person."""
    if isinstance(error, KurabeError):
        return str(error)
    said = " ".join(str(error).split())
    if _is_of_memory(error, said):
        return f"There is not enough memory for this{_amount(said)}; {_SMALLER}."
    if refused := refusal_in(error):
        return str(refusal(refused))
    return f"{type(error).__name__}: {said}"


def refusal_in(error: BaseException) -> OSError | None:
    """What the system refused, where that is what the error tells of."""
    if isinstance(error, OSError):
        return error
    # So pathlib tells of links that lead around; from Python 3.13 on it is an OSError.
    loop = re.fullmatch(r"Symlink loop from '(.+)'", str(error))
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP), loop[1]) if loop else None


def unexpected(error: Exception) -> str:
    """A fault of Kurabe's own in one sentence; the trace is there for whoever asks for it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename).name if last else ""
    place = f" in {file}:{last.tb_lineno}" if last else ""
    return (
        f"Kurabe failed{place}: {sentence(error).rstrip('.')}. Nothing written before is lost; "
        "KURABE_TRACEBACK=1 before the command shows more."
    )


def _is_of_memory(error: BaseException, said: str) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(sign in said for sign in _NO_MEMORY)


def _amount(said: str) -> str:
    asked = _ASKED.search(said)
    if asked is None:
        return ""
    amount, unit = asked.groups()
    if unit == "bytes":
        amount, unit = f"{float(amount) / 2**20:,.0f}", "MiB"
    return f" ({amount} {unit} were asked for at once)"


# How torch says it, on CPUs and on GPUs; its own exceptions are RuntimeErrors.
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc", "ALLOC_FAILED",
)  # fmt: skip
_ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_SMALLER = (
    "set optimiser.micro_batch to less than optimiser.batch, or gradient_checkpointing = true (of "
    "kurabe fit: --set where.gradient_checkpointing=true), lower evaluation.batch where it was "
    "being measured, or ask for fewer or smaller images or a smaller network"
)
_CLOSED = "{file} may not be read or written; change its permissions or give another place."
_FULL = (
    "The disk is full: {file} was not written whole. Nothing from before is lost; make room and "
    "give the same command again."
)
_MANY = (
    "Too many files are open at once, so {file} could not be opened; close other programs, or "
    "raise the limit (ulimit -n), and give the same command again."
)
_AGAIN = "Nothing written before is lost"
_BUSY = "{file} is in use by another program; close that and give the same command again."
_AWAY = (
    "{file} lies on a disk or share that does not answer ({why}). " + _AGAIN + "; connect it again "
    "and give the same command, or give another place."
)
_DAMAGE = (
    "{file}: the disk reports a fault ({why}). " + _AGAIN + "; give a place on another disk, or "
    "the same command again."
)
_UNFIT = (
    "{file}: its file system cannot do this ({why}). " + _AGAIN + "; give a place on a disk "
    "of this machine, or a plainer name."
)
# What a person can mend by giving another place, and what only the machine's owner can.
_REFUSALS: dict[int, tuple[type[KurabeError], str]] = {
    errno.ENOSPC: (UserError, _FULL),
    errno.EDQUOT: (UserError, _FULL),
    errno.EFBIG: (UserError, "{file} would be larger than its disk takes; give another place."),
    errno.EACCES: (UserError, _CLOSED),
    errno.EPERM: (UserError, _CLOSED),
    errno.EROFS: (UserError, "{file} lies on a read-only file system; give another place."),
    errno.ENOENT: (UserError, "{file} is not there, or is there no longer; give another place."),
    errno.ENOTDIR: (UserError, "{file} lies below a file, not a folder; give another place."),
    errno.EISDIR: (UserError, "{file} is a folder, where a file is meant; give another name."),
    errno.EEXIST: (UserError, "{file} is there already; give another name."),
    errno.ENOTEMPTY: (UserError, "{file} is a folder that is not empty; give another name."),
    errno.ENAMETOOLONG: (UserError, "{file} is too long a name to be stored; give a shorter one."),
    errno.ELOOP: (UserError, "{file} leads around in links; give the place that they stand for."),
    errno.EXDEV: (UserError, _UNFIT),
    errno.EINVAL: (UserError, _UNFIT),
    errno.ENOTSUP: (UserError, _UNFIT),
    errno.ENOSYS: (UserError, _UNFIT),
    errno.ENOLCK: (UserError, _UNFIT),
    errno.EBUSY: (RunFailed, _BUSY),
    errno.ETXTBSY: (RunFailed, _BUSY),
    errno.EAGAIN: (RunFailed, _BUSY),
    errno.EMFILE: (RunFailed, _MANY),
    errno.ENFILE: (RunFailed, _MANY),
    **dict.fromkeys(
        (
            errno.ETIMEDOUT, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN,
            errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
            errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED,
        ),
        (RunFailed, _AWAY),
    ),
    errno.EIO: (RunFailed, _DAMAGE),
}  # fmt: skip
_FAULT = (
    "{file}: the system reports a fault ({why}). " + _AGAIN + "; give the same command again, or "
    "another place."
)
_LONGEST = 200


def refusal(error: OSError) -> KurabeError:
    """The error that says in one sentence what the system refused, and of which file."""
    kind, text = _REFUSALS.get(error.errno or 0, (RunFailed, _FAULT))
    if error.errno == errno.EEXIST and _is_file(error):
        text = "{file} is a file, where a folder is meant; give another name."
    why = error.strerror or str(error) or type(error).__name__
    return kind(text.format(file=_named(error), why=why))


# What Pydantic says of a value, as a person would say it.
_PLAINLY = (
    (r"Input should be greater than or equal to (.+)", r"must be at least \1"),
    (r"Input should be less than or equal to (.+)", r"must be at most \1"),
    (r"Input should be greater than (.+)", r"must be more than \1"),
    (r"Input should be less than (.+)", r"must be less than \1"),
    (r"Input should be a valid integer.*", r"must be a whole number"),
    (r"Input should be a (?:valid|finite) number.*", r"must be a number"),
    (r"Input should be a valid boolean.*", r"must be true or false"),
    (r"Input should be a valid (?:string|text).*", r"must be text in quotation marks"),
    (r"Input should be a valid (?:tuple|list).*", r"must be a list in square brackets"),
    (r"Input should be a valid dictionary.*", r"must be a table of settings"),
    (r"Input should be (.+)", r"must be \1"),
    (r"String should match pattern .*", r"must be small letters, digits, dots, - and _"),
    (r"(?:Tuple|List) should have at least (\d+) items?.*", r"must have at least \1 of them"),
    (r"(?:Tuple|List) should have at most (\d+) items?.*", r"must have at most \1 of them"),
    (r"Value error, (.+)", r"\1"),
)


def plainly(said: str) -> str:
    """What a checker says of a value, without the checker's own words and without a full stop."""
    said = " ".join(said.split()).rstrip(".")
    for pattern, instead in _PLAINLY:
        if match := re.fullmatch(pattern, said):
            return match.expand(instead)
    return said


def shown(name: object) -> str:
    """A name as one line that a terminal does not act on and every encoding of Unicode holds.

    Control characters and what is not UTF-8 in a file's name come out escaped (\\x1b, \\udc8e);
    spaces of every width and the joiner of emoji stay.
    """
    return "".join(c if _harmless(c) else ascii(c)[1:-1] for c in str(name))


def _harmless(character: str) -> bool:
    joiner = character == "\u200d"
    return character.isprintable() or joiner or unicodedata.category(character) == "Zs"


def file_of(error: OSError) -> str | None:
    """The file that the system's refusal is about; None where that cannot be told."""
    name = error.filename2 or error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | Path) and name else _at_hand(error)


def _at_hand(error: OSError) -> str | None:
    """The file that was open where the system names none: what fails in the middle of reading or
    writing does not tell in which file. It is the one that the innermost of the functions that the
    error passed through holds open."""
    found, step = None, error.__traceback__
    while step is not None:
        own = step.tb_frame.f_locals
        held = [*own.values(), *getattr(own.get("self"), "__dict__", {}).values()]
        names = [getattr(file, "name", None) for file in held if isinstance(file, io.IOBase)]
        # Of a terminal's streams the name is "<stdout>".
        found = next((n for n in names if isinstance(n, str) and not n.startswith("<")), found)
        step = step.tb_next
    return found


def _is_file(error: OSError) -> bool:
    name = error.filename2 or error.filename
    return isinstance(name, str | bytes) and os.path.isfile(name)  # noqa: PTH113


def _named(error: OSError) -> str:
    name = file_of(error)
    if name is None:
        return "a file that the command reads or writes"
    text = shown(Path.cwd() if name == "." else name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
