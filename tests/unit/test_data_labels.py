"""Labels are looked up or refused, never guessed; every value here is written down beforehand."""

import io
import json
import os
import tarfile
import unicodedata
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kurabe.data import ImageSet, load
from kurabe.data.lookup import fitted
from kurabe.data.tables import read_table
from kurabe.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))


def png(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((36, 36), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder, names):
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(seed))
    return folder


def labels_of(images: ImageSet) -> dict[str, str | None]:
    labels = [-1] * len(images) if images.labels is None else images.labels.tolist()
    names = [images.label_names[k] if k >= 0 else None for k in labels]
    return dict(zip(images.ids, names, strict=True))


def said(images: ImageSet) -> set[str]:
    assert images.report is not None
    return {note["text"] for note in images.report.as_dict()["notes"]}


ROWS = [(f"{k:03d}.png", "wren" if k < 2 else "robin") for k in range(4)]
SHAPES = {
    "plain": "file,label\n" + "".join(f"{a},{b}\n" for a, b in ROWS),
    "no heading": "".join(f"{a},{b}\n" for a, b in ROWS),
    "label first": "label,file\n" + "".join(f"{b},{a}\n" for a, b in ROWS),
    "label first, no heading": "".join(f"{b},{a}\n" for a, b in ROWS),
    "index": ",file,label\n" + "".join(f"{k},{a},{b}\n" for k, (a, b) in enumerate(ROWS)),
    "an unknown second heading": "filename,species\n" + "".join(f"{a},{b}\n" for a, b in ROWS),
    "unknown headings": "bild,art\n" + "".join(f"{a},{b}\n" for a, b in ROWS),
    "semicolons": "file;label\n" + "".join(f"{a};{b}\n" for a, b in ROWS),
    "tabs": "file\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS),
    "a mark and CRLF": "\ufefffile,label\r\n" + "".join(f"{a},{b}\r\n" for a, b in ROWS),
    "Japanese": "ファイル名,ラベル\n" + "".join(f"{a},{b}\n" for a, b in ROWS),
    "Windows' folders": "file,label\n" + "".join(f".\\{a},{b}\n" for a, b in ROWS),
    "the files' column by its names": (
        "n,bild,label\n" + "".join(f"{k},{a},{b}\n" for k, (a, b) in enumerate(ROWS))
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_every_usual_shape_say_the_same(shape, encoding):
    table = read_table(SHAPES[shape].encode(encoding), "labels.csv")
    assert table.rows == dict(ROWS)


@pytest.mark.parametrize("heading", ["filename,width,species", "a,b,c", "label,width,species"])
def test_a_table_whose_columns_are_not_known_is_refused_and_they_are_named(heading):
    rows = "".join(f"x{k},{40 + k % 2},wren\n" for k in range(4))
    with pytest.raises(UserError, match='has the columns "' + '", "'.join(heading.split(","))):
        read_table(f"{heading}\n{rows}".encode(), "labels.csv")


def test_what_was_taken_for_what_and_what_was_not_used_is_said(tmp_path):
    folder = fill(tmp_path / "s", ["a.png", "b.png"])
    (folder / "labels.csv").write_text("file,width,label\na.png,3,x\nb.png,4,-1\nc.png,5,y\n")
    images = load(str(folder))
    assert labels_of(images) == {"a.png": "x", "b.png": None}
    assert said(images) == {
        'labels.csv: "file" is taken for the file, "label" for the label',
        "labels.csv: columns not used: width",
        "labels.csv: 1 row fits no image: c.png",
        "labels.csv: 1 row has an empty label or −1, which is none",
        "labels.csv gives no label for 1 of 2 images: b.png",
    }


def test_a_name_alone_counts_only_where_it_fits_one_image():
    names = ["cats/0.png", "dogs/0.png", "dogs/1.png", "top.png", "x/top.png"]
    fit = fitted({"cats/0.png": "cat"}, names)
    assert fit.labels == {"cats/0.png": "cat"} and not fit.unfit
    fit = fitted({"0.png": "cat", "1.png": "dog", "top.png": "t"}, names)
    assert fit.labels == {"dogs/1.png": "dog", "top.png": "t"} and fit.several == ["0.png"]
    fit = fitted({"home/set/dogs/1.png": "dog", "birds/1.png": "bird"}, names)
    assert fit.labels == {"dogs/1.png": "dog"} and fit.unfit == ["birds/1.png"]
    fit = fitted({"a/1.png": "x", "b/1.png": "y", "1.PNG": "z"}, ["1.png"])
    assert fit.labels == {} and sorted(fit.several) == ["a/1.png", "b/1.png"]
    assert fit.unfit == ["1.PNG"]


def test_names_are_compared_in_one_normal_form(tmp_path):
    names = [f"がぞう{k}.png" for k in range(3)]
    folder = fill(tmp_path / "s", [unicodedata.normalize("NFD", name) for name in names])
    rows = "".join(f"{name},{label}\n" for name, label in zip(names, "鳥犬鳥", strict=True))
    (folder / "labels.csv").write_text("file,label\n" + rows, encoding="utf-8")
    assert list(labels_of(load(str(folder))).values()) == ["鳥", "犬", "鳥"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_of_the_datasets_library_is_read_beside_its_images(tmp_path, kind):
    folder = fill(tmp_path / "s", ["train/a.png", "train/b.png", "test/a.png"])
    rows = [("a.png", "wren", "one"), ("b.png", "owl", "two")]
    place = folder / "train" / f"metadata.{kind}"
    if kind == "csv":
        place.write_text("file_name,label,text\n" + "".join(f"{','.join(r)}\n" for r in rows))
    elif kind == "jsonl":
        lines = [{"file_name": n, "label": label, "text": t} for n, label, t in rows]
        place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        names, _, texts = zip(*rows, strict=True)
        classes = {"info": {"features": {"label": {"names": ["owl", "wren"]}}}}
        table = pa.table({"file_name": names, "label": [1, 0], "text": texts})
        table = table.replace_schema_metadata({"huggingface": json.dumps(classes)})
        pq.write_table(table, place)
    assert labels_of(load(str(folder))) == {
        "test/a.png": None, "train/a.png": "wren", "train/b.png": "owl",
    }  # fmt: skip


def test_metadata_without_labels_is_named_and_folders_stay(tmp_path):
    folder = fill(tmp_path / "s", ["cat/1.png", "dog/1.png"])
    (folder / "metadata.csv").write_text("file_name,text\ncat/1.png,a cat\ndog/1.png,a dog\n")
    images = load(str(folder))
    assert labels_of(images) == {"cat/1.png": "cat", "dog/1.png": "dog"}
    assert "metadata.csv has captions and no labels" in said(images)


def test_copies_share_their_label_and_have_none_where_they_have_two(tmp_path):
    folder = fill(tmp_path / "s", ["cat/1.png", "dog/1.png", "dog/2.png"])
    (folder / "dog" / "copy.png").write_bytes(png(0))
    images = load(str(folder))
    assert labels_of(images) == {"cat/1.png": None, "dog/1.png": "dog", "dog/2.png": "dog"}
    assert (
        "1 picture has copies with different labels and is left without: cat/1.png = dog/copy.png"
    ) in said(images)
    (folder / "dog" / "copy.png").rename(folder / "also.png")
    assert labels_of(load(str(folder)))["also.png"] == "cat"


def cells(count: int) -> list[dict[str, object]]:
    return [{"bytes": png(k), "path": f"img{k}.png"} for k in range(count)]


def test_minus_one_in_a_column_is_no_label_and_titles_have_any_case(tmp_path):
    classes = {"info": {"features": {"Label": {"names": ["owl", "wren"]}}}}
    table = pa.table({"md5": [b"\0" * 16] * 4, "image": cells(4), "Label": [0, 1, -1, None]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(classes)})
    pq.write_table(table, tmp_path / "X.PARQUET")
    images = load(str(tmp_path / "X.PARQUET"))
    assert list(labels_of(images).values()) == ["owl", "wren", None, None]
    assert said(images) == {
        "2 images have an empty label or −1, which is none",
        'column "image" is taken for the image, "Label" for the label; not used: md5',
    }


def test_tables_without_image_bytes_are_refused_with_the_true_reason(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = pa.array([{"bytes": None, "path": "img0.png"}], kind)
    pq.write_table(pa.table({"image": paths}), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=r"holds paths of images \(img0\.png\) and no bytes"):
        load(str(tmp_path / "p.parquet"))
    pq.write_table(pa.table({"image": [[1, 2]]}), tmp_path / "n.parquet")
    with pytest.raises(UserError, match=r"its columns are image \(list"):
        load(str(tmp_path / "n.parquet"))


def test_folders_of_shards_are_read_and_a_damaged_one_is_named(tmp_path):
    folder = tmp_path / "s" / "data"
    folder.mkdir(parents=True)
    for shard in (0, 1):
        part = pa.table({"image": cells(6)[shard * 3 :][:3], "label": [0, 1, 0]})
        pq.write_table(part, folder / f"train-{shard}.parquet")
    (folder / "train-2.parquet").write_bytes(b"PAR1 and then nothing")
    (folder.parent / "README.md").write_text("x")
    images = load(str(folder.parent))
    names = [f"data/train-{s}.parquet/row-{k:06d}" for s in (0, 1) for k in range(3)]
    assert labels_of(images) == dict(zip(names, "010010", strict=True))
    assert images.report is not None and images.report.files == 4
    ((file, why),) = images.report.dropped
    assert file == "data/train-2.parquet" and "is not a readable Parquet file" in why


@pytest.mark.parametrize("stream", [True, False])
def test_a_folder_that_datasets_saved_is_read(tmp_path, stream):
    """`save_to_disk` writes Arrow's stream form, with its own JSON beside; Feather is the other."""
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    table = pa.table({"image": cells(3), "label": ["x", "y", "x"]})
    place = folder / "data-00000-of-00001.arrow"
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(place), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("state.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    images = load(str(tmp_path / "saved"))
    assert list(labels_of(images).values()) == ["x", "y", "x"]
    assert images.report is not None and images.report.files == 3


def test_webdataset_tars_have_their_labels_beside_each_image(tmp_path):
    place = tmp_path / "shard-000000.tar"
    with tarfile.open(place, "w") as archive:
        for k in range(3):
            parts = {"png": png(k), "txt": b"a caption"}
            parts |= {"cls": str(k % 2).encode()} if k < 2 else {"json": b'{"label": "owl"}'}
            for ending, content in parts.items():
                info = tarfile.TarInfo(f"{k:03d}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    images = load(str(place))
    assert labels_of(images) == {"000.png": "0", "001.png": "1", "002.png": "owl"}
    (tmp_path / "folder").mkdir()
    place.rename(tmp_path / "folder" / place.name)
    assert len(load(str(tmp_path / "folder"))) == 3


def test_zip_files_of_other_systems_have_the_names_that_were_meant(tmp_path):
    r"""Windows: \ between folders, names in cp932 without a mark, which zipfile takes for cp437."""
    names = {"鳥\\写真.png": 0, "犬\\a.png": 1}
    images = load(str(unmarked(tmp_path / "y.zip", names)))
    assert labels_of(images) == {"鳥/写真.png": "鳥", "犬/a.png": "犬"}
    assert "names in the archive say no encoding and are read as cp932" in said(images)


class Cp932(zipfile.ZipInfo):
    """A member whose name is stored in cp932 without the mark of UTF-8."""

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.filename.encode("cp932"), self.flag_bits & ~0x800


def unmarked(place, names):
    with zipfile.ZipFile(place, "w") as archive:
        for name, seed in names.items():
            archive.writestr(Cp932(name), png(seed))
    return place


def test_names_that_a_terminal_would_act_on_or_no_encoding_holds_are_shown_escaped(tmp_path):
    """One file is one line, whatever its bytes; what only looks odd stays as it is."""
    folder = tmp_path / "s"
    folder.mkdir()
    raw = [b"a\nb.png", b"\x1b[31m.png", "写真.png".encode("cp932"), "a　👩‍🔬.png".encode()]
    for seed, name in enumerate(raw):
        (folder / os.fsdecode(name)).write_bytes(png(seed))
    shown = {"a\\nb.png", "\\x1b[31m.png", "\\udc8eʐ^.png", "a　👩‍🔬.png"}
    images = load(str(folder))
    assert set(images.ids) == shown
    (folder / os.fsdecode(raw[0])).write_bytes(b"x")
    report = load(str(folder)).report
    assert report is not None
    assert [file for file, _ in report.dropped] == ["a\\nb.png"]
    (folder / os.fsdecode(b"a\\nb.png")).write_bytes(png(9))
    (folder / os.fsdecode(raw[0])).write_bytes(png(0))
    assert set(load(str(folder)).ids) == shown | {"a\\nb.png (2)"}


def test_a_row_without_a_name_is_refused():
    with pytest.raises(UserError, match=r"labels\.csv, line 3 names no file"):
        read_table(b"file,label\na.png,x\n,y\n", "labels.csv")


def test_what_a_square_crop_keeps_is_said(tmp_path):
    folder = fill(tmp_path / "s", ["a.png"])
    Image.new("RGB", (100, 40)).save(folder / "wide.png")
    Image.new("L", (30, 40), 9).save(folder / "tall.png")
    report = load(str(folder)).report
    assert report is not None and report.cropped == (2, 0.4, "wide.png")
    assert any(
        "of 2 images that are not square" in line and "40 % of the area, of wide.png" in line
        for line in report.lines()
    )
    assert any("wide.png の面積の 40 %" in line for line in report.lines(lang="ja"))


def test_parts_of_a_split_are_no_classes_and_the_folders_below_them_are(tmp_path):
    names = ["train/cat/1.png", "train/dog/1.png", "Test/cat/2.png", "Test/dog/3.png"]
    folder = fill(tmp_path / "s", names)
    images = load(str(folder))
    assert labels_of(images) == {name: name.split("/")[1] for name in sorted(names)}
    assert (
        "the folders Test, train are called as parts of a split and are not taken for labels"
    ) in said(images)
    plain = fill(tmp_path / "t", ["train/1.png", "val/2.png"])
    assert load(str(plain)).labels is None


def test_one_class_is_one_in_every_normal_form(tmp_path):
    forms = [unicodedata.normalize(form, "が") for form in ("NFC", "NFD")]
    folder = fill(tmp_path / "s", [f"{name}/{k}.png" for k, name in enumerate([*forms, "b"])])
    assert load(str(folder)).label_names == ("b", "が")


def test_rows_of_a_parquet_file_are_labelled_by_a_table_that_is_named(tmp_path):
    pq.write_table(pa.table({"image": cells(2)}), tmp_path / "x.parquet")
    (tmp_path / "given.csv").write_text("row-000001,b\nrow-000000,a\n")
    images = load(str(tmp_path / "x.parquet"), labels=str(tmp_path / "given.csv"))
    assert labels_of(images) == {"row-000000": "a", "row-000001": "b"}
