"""Embeddings: the features that the file says, at the place that it says."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from kurabe import data
from kurabe.commands import running
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.randomness import normal
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.runs.embedding import Wanted, embed_images, write_parquet
from kurabe.training.model import start_model

DRAWS = 3


@pytest.fixture(scope="module")
def model():
    recipe = Recipe.checked(
        {
            "method": "ddpm",
            "choices": choices_of(find("ddpm")).model_dump(),
            "data": {"source": "digits"},
            "budget": {"images": 1},
            "network": {"patch": 2, "width": 32, "depth": 3, "heads": 2, "decoder": 1},
        },
        "test",
    )
    return start_model(recipe, 8, 1)


def test_the_file_holds_the_mean_of_tokens_over_fresh_noise(model, tmp_path):
    images = data.load("digits", limit=12)
    wanted = Wanted(layer="block-2", log_snr=2.0, grid=1, draws=DRAWS)
    embedding = embed_images(model, images, wanted, RunFolder(tmp_path / "none"))
    write_parquet(tmp_path / "e.parquet", images, embedding)
    table = parquet.read_table(tmp_path / "e.parquet")

    # Variance preserving: log SNR = log α²/σ² with α² + σ² = 1.
    alpha = (1 / (1 + np.exp(-2.0))) ** 0.5
    x0 = model.space.encode(images.pixels)
    t = model.denoiser.schedule.time_of_log_snr(torch.tensor(2.0, dtype=torch.float64)).float()
    drawn = []
    for draw in range(DRAWS):
        noise = torch.from_numpy(normal(0, "feature noise", range(12), (1, 8, 8), draw))
        x_t = alpha * x0 + (1 - alpha**2) ** 0.5 * noise
        drawn.append(model.features(x_t, t.expand(12), ("block-2",))["block-2"].mean(1))
    expected = torch.stack(drawn).mean(0).numpy()

    found = np.stack(table["embedding"].to_numpy())
    assert np.abs(found - expected).max() < 1e-4
    assert table["id"].to_pylist() == list(images.ids)
    assert table["label"].to_pylist() == [images.label_names[k] for k in images.labels]
    place = json.loads(table.schema.metadata[b"kurabe"])
    assert (place["layer"], place["log_snr"], place["grid"], place["draws"]) == ("block-2", 2, 1, 3)
    assert place["t"] == pytest.approx(float(t), abs=1e-6)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted("block-9", None, None, 1), "--layer block-9: there is block-"),
        (Wanted(None, None, 9, 1), "--grid 9: the network has 4 tokens a side"),
    ],
)
def test_a_place_that_the_network_has_not(model, tmp_path, wanted, says):
    with pytest.raises(UserError, match=says):
        embed_images(model, data.load("digits", limit=2), wanted, RunFolder(tmp_path / "none"))


def test_a_row_for_every_file_that_can_be_read(model, tmp_path, monkeypatch, capsys):
    """Copies, and images equal only after shrinking, included; what is left out is named."""
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "e"
    folder.mkdir()
    random = np.random.default_rng(0)
    for k in range(4):
        coarse = Image.fromarray(random.integers(0, 256, (5, 5), np.uint8))
        coarse.resize((40, 40), Image.Resampling.NEAREST).save(folder / f"{k}.png")
        (folder / f"copy{k}.png").write_bytes((folder / f"{k}.png").read_bytes())
    large = coarse.resize((1000, 1000), Image.Resampling.NEAREST)
    large.save(folder / "large-a.png")
    large.putpixel((500, 500), 0)
    large.save(folder / "large-b.png")
    (folder / "bad\x1b.png").write_text("<html>")
    monkeypatch.setattr("kurabe.training.load_model", lambda *_: model)
    out = tmp_path / "e.parquet"
    running.embed("emoji-32", str(folder), out, None, None, None, 1, "cpu", tmp_path, "en")
    ids = parquet.read_table(out)["id"].to_pylist()
    assert sorted(ids) == sorted(f.name for f in folder.iterdir() if f.name != "bad\x1b.png")
    said = capsys.readouterr().out
    assert "1 unreadable and not among them: bad\\x1b.png is not an image" in said
