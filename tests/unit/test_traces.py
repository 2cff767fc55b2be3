"""What a base or a run was trained on is found again, in other sizes and colours."""

import importlib.util
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kurabe import bases, data
from kurabe.data import ImageSet, Traces
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError
from kurabe.recipe import DataSettings
from kurabe.runs.images import seen_by, split_images, traces_of
from kurabe.studies.study import Study


def digits(count: int = 400) -> ImageSet:
    pixels = np.rint(load_digits().images[:count] * (255 / 16)).astype(np.uint8)[..., None]
    pixels = np.repeat(np.repeat(pixels, 4, axis=1), 4, axis=2)
    return ImageSet("digits", pixels, tuple(map(str, range(count))), np.arange(count))


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Grey images once through JPEG at a quality of 75."""
    stored = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0]).save(buffer, "JPEG", quality=75)
        stored.append(np.asarray(Image.open(buffer))[..., None])
    return np.stack(stored)


def test_copies_are_found_in_other_sizes_colours_mirrored_and_with_noise():
    images = digits()
    known, other = images.subset(np.arange(200)), images.subset(np.arange(200, 400))
    traces = Traces.of(known)
    assert traces.hold(known).all()
    grown = replace(known, pixels=resized(known.pixels, 28))
    assert traces.hold(grown).mean() > 0.95
    assert traces.hold(replace(known, pixels=recoloured(known.pixels, 3))).all()
    assert traces.hold(replace(known, pixels=known.pixels[:, :, ::-1])).all()
    darker = (known.pixels * 0.7 + 10).astype(np.uint8)
    assert traces.hold(replace(known, pixels=darker)).mean() > 0.95
    noise = np.random.default_rng(0).normal(0, 12, known.pixels.shape)
    noisy = np.clip(known.pixels + noise, 0, 255).astype(np.uint8)
    assert traces.hold(replace(known, pixels=noisy)).mean() > 0.95
    # Other people's drawings of the same ten digits are rarely taken for copies.
    assert traces.hold(other).mean() < 0.05


@pytest.mark.network
def test_garments_that_a_base_never_saw_are_seldom_taken_for_seen():
    """Fault: 53 of 100 were, of a base that had seen 66,500 others of the same ten kinds."""
    images = data.load("fashion-mnist", size=28, channels=1)
    traces = traces_of("fashion-28")
    assert traces is not None
    unseen = np.flatnonzero(~np.isin(images.keys, traces.keys))[::20]
    seen = np.flatnonzero(np.isin(images.keys, traces.keys))[::400]
    assert len(unseen) > 150
    assert traces.hold(images.subset(unseen)).mean() < 0.2
    for copy in (as_jpeg, lambda x: resized(x, 64), lambda x: x[:, :, ::-1]):
        others = replace(images.subset(seen), pixels=copy(images.pixels[seen]))
        assert traces.hold(others).mean() > 0.95


def test_traces_come_back_from_their_file(tmp_path):
    traces = Traces.of(digits(20))
    traces.write(tmp_path / "t.npz")
    again = Traces.read(tmp_path / "t.npz")
    assert again is not None
    np.testing.assert_array_equal(traces.keys, again.keys)
    np.testing.assert_array_equal(traces.signatures, again.signatures)
    assert Traces.read(tmp_path / "none.npz") is None
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="is damaged"):
        Traces.read(tmp_path / "bad.npz")


@pytest.mark.parametrize(("name", "count"), [("emoji-32", 4648), ("fashion-28", 66500)])
def test_shipped_bases_say_what_they_were_trained_on(name, count):
    """95 of 100 of 4,893 and of 70,000 images: all but the test part of that time."""
    traces = traces_of(name)
    assert traces is not None
    assert len(traces.keys) == count
    # 40 bytes an image, and the headers of the file.
    assert (bases.find(name).path / data.TRACES).stat().st_size < 40 * count + 1000


def test_what_the_base_has_seen_is_not_tested_and_a_base_that_saw_all_is_refused(tmp_path):
    images = digits()
    settings = DataSettings(source="digits")
    plain = split_images(images, settings, 0)
    base = tmp_path / "base"
    base.mkdir()
    (base / "base.json").write_text('{"image_size": 32, "channels": 1}')
    seen = plain.test[: len(plain.test) // 2]
    Traces.of(images.subset(seen)).write(base / data.TRACES)
    theirs = settings.model_copy(update={"unseen_by": str(base)})
    split = split_images(images, theirs, 0)
    assert not np.intersect1d(split.test, seen).size
    np.testing.assert_array_equal(split.train, plain.train)
    assert len(seen) <= len(plain.test) - len(split.test) <= len(seen) + 3
    Traces.of(images).write(base / data.TRACES)
    with pytest.raises(UserError, match=rf"was trained on {len(plain.test)} of the .* --base"):
        split_images(images, theirs, 0)


def test_a_columns_own_base_counts_for_all_columns(tmp_path):
    """Fault: the study's base alone was asked; a column with its own was tested on its images."""
    images = digits()
    plain = split_images(images, DataSettings(source="digits"), 0)
    seen = {"one": plain.test[:7], "two": plain.test[7:15]}
    for name, of in seen.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "base.json").write_text('{"image_size": 32, "channels": 1}')
        Traces.of(images.subset(of)).write(tmp_path / name / data.TRACES)
    columns = [
        {"id": "a", "method": "full-fine-tuning"},
        {"id": "b", "method": "lora", "overrides": {"base": str(tmp_path / "two")}},
    ]
    study = Study.checked(
        {"name": "s", "baseline": "a", "equal": "images", "base": str(tmp_path / "one"),
         "columns": columns, "budget": {"images": 64},
         "data": {"source": "digits", "size": 32, "channels": 1}},
        "s",
    )  # fmt: skip
    assert seen_by(study.tested) == (str(tmp_path / "one"), str(tmp_path / "two"))
    left = split_images(images, study.tested, 0).test
    assert not np.intersect1d(left, np.concatenate(list(seen.values()))).size
    assert len(plain.test) - len(left) >= 15
    alone = study.changed(columns=columns[:1])
    assert alone.tested.unseen_by == str(tmp_path / "one")


def test_a_base_is_measured_on_what_it_never_saw(tmp_path):
    """Fault: its test part followed the split of today, of which it had seen 99 %."""
    pixels = np.random.default_rng(5).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    groups = np.arange(40)
    groups[30] = groups[2]
    images = ImageSet("noise", pixels, tuple(map(str, range(40))), groups)
    Traces.of(images.subset(np.arange(20))).write(tmp_path / data.TRACES)
    tool = importlib.util.spec_from_file_location(
        "make_base", Path(__file__).parents[2] / "tools" / "make_base.py"
    )
    make_base = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(make_base)
    split = make_base.parts_of(images, tmp_path)
    np.testing.assert_array_equal(split.train, np.arange(20))
    # What is one object with something seen is not tested on either.
    assert list(split.test) == [i for i in range(20, 40) if i != 30]
    with pytest.raises(UserError, match=r"trained-on\.npz"):
        make_base.parts_of(images, tmp_path / "elsewhere")
