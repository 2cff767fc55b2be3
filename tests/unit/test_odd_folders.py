"""Folders as no one would make them on purpose: nothing raises, and every file is accounted for.

Folders are drawn by hypothesis: images of many kinds, copies, damaged and empty files, odd names
(newlines, escapes, bytes that are not UTF-8, both Unicode forms), hidden files, links, pipes, runs'
folders, tables of labels that fit and do not, shards, zip and tar files.
"""

import io
import json
import os
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kurabe.data import Report, load
from kurabe.data.decoding import ENDINGS
from kurabe.data.preflight import read_images
from kurabe.errors import UserError, shown

STEMS = [
    b"a", b"b", b"0", b"000", b"cat.v2", b" x ", b"-1", b"a\nb", b"\x1b[31mr", b"\x8e\xca", b"%s{}",
    "がぞう".encode(), unicodedata.normalize("NFD", "がぞう").encode(), b"long" * 40, b".hidden",
    "👩‍🔬".encode(), b'quo"te', b"back\\slash", b"(none)", "a　b".encode(),
]  # fmt: skip
FOLDERS = [b"", b"", b"cat", b"dog", b"cat/deep", b".git", b"run", b"\x8e\x9f", b"__MACOSX"]
ENDS = [b".png", b".PNG", b".jpg", b".tif", b".txt", b"", b".heic", b".gif", b".zip", b".parquet"]
TABLES = ["labels.csv", "metadata.csv", "metadata.jsonl", "cat/metadata.csv"]


