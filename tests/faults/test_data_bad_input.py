"""Bad images and bad sources: skipped and counted, or one clear sentence; nothing half written."""

import io
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kurabe.data import check, load, split
from kurabe.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Five drawings that can be read."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(5):
        (folder / f"{seed}.png").write_bytes(drawing(seed))
    return folder


def drawing(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, with hardly any data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


BAD = {
    "bomb.png": (png_of(50_000, 50_000), "has more than 178,956,970 pixels, too many to open"),
    "page.png": (b"<html><body>404", 'is not an image (it begins with "<html><body>")'),
    "empty.jpg": (b"", "is empty"),
    "cut.png": (drawing(9)[:600], "is damaged or truncated"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_is_skipped_and_named_with_its_reason(folder, name):
    content, reason = BAD[name]
    (folder / name).write_bytes(content)
    report = check(str(folder))
    assert (report.found, report.kept) == (6, 5)
    ((file, said),) = report.dropped
    assert file == name and reason in said
    assert any(f"{name} {reason}" in line for line in report.lines())
    assert load(str(folder)).ids == ("0.png", "1.png", "2.png", "3.png", "4.png")


def test_a_jpeg_cut_anywhere_never_stops_the_set(folder):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(drawing(7))).save(buffer, "JPEG")
    whole = buffer.getvalue()
    cuts = range(0, len(whole) - 2, 97)
    for cut in cuts:
        (folder / f"cut-{cut}.jpg").write_bytes(whole[:cut])
    report = check(str(folder))
    assert report.kept == 5 and len(report.dropped) == len(cuts)


def test_an_empty_folder_and_one_of_other_files(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"none holds no images \(0 other files\)"):
        load(str(tmp_path / "none"))
    (tmp_path / "none" / "letter.txt").write_text("x")
    with pytest.raises(UserError, match=r"\(1 other file\)"):
        load(str(tmp_path / "none"))


def test_a_folder_of_which_nothing_can_be_read(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "page.png").write_bytes(b"<html>")
    with pytest.raises(
        UserError, match=r"The only image .* cannot be read: page\.png is not an image"
    ):
        load(str(tmp_path / "bad"))


def test_one_image_loads_but_does_not_split(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "0.png").write_bytes(drawing(0))
    images = load(str(tmp_path / "one"))
    assert len(images) == 1
    with pytest.raises(UserError, match="has 1 different images"):
        split(images, 0)


def test_all_identical_images_are_one(folder):
    for file in folder.iterdir():
        file.write_bytes(drawing(0))
    report = check(str(folder))
    assert (report.found, report.kept, len(report.duplicates)) == (5, 1, 4)
    with pytest.raises(UserError, match="too few to split"):
        split(load(str(folder)), 0)


def test_what_does_not_exist_or_is_of_another_kind(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="neither a folder nor a readable"):
        load(str(tmp_path / "notes.txt"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        load(str(tmp_path / "x.parquet"))


def test_a_zip_that_is_cut_and_one_with_a_damaged_member(tmp_path, folder):
    whole = tmp_path / "x.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    content = whole.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cut\.zip is neither a folder nor a readable \.zip"):
        load(str(tmp_path / "cut.zip"))
    place = content.index(drawing(2)) + 200
    whole.write_bytes(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])
    report = check(str(whole))
    assert report.kept == 4
    ((file, reason),) = report.dropped
    assert file == "2.png" and "cannot be unpacked" in reason and "CRC" in reason


def test_names_that_leave_an_archive_reach_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, name in enumerate(["in.png", "../out.png", "/etc/out.png", "C:/out.png"]):
            archive.writestr(name, drawing(number))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    report = check(str(tmp_path / "x.zip"))
    assert report.kept == 1
    assert {file for file, _ in report.dropped} == {"../out.png", "/etc/out.png", "C:/out.png"}
    assert not Path("/etc/out.png").exists()
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def child(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which may lower its own rights and limits."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


AS_ANOTHER_USER = """
import os, sys
from PIL import Image
from kurabe.data import available, check
from kurabe.data.decoding import decode
from kurabe.errors import UserError
import pyarrow
Image.init()
available()  # what is imported when first asked for may not be readable to another user
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
try:
    print("\\n".join(check(sys.argv[1]).lines()))
except UserError as error:
    print("UserError:", error)
"""


def test_a_folder_and_a_file_that_may_not_be_read(tmp_path, folder):
    shared = Path(tempfile.gettempdir())
    for path in (tmp_path, *tmp_path.parents):
        if shared in path.parents:
            path.chmod(0o755)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    (folder / "3.png").chmod(0)
    said = child(AS_ANOTHER_USER, str(folder)).stdout
    assert "4 of 5 images kept" in said
    assert "3.png may not be read (Permission denied)" in said
    folder.chmod(0)
    said = child(AS_ANOTHER_USER, str(folder))
    folder.chmod(0o755)
    assert said.stdout == (
        f"UserError: {folder} may not be read or written; change its permissions or give another "
        "place.\n"
    ), said.stderr


FULL_DISK = """
import resource, sys
from kurabe.data import load
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
print(len(load(sys.argv[1])))
"""


def test_a_full_disk_costs_the_cache_and_not_the_images(folder, cache):
    """A limit of 2,000 bytes on every file written stands for the full disk."""
    result = child(FULL_DISK, str(folder))
    assert result.stdout == "5\n", result.stderr
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert len(load(str(folder))) == 5
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 1


def test_a_torn_cache_entry_is_made_again(folder, cache):
    first = load(str(folder))
    (entry,) = (path for path in cache.rglob("*.npz"))
    for length in (0, 10, entry.stat().st_size // 2, entry.stat().st_size - 30):
        entry.write_bytes(entry.read_bytes()[:length])
        assert load(str(folder)).digest == first.digest
        assert entry.stat().st_size > 10_000


def test_labels_with_two_answers_for_one_file(folder):
    (folder / "labels.csv").write_text("0.png,a\n0.png,b\n")
    with pytest.raises(UserError, match=r"line 2: 0\.png has two labels"):
        load(str(folder))


def test_labels_that_are_not_text(folder):
    (folder / "labels.csv").write_bytes("0.png,鳥\n".encode("shift_jis"))
    with pytest.raises(UserError, match=r"labels\.csv is not UTF-8 text"):
        load(str(folder))


def test_a_parquet_file_damaged_behind_its_footer(tmp_path):
    rows = [drawing(i) for i in range(50)]
    pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet", compression="zstd")
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[4:40] = bytes(36)
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.parquet is a damaged Parquet file"):
        load(str(tmp_path / "x.parquet"))
