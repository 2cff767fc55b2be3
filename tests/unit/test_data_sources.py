"""Folders, zip and Parquet files: what is kept, dropped, labelled and grouped."""

import errno
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageEnhance

from kurabe.data import ImageSet, check, load
from kurabe.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from injected import Watch, watched


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))


def drawing(seed: int, side: int = 48) -> Image.Image:
    """Coarse random colours: unlike any other seed's, and well defined under shrinking."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder, names):
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawing(seed).save(folder / name)
    return folder


def labels_of(images: ImageSet) -> dict[str, str | None]:
    labels = [-1] * len(images) if images.labels is None else images.labels.tolist()
    names = [images.label_names[k] if k >= 0 else None for k in labels]
    return dict(zip(images.ids, names, strict=True))


def said(images: ImageSet) -> set[str]:
    assert images.report is not None
    return {note["text"] for note in images.report.as_dict()["notes"]}


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    folder = fill(tmp_path / "set", ["b.png", "a.png", "c.jpg"])
    images = load(str(folder), size=48)
    assert images.ids == ("a.png", "b.png", "c.jpg")
    np.testing.assert_array_equal(images.pixels[0], np.asarray(drawing(1)))
    assert images.labels is None


def test_subfolders_are_labels_and_what_lies_beside_them_has_none(tmp_path):
    folder = fill(tmp_path / "set", ["cat/1.png", "dog/1.png", "cat/2.png"])
    assert labels_of(load(str(folder))) == {
        "cat/1.png": "cat", "cat/2.png": "cat", "dog/1.png": "dog",
    }  # fmt: skip
    drawing(9).save(folder / "loose.png")
    images = load(str(folder))
    assert labels_of(images)["loose.png"] is None and labels_of(images)["cat/1.png"] == "cat"
    assert said(images) >= {
        "the names of 2 folders are taken for labels",
        "1 image lies beside the folders of labels and has none: loose.png",
    }


def test_folders_beside_which_most_images_lie_are_no_labels_and_the_reason_is_said(tmp_path):
    folder = fill(tmp_path / "set", ["a/1.png", "b/1.png", "2.png", "3.png", "4.png"])
    images = load(str(folder))
    assert images.labels is None
    assert said(images) == {
        "folders (a, b) are not taken for labels: 3 of 5 images lie beside them"
    }


def test_labels_csv_by_path_and_by_name_with_gaps(tmp_path):
    folder = fill(tmp_path / "set", ["x/1.png", "x/2.png", "3.png"])
    (folder / "labels.csv").write_text("file,label\nx/1.png,wren\n3.png,robin\n")
    images = load(str(folder))
    assert images.ids == ("3.png", "x/1.png", "x/2.png")
    assert images.label_names == ("robin", "wren")
    assert images.labels is not None and images.labels.tolist() == [0, 1, -1]
    assert check(str(folder)).labels == {"robin": 1, "wren": 1, "(none)": 1}
    given = tmp_path / "other.csv"
    given.write_text("2.png,heron\n")
    images = load(str(folder), labels=str(given))
    assert images.label_names == ("heron",)
    assert images.labels is not None and images.labels.tolist() == [-1, -1, 0]


def test_labels_that_fit_no_image_are_an_error(tmp_path):
    folder = fill(tmp_path / "set", ["1.png", "2.png"])
    given = tmp_path / "labels.csv"
    given.write_text("elsewhere.png,wren\n")
    with pytest.raises(UserError, match=r"names none of the images.*elsewhere\.png.*1\.png"):
        load(str(folder), labels=str(given))
    given.write_text("just a column\n")
    with pytest.raises(UserError, match="line 1: expected"):
        load(str(folder), labels=str(given))


def test_zip_and_folder_give_the_same_images(tmp_path):
    folder = fill(tmp_path / "set", ["cat/1.png", "dog/2.png"])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, f"birds/{file.relative_to(folder)}")
        archive.writestr("__MACOSX/birds/cat/._1.png", b"\0\5\x16\7")
    zipped, plain = load(str(tmp_path / "set.zip")), load(str(folder))
    np.testing.assert_array_equal(zipped.pixels, plain.pixels)
    assert zipped.label_names == plain.label_names == ("cat", "dog")
    assert zipped.report is not None and zipped.report.ignored == 0


def test_an_archive_and_a_table_of_windows_say_where_with_backslashes(tmp_path):
    folder = fill(tmp_path / "set", ["cat/1.png", "dog/2.png"])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            # ZipInfo would turn them on Windows alone.
            info = zipfile.ZipInfo("name")
            info.filename = f"birds\\{file.parent.name}\\{file.name}"
            archive.writestr(info, file.read_bytes())
    zipped, plain = load(str(tmp_path / "set.zip")), load(str(folder))
    np.testing.assert_array_equal(zipped.pixels, plain.pixels)
    assert zipped.label_names == ("cat", "dog")
    table = "file_name,label\ncat\\1.png,tabby\ndog\\2.png,beagle\n"
    (folder / "metadata.csv").write_text(table)
    assert labels_of(load(str(folder))) == {"cat/1.png": "tabby", "dog/2.png": "beagle"}


def test_names_that_differ_in_case_alone_are_two_names(tmp_path):
    """As on a disk that keeps them apart; a row that fits an image but for that is named."""
    folder = fill(tmp_path / "set", ["Cats/1.png", "cats/1.PNG"])
    assert labels_of(load(str(folder))) == {"Cats/1.png": "Cats", "cats/1.PNG": "cats"}
    flat = fill(tmp_path / "flat", ["IMG_1.PNG", "IMG_2.PNG"])
    (flat / "metadata.csv").write_text("file_name,label\nIMG_1.PNG,a\nimg_2.png,b\n")
    images = load(str(flat))
    assert labels_of(images) == {"IMG_1.PNG": "a", "IMG_2.PNG": None}
    assert any("img_2.png" in note for note in said(images))


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_of_the_datasets_library_and_plain(tmp_path, nested):
    rows = [png(drawing(i)) for i in range(5)]
    cells = [{"bytes": row, "path": None} for row in rows] if nested else rows
    table = pa.table({"image": cells, "label": [1, 0, 1, 1, 0]})
    features = {"info": {"features": {"label": {"names": ["owl", "wren"]}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "x.parquet")
    images = load(str(tmp_path / "x.parquet"), size=48)
    np.testing.assert_array_equal(images.pixels[3], np.asarray(drawing(3)))
    assert [images.label_names[i] for i in images.labels] == ["wren", "owl", "wren", "wren", "owl"]


def test_class_names_that_stand_beside_an_arrow_file_alone_are_read(tmp_path):
    """As `save_to_disk` writes them: the features in dataset_info.json, numbers in the stream."""
    folder = tmp_path / "saved"
    folder.mkdir()
    rows = pa.table({"image": [png(drawing(k)) for k in range(4)], "label": [0, 1, 1, 0]})
    place = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(place, "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"]}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    assert list(labels_of(load(str(folder))).values()) == ["cat", "dog", "dog", "cat"]
    # Without them, or with damaged ones, the numbers are the names.
    (folder / "dataset_info.json").write_text("{")
    assert list(labels_of(load(str(folder))).values()) == ["0", "1", "1", "0"]


def test_colour_is_kept_only_where_there_is_some(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for seed in range(3):
        drawing(seed).convert("L").save(folder / f"{seed}.png")
    assert load(str(folder)).pixels.shape == (3, 32, 32, 1)
    assert load(str(folder), channels=3).pixels.shape == (3, 32, 32, 3)
    drawing(7).save(folder / "7.png")
    assert load(str(folder)).pixels.shape == (4, 32, 32, 3)


def test_a_change_of_a_file_is_seen_and_the_cache_otherwise_used(tmp_path):
    folder = fill(tmp_path / "set", ["1.png", "2.png"])
    first = load(str(folder))
    stored = list((tmp_path / "cache" / "images").iterdir())
    again = load(str(folder))
    assert list((tmp_path / "cache" / "images").iterdir()) == stored
    assert again.digest == first.digest and again.report == first.report
    drawing(50, side=64).save(folder / "2.png")
    assert load(str(folder)).digest != first.digest


def test_duplicates_are_left_out_and_near_ones_grouped(tmp_path):
    folder = fill(tmp_path / "set", [f"{i}.png" for i in range(20)])
    drawing(3).save(folder / "copy.bmp")
    drawing(4).save(folder / "small.jpg", quality=60)
    ImageEnhance.Brightness(drawing(5)).enhance(0.97).save(folder / "dim.png")
    report = check(str(folder))
    assert (report.found, report.kept) == (23, 22)
    assert report.duplicates == (("copy.bmp", "3.png"),) or report.duplicates == (
        ("3.png", "copy.bmp"),
    )
    assert {frozenset(group) for group in report.near_duplicates} == {
        frozenset({"4.png", "small.jpg"}),
        frozenset({"5.png", "dim.png"}),
    }


def test_the_report_says_what_was_found(tmp_path):
    folder = fill(tmp_path / "set", ["1.png", "2.png"])
    drawing(9).convert("L").resize((70, 50)).save(folder / "9.png")
    (folder / "notes.md").write_text("x")
    (folder / ".DS_Store").write_bytes(b"x")
    report = check(str(folder))
    assert report.sizes == {(48, 48): 2, (70, 50): 1}
    assert report.modes == {"RGB": 2, "L": 1}
    assert report.ignored == 1
    text = "\n".join(report.lines())
    assert "3 of 3 images kept" in text and "48×48 to 70×50" in text
    assert "1 file without an image's ending ignored" in text
    assert json.loads(json.dumps(report.as_dict()))["sizes"] == {"48x48": 2, "70x50": 1}


def test_an_unknown_name_suggests_the_known_one():
    with pytest.raises(UserError, match=r"fashion-mnits does not exist\. Did you mean fashion-mn"):
        load("fashion-mnits")


def test_a_zipped_folder_brings_its_labels_and_damage_stays_with_its_file(tmp_path):
    """What `zip -r` makes: all below one folder; one member's compressed bytes are overwritten."""
    names = [f"12:30:0{k}.png" for k in range(4)]
    rows = "file,width,label\n" + "".join(f"{n},48,{'ab'[k % 2]}\n" for k, n in enumerate(names))
    place = tmp_path / "scans.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for seed, name in enumerate(names):
            buffer = io.BytesIO()
            drawing(seed).save(buffer, "BMP")
            archive.writestr(f"scans/{name}", buffer.getvalue())
        archive.writestr("scans/labels.csv", rows)
        damaged = archive.getinfo(f"scans/{names[2]}")
    content = bytearray(place.read_bytes())
    start = damaged.header_offset + 30 + len(damaged.filename)
    content[start : start + 40] = b"\xff" * 40
    place.write_bytes(content)
    images = load(str(place), size=48)
    assert images.ids == tuple(f"scans/{names[k]}" for k in (0, 1, 3))
    assert images.label_names == ("a", "b")
    assert images.labels is not None and images.labels.tolist() == [0, 1, 1]
    assert images.report is not None and images.report.ignored == 0


