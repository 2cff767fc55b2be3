"""Captions: how they are found, what is refused, and what a batch is told."""

import json
from pathlib import Path

import diffusers_folders
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from test_diffusers import recipe

from kurabe import bases
from kurabe.conditions.text import TextEncoder
from kurabe.data import captions, captions_digest, load, split
from kurabe.errors import UserError
from kurabe.objectives.term import Stream
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of
from kurabe.studies.begin import Request, of_images
from kurabe.training.model import start_model
from kurabe.training.run import prepare

IDS = ("a.png", "below/b.png", "c.png")


def written(folder: Path, **files: str) -> str:
    (folder / "below").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", "/").replace("_", ".")).write_text(text, "utf-8")
    return str(folder)


def lines(**texts: str) -> str:
    rows = [{"file_name": name, "text": text} for name, text in texts.items()]
    return "\n".join(map(json.dumps, rows)) + "\n"


def test_the_layouts_say_the_same(tmp_path):
    texts = dict(zip(IDS, ("one", "two", "three"), strict=True))
    table = "text,file_name\n" + "".join(f"{t},{n}\n" for n, t in texts.items())
    places = {
        "jsonl": written(tmp_path / "1", metadata_jsonl=lines(**texts)),
        "csv": written(tmp_path / "2", metadata_csv=table),
        "beside": written(tmp_path / "3", a_txt="one\n", below__b_txt="two", c_txt=" three"),
        "parquet": written(tmp_path / "6"),
        "both": written(tmp_path / "4", metadata_jsonl=lines(**{"a.png": "one"}),
                        below__b_txt="two", c_txt="three"),
    }  # fmt: skip
    columns = {"file_name": list(texts), "text": list(texts.values()), "more": [1, 2, 3]}
    parquet.write_table(pa.table(columns), tmp_path / "6" / "metadata.parquet")
    assert {captions(place, IDS) for place in places.values()} == {("one", "two", "three")}
    told = captions(places["csv"], IDS)
    assert captions_digest(told, IDS) == captions_digest(told[::-1], IDS[::-1])
    assert captions_digest(told, IDS) != captions_digest(told[::-1], IDS)
    assert captions(written(tmp_path / "5"), IDS) is captions("digits", IDS) is None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a_txt": "one"}, "2 of 3 images have no caption, below/b.png the first of them; add them "
         "to a text such as b.txt"),
        ({"metadata_jsonl": lines(**{"a.png": "one", "c.png": "x"})}, "1 of 3 images have no capt"),
        ({"metadata_csv": "file_name,prompt\na.png,one\n"}, "line 2: it has file_name, prompt; "
         "captions stand in file_name and text"),
        ({"metadata_csv": "image,text\na.png,one\n"}, "it has image, text"),
        ({"metadata_jsonl": "{\n"}, "line 1 is not JSON"),
        ({"metadata_parquet": "PAR1"}, "metadata.parquet cannot be read as Parquet"),
        ({"metadata_jsonl": "[1]\n"}, "line 1 is not a JSON object"),
        ({"metadata_jsonl": '{"file_name": "a.png", "text": 3}\n'}, "must be text"),
        ({"metadata_jsonl": lines(**{"a.png": "x"}) + lines(**{"./a.png": "y"})}, "two captions"),
    ],
)  # fmt: skip
def test_a_misfit_is_one_sentence(files, said, tmp_path):
    with pytest.raises(UserError) as raised:
        captions(written(tmp_path / "data", **files), IDS)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_labels_in_the_table_are_no_captions(tmp_path):
    place = written(tmp_path / "data", metadata_csv="file_name,label\na.png,cat\n")
    assert captions(place, IDS) is None


def drawn(folder: Path, count: int = 24, *, captioned: int = 24) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        if number < captioned:
            (folder / f"{number:02}.txt").write_text(f"{'abcd'[number % 4]} plant")
    return folder


def test_a_batch_is_told_its_images_captions_and_nothing_at_a_stated_rate(tmp_path):
    base = diffusers_folders.stable_diffusion(tmp_path / "base")
    place = drawn(tmp_path / "data")
    images = load(str(place), size=16)
    parts = split(images, 0)
    network = network_of(bases.find(str(base)), "a plant")
    settings = recipe("lora", base, 32, network=network, data={"source": str(place)})
    model = start_model(settings, 16, 3)
    run = RunFolder(tmp_path / "run").create(settings.to_toml(), {"id": "told"})
    source = prepare(settings, model, images, parts, run, lambda line: None).source
    stream = Stream("images")
    batch, again = source.batch(stream, 0, 400), source.batch(stream, 100, 1)
    assert torch.equal(batch.condition[100], again.condition[0])
    encoder = TextEncoder(base, "last-states", {})
    empty = encoder.encode([""]).half().float()
    silent = (batch.condition == empty).flatten(1).all(1)
    # 400 draws at a tenth: three standard deviations of a binomial.
    assert abs(silent.float().mean().item() - 0.1) < 3 * (0.1 * 0.9 / 400) ** 0.5
    places = source.indices(stream, 0, 400)
    texts = captions(str(place), images.ids)
    for row in range(0, 400, 37):
        if not silent[row]:
            expected = encoder.encode([texts[parts.train[places[row]]]]).half().float()
            torch.testing.assert_close(batch.condition[row], expected[0], rtol=1e-3, atol=1e-3)


def test_captions_for_half_of_the_images_are_refused_before_anything_trains(tmp_path):
    base = diffusers_folders.stable_diffusion(tmp_path / "base")
    place = drawn(tmp_path / "data", captioned=12)
    request = Request(str(place), base=str(base), prompt="a plant")
    with pytest.raises(UserError, match=r"12 of 24 images have no caption, 12\.png the first"):
        of_images(request, ("lora",))
