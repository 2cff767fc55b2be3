"""Known sets: fetching held to digests, pickles read safely, code points, drawings on white."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from kurabe.cli import answer
from kurabe.data import available, load
from kurabe.data.known.archives import read_members
from kurabe.data.known.arrays import read_idx, read_pickled_array
from kurabe.data.known.codepoints import code_points, family, group_of, has_skin_tone, is_reserved
from kurabe.data.known.emoji import from_bitmap, from_svg
from kurabe.data.known.fetch import Address, Download, Folder, Installed, Source, digest_of
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError


def source(*places, files) -> Source:
    return Source("birds", ("*.svg",), places, digest_of(files), "CC0-1.0")


def test_places_are_tried_in_order_and_held_to_the_digest(tmp_path):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for folder, content in ((right, b"<svg/>"), (wrong, b"<svg> </svg>")):
        folder.mkdir()
        (folder / "owl.svg").write_bytes(content)
        (folder / "notes.txt").write_bytes(b"not wanted")
    files = {"owl.svg": b"<svg/>"}
    said = list[str]()
    places = (Folder(str(tmp_path / "no")), Folder(str(wrong)), Folder(str(right)))
    assert source(*places, files=files).read(said.append) == files
    assert [line.split(": ")[1] for line in said] == [str(place) for place in places]
    assert all("CC0-1.0" in line for line in said)
    with pytest.raises(UserError) as error:
        source(*places[:2], files=files).read()
    assert "no: not there" in str(error.value)
    assert "wrong: its content is not the pinned one" in str(error.value)


def test_a_client_that_fails_or_is_missing_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    failing = Download(("sh", "-c", "echo no such package >&2; exit 1"), "x.tgz")
    missing = Download(("a-client-nobody-has", "get"), "y.tgz")
    other = Installed("numpy", "0.0.1", "numpy")
    with pytest.raises(UserError) as error:
        source(failing, missing, other, files={}).read()
    assert "no such package" in str(error.value)
    assert "there is no a-client-nobody-has here" in str(error.value)
    assert f"version {np.__version__} is installed" in str(error.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_download_is_kept_and_not_made_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    count = tmp_path / "count"
    script = f"echo x >> {count}; printf '<svg/>' > owl.svg; tar czf x.tgz owl.svg; rm owl.svg"
    place = Download(("sh", "-c", script), "birds.tgz")
    files = {"owl.svg": b"<svg/>"}
    for _ in range(3):
        assert source(place, files=files).read() == files
    assert count.read_text() == "x\n"


def ar_member(name: bytes, content: bytes) -> bytes:
    header = b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(content))
    return header + content + b"\n" * (len(content) % 2)


def test_every_kind_of_archive_gives_the_same_members(tmp_path):
    files = {"a/owl.svg": b"owl", "a/b/wren.svg": b"wren!", "a/other.txt": b"no"}
    for name, content in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    for end, mode in (("x.tgz", "w:gz"), ("data.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / end, mode) as archive:
            archive.add(tmp_path / "folder" / "a", "a")
    data = (tmp_path / "data.tar.xz").read_bytes()
    members = [(b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"odd"), (b"data.tar.xz", data)]
    deb = b"!<arch>\n" + b"".join(ar_member(*member) for member in members)
    (tmp_path / "x.deb").write_bytes(deb)
    wanted = {name: content for name, content in files.items() if name.endswith(".svg")}
    for place in ("folder", "x.whl", "x.tgz", "x.deb"):
        found = dict(read_members(tmp_path / place, lambda name: name.endswith(".svg")))
        assert found == wanted, place
    (tmp_path / "x.tgz").write_bytes((tmp_path / "x.tgz").read_bytes()[:60])
    with pytest.raises(ValueError, match="damaged"):
        list(read_members(tmp_path / "x.tgz", lambda _: True))


def test_a_pickled_array_is_read_and_nothing_else():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_pickled_array(pickle.dumps(array)), array)
    # numpy 1 wrote the module's older name; protocol 3 ends names by line ends, not by lengths.
    old = pickle.dumps(array, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in old
    np.testing.assert_array_equal(read_pickled_array(old), array)


class Evil:
    def __reduce__(self):
        return (print, ("this must not be printed",))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        pickle.dumps([1, 2]),
        pickle.dumps(np.array([Evil()], dtype=object)),
        b"",
        b"not a pickle",
    ],
)
def test_other_pickles_are_refused_without_running(content, capsys):
    with pytest.raises(UserError):
        read_pickled_array(content)
    assert capsys.readouterr().out == ""


def test_idx_is_read_by_its_definition():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + array.tobytes()
    np.testing.assert_array_equal(read_idx(content), array)
    with pytest.raises(UserError, match="not an IDX"):
        read_idx(gzip.compress(content))


def test_families_join_genders_tones_and_presentation():
    farmer = {family(code_points(c)) for c in (
        "1F468-200D-1F33E", "1F469-200D-1F33E", "1F9D1-1F3FB-200D-1F33E", "1f9d1-200d-1f33e-fe0f",
    )}  # fmt: skip
    assert farmer == {"1f9d1-200d-1f33e"}
    surfer = {family(code_points(c)) for c in ("1F3C4", "1F3C4-200D-2640-FE0F", "1F3C4-1F3FD")}
    assert surfer == {"1f3c4"}
    assert family(code_points("0023-FE0F-20E3")) == family(code_points("23-20e3")) == "23-20e3"
    assert group_of(code_points("1F468")) == group_of(code_points("1F9D1-1F3FF"))
    assert has_skin_tone(code_points("1F44B-1F3FC")) and not has_skin_tone(code_points("1F44B"))


def test_a_third_of_families_is_reserved():
    """By chance 1/3 of 3,000 with a standard deviation of 25.8."""
    reserved = sum(is_reserved((0x1F300 + i,)) for i in range(3000))
    assert abs(reserved - 1000) < 4 * 25.8


def test_svg_and_bitmaps_are_drawn_on_white_in_the_middle():
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2">{}</svg>'
    red = '<rect width="4" height="2" fill="#f00" fill-opacity="0.2"/>'
    seen = np.asarray(from_svg(svg.format(red))(8))
    assert seen[0, 0].tolist() == seen[7, 7].tolist() == [255, 255, 255]
    assert seen[4, 4].tolist() == [255, 204, 204]
    assert (seen[2:6] == [255, 204, 204]).all()
    buffer = io.BytesIO()
    Image.new("RGBA", (16, 16), (255, 0, 0, 51)).save(buffer, "PNG")
    assert np.unique(
        np.asarray(from_bitmap(buffer.getvalue())(8)).reshape(-1, 3), axis=0
    ).tolist() == [[255, 204, 204]]


def test_shrinking_by_a_whole_factor_is_the_mean_of_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    expected = pixels.reshape(5, 4, 2, 4, 2, 3).astype(float).mean(axis=(2, 4))
    assert abs(resized(pixels, 4) - expected).max() <= 0.5
    assert abs(recoloured(pixels, 1)[..., 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 1


def test_digits_are_those_of_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    from sklearn.datasets import load_digits

    images, known = load("digits"), load_digits()
    assert images.pixels.shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(images.pixels[..., 0] / 255 * 16, known.images, atol=0.04)
    np.testing.assert_array_equal(images.labels, known.target)


def test_openmoji_is_drawn_from_the_installed_package_and_shares_no_family_with_the_base(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    images = load("openmoji", size=32)
    assert len(images) == 681 and images.channels == 3
    points = [code_points(name.partition("/")[2]) for name in images.ids]
    assert all(is_reserved(p) and not has_skin_tone(p) for p in points)
    corners = images.pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).mean() > 0.97
    # The flag of Indonesia: OpenMoji's red #d22f27 above white.
    flag = images.pixels[points.index((0x1F1EE, 0x1F1E9))]
    assert flag[12, 16].tolist() == [0xD2, 0x2F, 0x27]
    assert flag[19, 16].tolist() == [255, 255, 255]
    grinning = images.label_names[images.labels[points.index((0x1F600,))]]
    assert grinning == "Smileys & Emotion"
    families = {}
    for point, group in zip(points, images.groups.tolist(), strict=True):
        assert families.setdefault(family(point), group) == group


def test_every_known_set_says_what_it_is():
    for name, known in available().items():
        assert known.about and known.licence, name


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fashion-mnist", (70000, 28, 28, 1)),
        ("animal-mnist", (10000, 28, 28, 1)),
        ("emoji-base", (4893, 32, 32, 3)),
        ("emoji-noto", (1898, 32, 32, 3)),
        ("emoji-twemoji", (1898, 32, 32, 3)),
        ("emoji-fluent3d", (1852, 32, 32, 3)),
    ],
)
def test_sets_of_the_registries(name, shape, tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    images = load(name)
    assert images.pixels.shape == shape
    if name == "emoji-base":
        points = [code_points(identity.partition("/")[2]) for identity in images.ids]
        assert not any(is_reserved(p) for p in points)


@pytest.mark.parametrize(("lang", "said"), [("ja", "手書き数字"), ("en", "hand-written digits")])
def test_the_known_sets_are_listed_in_both_languages(capsys, lang, said):
    assert answer(["data", "list", "--lang", lang]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert said in next(row for row in rows if row.startswith("digits "))
    assert len(rows) == len(available())


def test_what_the_cache_refuses_is_no_fault_of_the_place(tmp_path, monkeypatch):
    """A place that fails is passed over; a cache that cannot take what comes is said by itself."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(b"content")
    address = Address((tmp_path / "served").as_uri(), ("a.bin",))
    source = Source("a", ("*.bin",), (address,), digest_of({"a.bin": b"content"}), "CC0")
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cache.*lies below a file, not a folder; give another"):
        source.read()
    (tmp_path / "cache").unlink()
    assert source.read() == {"a.bin": b"content"}
    (tmp_path / "served" / "a.bin").unlink()
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match="could not be fetched") as failed:
        source.read()
    assert "Errno" not in str(failed.value)
