"""Fetching what data sets are made of, through the ordinary clients of package registries.

A source lists places that hold the same files; they are tried in order, and what was read is
held to one SHA-256 over names and decompressed contents, whatever the place. Nothing that was
fetched is run or unpickled. No mathematics.
"""

import errno
import gzip
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kurabe.data.known.archives import read_members
from kurabe.errors import UserError, file_of, refusal
from kurabe.files import cache_dir, folder_for_now

Progress = Callable[[str], None]
TIMEOUT = 900


@dataclass(frozen=True)
class Source:
    """Files that data sets are made of, by one pinned version.

    wanted: patterns of the files' paths (as for PurePosixPath.match). places: in the order in
    which they are tried. sha256: over the wanted files; `digest_of` computes it.
    """

    name: str
    wanted: tuple[str, ...]
    places: tuple["Place", ...]
    sha256: str
    licence: str

    def read(self, progress: Progress | None = None) -> dict[str, bytes]:
        """The wanted files, name → content; .gz files are decompressed and lose that ending.

        Raises UserError, naming each place and what it said, when none has the right files, and
        what the system says where the cache cannot take them.
        """
        failures = list[str]()
        for place in self.places:
            try:
                if progress:
                    progress(f"{self.name} ({self.licence}): {place}")
                files = _wanted(place.locate(), self.wanted)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                if isinstance(error, OSError) and _of_the_cache(error):
                    # No other place would help.
                    raise refusal(error) from None
                failures.append(f"{place}: {_short(error)}")
                continue
            if digest_of(files) == self.sha256:
                return files
            failures.append(f"{place}: its content is not the pinned one")
        raise UserError(
            f"{self.name} could not be fetched ({'; '.join(failures)}); "
            "make one of these places work, or name a folder of your own images instead."
        )


def digest_of(files: dict[str, bytes]) -> str:
    """SHA-256 over the names, in order, and contents."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def _wanted(path: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    def wanted(name: str) -> bool:
        return any(PurePosixPath(name).match(pattern) for pattern in patterns)

    files = dict[str, bytes]()
    for name, content in read_members(path, wanted):
        if name.endswith(".gz"):
            name, content = name.removesuffix(".gz"), gzip.decompress(content)
        files[PurePosixPath(name).name] = content
    if not files:
        raise ValueError("the files are not in it")
    return files


@dataclass(frozen=True)
class Installed:
    """A folder of a package that is installed beside Kurabe, at the pinned version."""

    package: str
    version: str
    folder: str

    def locate(self) -> Path:
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            raise FileNotFoundError("not installed") from None
        if distribution.version != self.version:
            raise ValueError(f"version {distribution.version} is installed")
        return Path(str(distribution.locate_file(self.folder)))

    def __str__(self) -> str:
        return f"installed package {self.package}"


@dataclass(frozen=True)
class Folder:
    """A folder where an operating system's package puts the files."""

    path: str

    def locate(self) -> Path:
        if not Path(self.path).is_dir():
            raise FileNotFoundError("not there")
        return Path(self.path)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Download:
    """One file that a registry's client downloads; kept in the cache under `file`'s name.

    command: the client and its arguments; "{folder}" stands for where the file is to land.
    """

    command: tuple[str, ...]
    file: str

    def locate(self) -> Path:
        kept = cache_dir() / "downloads" / self.file
        if kept.is_file():
            return kept
        client = shutil.which(self.command[0])
        if client is None:
            raise FileNotFoundError(f"there is no {self.command[0]} here")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with folder_for_now(kept.parent) as folder:
            arguments = [part.format(folder=folder) for part in self.command[1:]]
            subprocess.run(
                [client, *arguments], cwd=folder, check=True, capture_output=True,
                timeout=TIMEOUT, encoding="utf-8", stdin=subprocess.DEVNULL,
            )  # fmt: skip
            (found,) = (p for p in folder.iterdir() if p.is_file())
            os.replace(found, kept)
        return kept

    def __str__(self) -> str:
        return " ".join([Path(self.command[0]).name, *self.command[1:]]).replace(" -d {folder}", "")


@dataclass(frozen=True)
class Address:
    """Files at the address of those who made them."""

    url: str
    files: tuple[str, ...]

    def locate(self) -> Path:
        kept = cache_dir() / "downloads" / self.url.partition("//")[2].replace("/", "_")
        kept.mkdir(parents=True, exist_ok=True)
        for name in self.files:
            if (kept / name).is_file():
                continue
            with folder_for_now(kept) as folder:
                part = folder / name
                remote = urllib.request.urlopen(f"{self.url}/{name}", timeout=60)
                with remote, part.open("wb") as local:
                    shutil.copyfileobj(remote, local)
                os.replace(part, kept / name)
        return kept

    def __str__(self) -> str:
        return self.url


Place = Installed | Folder | Download | Address


def pip(package: str, version: str, wheel: str) -> Download:
    """A wheel by `pip download`, without its dependencies and without running its code."""
    command = (sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps")
    return Download(
        (*command, "--only-binary=:all:", "-d", "{folder}", f"{package}=={version}"), wheel
    )


def npm(package: str, version: str) -> Download:
    """A package's archive by `npm pack`, which runs none of its scripts."""
    file = f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return Download(("npm", "pack", "--silent", "--ignore-scripts", f"{package}@{version}"), file)


def apt(package: str) -> Download:
    """A Debian package by `apt-get download`, for which nobody needs to be root."""
    return Download(("apt-get", "download", "--quiet", package), f"{package}.deb")


def _of_the_cache(error: OSError) -> bool:
    """Whether the cache is what was refused, or its disk is full."""
    name = file_of(error)
    inside = name is not None and Path(name).is_relative_to(cache_dir())
    return inside or error.errno in (errno.ENOSPC, errno.EDQUOT)


def _short(error: Exception) -> str:
    """What a client said last, in one line."""
    if isinstance(reason := getattr(error, "reason", None), OSError):
        # So urllib tells of what the system said.
        error = reason
    said = getattr(error, "stderr", None) or str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        name = file_of(error)
        said = f"{name}: {error.strerror}" if name else error.strerror
    return str(said).strip().splitlines()[-1].strip().rstrip(".")[:160]
