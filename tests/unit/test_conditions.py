"""Classes as a condition, and guidance, from folders of images to samples."""

from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from PIL import Image
from test_diffusers import recipe
from torch import nn

from kurabe.adaptations import attach
from kurabe.backbones.patch import PatchTransformer
from kurabe.cli import answer
from kurabe.conditions.classes import ByClass, Classes
from kurabe.data import load, split
from kurabe.errors import UserError
from kurabe.methods import Choices, catalogue, choices_of
from kurabe.methods.choices import Sampling
from kurabe.objectives.term import Stream
from kurabe.recipe import Network, Recipe
from kurabe.records import RunFolder
from kurabe.training import load_model, train
from kurabe.training.conditions import classes_of
from kurabe.training.model import start_model
from kurabe.training.run import prepare

TINY = Network(width=32, depth=2, heads=2, patch=4, refine=8)
SHADES = {"dark": 40, "light": 215}


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """A folder a class: 30 dark squares and 10 light ones, with a little grain."""
    rng = np.random.default_rng(0)
    for name, value in SHADES.items():
        (tmp_path / "shades" / name).mkdir(parents=True)
        for k in range({"dark": 30, "light": 10}[name]):
            pixels = np.full((8, 8), value) + rng.integers(-15, 16, (8, 8))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "shades" / name / f"{k}.png")
    return tmp_path / "shades"


def of_classes(data: Path, images: int, **changes: object) -> Recipe:
    settings: dict[str, object] = {
        "method": "classifier-free-guidance",
        "choices": choices_of(catalogue()["classifier-free-guidance"]),
        "data": {"source": str(data), "size": 8, "channels": 1},
        "budget": {"images": images},
        "network": TINY,
        "optimiser": {"lr": 3e-3, "held_out_share": 1.0},
        "evaluation": {"loss_images": 4},
    }
    return Recipe.model_validate(settings | changes)


def trained(data: Path, place: Path, images: int, **changes: object):
    settings = of_classes(data, images, **changes)
    loaded = load(str(data), size=8)
    folder = RunFolder(place).create(settings.to_toml(), {"id": "classes"})
    return train(settings, loaded, split(loaded, 0), folder), folder