def test_several_labels_an_image_are_no_label(tmp_path):
    table = pa.table({"image": [png(drawing(k)) for k in range(3)], "labels": [[0, 1], [1], []]})
    pq.write_table(table, tmp_path / "set.parquet")
    assert load(str(tmp_path / "set.parquet"), size=48).labels is None


def test_an_image_that_a_disk_does_not_give_is_no_reason_to_do_without_it(tmp_path, monkeypatch):
    """Fault: it was left out as unreadable, and the set without it was kept in the cache."""
    # One thread, so that a count of operations always means the same file.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folder = fill(tmp_path / "set", ["a.png", "b.png", "c.png"])
    for number in (errno.EIO, errno.EMFILE, errno.ETIMEDOUT, errno.ENOTSUP):
        watch = Watch((folder,))
        with watched(watch):
            load(str(folder), size=16 + number)
        at = next(
            k
            for k, one in enumerate(watch.seen)
            if (one.event, one.path) == ("open", str(folder / "b.png"))
        )
        # Of another size, so that nothing is kept yet.
        with pytest.raises(OSError, match=r"b\.png"), watched(Watch((folder,), at, number)):
            load(str(folder), size=17 + number)
        assert len(load(str(folder), size=17 + number)) == 3
    # One that may not be read is left out and named, and asked for again the next time.
    with watched(Watch((folder,), at, errno.EACCES)):
        images = load(str(folder), size=99)
    assert images.report.dropped == (("b.png", "may not be read (Permission denied)"),)
    assert len(load(str(folder), size=99)) == 3