def image(seed: int, kind: int) -> bytes:
    """One of the kinds of image files, or of what is none."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (3 + seed % 3, 4, 3), np.uint8)
    deep = [small[..., 0].astype(np.uint16) * 16, small[..., 0].astype(np.int32) * 999 - seed % 2]
    floating = small[..., 0].astype(np.float32) / 255
    floating[0, 0] = (np.nan, 1.02, -0.1, np.inf)[seed % 4]
    buffer = io.BytesIO()
    if kind < 3:
        Image.fromarray(small).save(buffer, ("PNG", "JPEG", "GIF")[kind])
    elif kind < 6:
        Image.fromarray((*deep, floating)[kind - 3]).save(buffer, "TIFF")
    elif kind == 6:
        Image.fromarray(small).save(buffer, "PNG", icc_profile=random.bytes(99))
    whole = buffer.getvalue()
    if kind == 7:
        Image.fromarray(small).save(buffer, "PNG")
        return buffer.getvalue()[: 20 + seed % 60]
    return whole or (b"", b"<html>", b"PK\3\4", random.bytes(200))[seed % 4]


@st.composite
def files(draw: st.DrawFn) -> dict[bytes, bytes]:
    """Path below the folder → content."""
    found = dict[bytes, bytes]()
    for _ in range(draw(st.integers(0, 9))):
        folder, stem = draw(st.sampled_from(FOLDERS)), draw(st.sampled_from(STEMS))
        path = folder + b"/" * bool(folder) + stem + draw(st.sampled_from(ENDS))
        found[path] = image(draw(st.integers(0, 5)), draw(st.integers(0, 8)))
    for name in draw(st.lists(st.sampled_from(TABLES), max_size=1)):
        rows = [os.fsdecode(path) for path in found]
        rows = draw(st.lists(st.sampled_from([*rows, "none.png", "0.png", '"', ""]), max_size=5))
        found[name.encode()] = table(name, rows, draw(st.integers(0, 5)))
    return found


def table(name: str, rows: list[str], kind: int) -> bytes:
    if name.endswith("l"):
        lines = [json.dumps({"file_name": row, "label": k % 2 - 1}) for k, row in enumerate(rows)]
        return "\n".join(lines[:kind] + ["{"] * (kind == 5)).encode()
    sign, title = ",;\t,,,"[kind], ("file", "file_name", "bild")[kind % 3]
    head = f"{title}{sign}label\n" if kind < 4 else "a,b,c\n" if kind == 4 else ""
    text = head + "".join(f"{row}{sign}{'xy'[k % 2]}\n" for k, row in enumerate(rows))
    return text.encode(
        "utf-16" if kind == 2 else "utf-8", "surrogateescape" if kind != 2 else "replace"
    )


EXTRAS = ["link to folder", "broken link", "loop", "pipe", "run", "closed shard", "shard", "tar"]


def make(place: Path, contents: dict[bytes, bytes], extras: set[str]) -> None:
    for name, content in contents.items():
        path = place / os.fsdecode(name)
        try:
            path.parent.mkdir(exist_ok=True, parents=True)
            with path.open("xb") as file:
                file.write(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    inside = place / "extra"
    if extras:
        inside.mkdir(exist_ok=True)
    if "link to folder" in extras:
        (inside / "up").symlink_to(place)
    if "broken link" in extras:
        (inside / "gone.png").symlink_to("nowhere.png")
    if "loop" in extras:
        (inside / "loop.png").symlink_to("loop.png")
    if "pipe" in extras:
        os.mkfifo(inside / "pipe.png")
    if "run" in extras:
        (inside / "run-1" / "samples").mkdir(parents=True)
        for name in ("run.json", "recipe.toml", "samples/1.png"):
            (inside / "run-1" / name).write_bytes(image(1, 0))
    cells = [{"bytes": image(seed, seed % 9), "path": None} for seed in range(4)]
    if "closed shard" in extras:
        (inside / "x.arrow").write_bytes(b"ARROW1")
    if "shard" in extras:
        pq.write_table(pa.table({"image": cells, "label": [0, -1, 1, 1]}), inside / "x.PARQUET")
    if "tar" in extras:
        with tarfile.open(inside / "x.tar", "w") as archive:
            for name in ("1.png", "1.cls", "./2.png", "2.txt"):
                info = tarfile.TarInfo(name)
                info.size = len(image(1, 0))
                archive.addfile(info, io.BytesIO(image(1, 0)))


def on_disk(place: Path) -> int:
    """All that is no folder, links to folders among it, by a walk of its own."""
    return sum(not path.is_dir() or path.is_symlink() for path in walked(place))


def walked(place: Path):
    for entry in os.scandir(place):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from walked(Path(entry.path))


def held_to_account(place: Path) -> None:
    try:
        images = read_images(place, 8)
    except UserError as error:
        assert str(error) == shown(error)
        return
    report = images.report
    assert report is not None
    assert report.files == on_disk(place)
    assert report.found == report.kept + len(report.duplicates) + len(report.dropped)
    assert report.kept == len(images) == len(set(images.ids))
    assert sum(report.labels.values()) in (0, report.kept)
    everything = read_images(place, 8, copies=True)
    assert len(everything) == len(set(everything.ids)) == report.found - len(report.dropped)
    assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report
    for lang in ("ja", "en"):
        for line in report.lines(lang=lang):
            assert line.encode() and not any(c < " " or c == "\x7f" for c in line)


@given(files(), st.sets(st.sampled_from(EXTRAS), max_size=3))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_file_of_an_odd_folder_is_accounted_for(contents, extras):
    odd_folder(contents, extras)


@pytest.mark.slow
@given(files(), st.sets(st.sampled_from(EXTRAS), max_size=3))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_file_of_two_thousand_odd_folders_is_accounted_for(contents, extras):
    odd_folder(contents, extras)


def odd_folder(contents: dict[bytes, bytes], extras: set[str]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        make(place, contents, extras)
        held_to_account(place)
        packed = place / "packed.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in contents.items():
                archive.writestr(os.fsdecode(name).encode("utf-8", "replace").decode(), content)
        held_to_zip(packed)
    finally:
        shutil.rmtree(place)


def held_to_zip(place: Path) -> None:
    with zipfile.ZipFile(place) as archive:
        count = sum(not info.is_dir() for info in archive.infolist())
    try:
        report = read_images(place, 8).report
    except UserError:
        return
    assert report is not None and report.files == count


def test_images_of_a_folder_are_read_when_all_their_endings_are_upper_case(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "s").mkdir()
    endings = sorted(ENDINGS - {".heic", ".heif"})
    for seed, ending in enumerate(endings):
        (tmp_path / "s" / f"{seed}{ending.upper()}").write_bytes(image(0, 0))
    report = load(str(tmp_path / "s")).report
    assert report is not None and report.kept + len(report.duplicates) == len(endings)