def awake(network: nn.Module) -> nn.Module:
    """No weight at zero, so that whatever could change a prediction does."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def networks(folder: Path) -> list[nn.Module]:
    """One of each kind that can be told classes."""
    unet = start_model(recipe("full-fine-tuning", diffusers_folders.ddim(folder / "unet")), 8, 1)
    dit = start_model(recipe("full-fine-tuning", diffusers_folders.dit(folder / "dit")), 16, 3)
    ours = PatchTransformer(8, 1, width=32, depth=2, heads=2)
    return [ours, unet.denoiser.backbone, dit.denoiser.backbone]


def test_new_classes_change_nothing_until_they_are_trained(tmp_path):
    t = torch.tensor([0.1, 0.5, 0.9])
    for network in networks(tmp_path):
        awake(network)
        x = torch.randn(3, network.in_channels, 8, 8)
        with torch.no_grad():
            before = network(x, t).prediction
            network.take_classes(4)
            for said in (torch.tensor([0, 2, 4]), None):
                assert torch.equal(network(x, t, said).prediction, before)
            for name in network.fresh:
                network.get_parameter(name)[2] += 1
            changed = network(x, t, torch.tensor([0, 2, 4])).prediction != before
        assert changed.flatten(1).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["lora", "dora", "bitfit", "full"])
def test_a_table_of_classes_trains_and_is_stored_with_every_adaptation(kind):
    network = PatchTransformer(8, 1, width=32, depth=2, heads=2)
    network.take_classes(3)
    choice = next(
        of.adaptation for of in map(_choices, catalogue()) if of and of.adaptation.kind == kind
    )
    adaptation = attach(network, choice)
    assert network.classes.weight.requires_grad
    assert adaptation.state()["classes.weight"].shape == (4, 32)


def _choices(name: str) -> Choices | None:
    return catalogue()[name].choices


def test_a_batch_is_told_labels_and_nothing_at_the_stated_rate(shades, tmp_path):
    images = load(str(shades), size=8)
    parts = split(images, 0)
    settings = of_classes(shades, 64)
    model = start_model(settings, 8, 1, classes_of(settings, images, parts))
    folder = RunFolder(tmp_path / "run").create(settings.to_toml(), {"id": "told"})
    source = prepare(settings, model, images, parts, folder, lambda line: None).source
    batch = source.batch(Stream("images"), 0, 600)
    told = batch.condition.numpy()
    labels = images.labels[parts.train[source.indices(Stream("images"), 0, 600)]]
    silent = told == 2
    assert np.array_equal(told[~silent], labels[~silent])
    # 600 draws at a tenth: three standard deviations of a binomial.
    assert abs(silent.mean() - 0.1) < 3 * (0.1 * 0.9 / 600) ** 0.5
    # Labelled, the image says which it is: dark ones are below the middle.
    assert np.array_equal(batch.images.mean((1, 2, 3)).numpy() < 0, labels == 0)


def test_samples_are_of_the_class_asked_for_and_else_as_often_as_in_training(shades, tmp_path):
    often = {"lr": 3e-3, "batch": 8, "held_out_share": 1.0}
    model, folder = trained(shades, tmp_path / "run", 6000, optimiser=often)
    images = load(str(shades), size=8)
    seen = np.bincount(images.labels[split(images, 0).train])
    assert folder.info["classes"] == dict(zip(SHADES, seen.tolist(), strict=True))
    again = load_model(folder.path)
    for name, value in SHADES.items():
        drawn = again.sample(range(8), class_name=name)
        assert np.array_equal(drawn, model.sample(range(8), class_name=name))
        # Grain of 15 levels either way; the class means lie 175 apart.
        assert abs(drawn.mean() - value) < 15
    light = (model.classes.drawn(range(4000)) == 1).mean()
    share = seen[1] / seen.sum()
    assert abs(light - share) < 3 * (share * (1 - share) / 4000) ** 0.5
    # Blind to the class, three of five would agree by chance: 60 of 64 lie five deviations off.
    means = model.sample(range(64)).mean((1, 2, 3))
    assert ((means > 128) == (model.classes.drawn(range(64)) == 1)).sum() >= 60
    with pytest.raises(UserError, match=r"no class 'grey'; there are dark, light"):
        model.sample([0], class_name="grey")


def test_guidance_pays_for_its_passes_from_the_same_purse(shades, tmp_path):
    model, _ = trained(shades, tmp_path / "run", 64)
    calls = []
    model.denoiser.backbone.register_forward_hook(lambda *_: calls.append(1))
    model.sample([0], 20)
    assert len(calls) == 20
    calls.clear()
    model.guidance = None
    model.sample([0], 20)
    assert len(calls) == 20


def test_guidance_of_weight_one_is_none_at_half_the_price(shades, tmp_path):
    model, _ = trained(shades, tmp_path / "run", 640)
    alone = model.guided(1.0).sample(range(4), 20)
    model.guidance = None
    assert np.array_equal(alone, model.sample(range(4), 10))


def test_domain_guidance_of_an_untrained_copy_is_the_base(shades, tmp_path):
    """D_base + w (D_base − D_base) = D_base for every w, but for rounding."""
    first, base = trained(
        shades, tmp_path / "base", 640, method="ddpm", choices=choices_of(catalogue()["ddpm"])
    )
    guided = of_classes(
        shades, 64, method="domain-guidance", base=str(base.path),
        choices=choices_of(catalogue()["domain-guidance"]),
    )  # fmt: skip
    model = start_model(guided, 8, 1)
    torch.testing.assert_close(
        torch.from_numpy(model.guided(3.0).sample(range(4), 20)).int(),
        torch.from_numpy(first.sample(range(4), 10)).int(), rtol=0, atol=1,
    )  # fmt: skip
    model.adaptation.parameters[0].data += 0.5
    assert not np.array_equal(model.guided(3.0).sample([0], 20), model.guided(1.0).sample([0], 20))


def test_what_is_not_chosen_is_not_written():
    plain = choices_of(catalogue()["ddpm"]).model_dump(mode="json")
    assert "condition" not in plain and "guidance" not in plain["sampling"]
    told = choices_of(catalogue()["classifier-free-guidance"])
    assert Choices.model_validate(told.model_dump(mode="json")) == told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "random", "sampling": {"guidance": {"kind": "domain"}}}, "has none"),
        ({"sampling": {"guidance": {"kind": "clasifier-free"}}}, "did you mean classifier-free"),
        ({"condition": {"kind": "clas"}}, "did you mean class"),
        ({"condition": {"kind": "class", "dropped": 1.0}}, "less than 1"),
    ],
)
def test_choices_that_contradict_one_another_are_refused(changes, said):
    usual = choices_of(catalogue()["full-fine-tuning"]).model_dump(mode="json")
    with pytest.raises(ValueError, match=said):
        Choices.model_validate(usual | changes)


def test_classes_where_there_are_none_are_refused_in_one_sentence(shades, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for k, file in enumerate(sorted(shades.rglob("*.png"))):
        (flat / f"{k}.png").write_bytes(file.read_bytes())
    study = ["study", str(flat), "--columns", "ddpm,cfg"]
    for command in (["fit", "cfg", "--data", str(flat)], study):
        assert answer([*command, "--size", "8", "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "flat has no labels, and this method is told the class of each image" in said
        assert said.count("\n") == 1
    images = load(str(flat), size=8)
    with pytest.raises(UserError, match="has no labels"):
        Classes.of(images, np.arange(len(images)))
    _, folder = trained(
        shades, tmp_path / "run", 64, method="ddpm", choices=choices_of(catalogue()["ddpm"])
    )
    for more, told in ((["--class", "dark"], "knows no classes"), (["--guidance", "2"], "without")):
        words = ["sample", str(folder.path), "--out", str(tmp_path / "drawn"), "-n", "1", *more]
        assert answer(words) == 2
        assert told in capsys.readouterr().err


def test_a_network_that_is_told_text_cannot_be_told_classes(tmp_path):
    base = diffusers_folders.stable_diffusion(tmp_path / "base")
    settings = recipe("lora", base)
    settings = settings.model_copy(
        update={"choices": settings.choices.model_copy(update={"condition": ByClass()})}
    )
    with pytest.raises(UserError, match="told text cannot be told classes"):
        start_model(settings, 16, 3, Classes({"a": 1, "b": 2}))


def test_free_guidance_of_a_network_that_is_told_nothing_is_refused(shades, tmp_path):
    sampling = Sampling.model_validate({"guidance": {"kind": "classifier-free"}})
    choices = choices_of(catalogue()["ddpm"]).model_copy(update={"sampling": sampling})
    model = start_model(of_classes(shades, 64, method="ddpm", choices=choices), 8, 1)
    with pytest.raises(UserError, match="needs a condition"):
        model.sample([0])
