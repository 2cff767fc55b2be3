"""Bases that diffusers wrote, against diffusers itself."""

import shutil
from collections.abc import Iterator

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from diffusers_folders import as_array, check_refused, drawn, drawn_by_diffusers, edited, without
from safetensors.torch import load_file, save_file

from kurabe import bases
from kurabe.data import ImageSet, split
from kurabe.diffusion.guidance import Clipped
from kurabe.diffusion.solvers import ddim, ddpm
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.spaces import encoded_once, scaled, to_pixels
from kurabe.spaces.latents import Latents
from kurabe.training import Model, load_model, train
from kurabe.training.model import start_model


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Training makes the whole process deterministic; other tests need not be."""
    yield
    torch.use_deterministic_algorithms(False)


SCHEDULERS = {
    "linear": {},
    "trailing": {"timestep_spacing": "trailing"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "scaled, offset, ends noisy": {
        "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False,
    },
    "v, zero terminal": {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "x0": {"prediction_type": "sample"},
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_ddim_draws_what_its_pipeline_draws(name, tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base", **SCHEDULERS[name])
    assert np.abs(drawn(load_model(folder)) - drawn_by_diffusers(folder)).max() < 1e-4


def test_ddpm_draws_what_its_pipeline_draws_and_clips_as_it_does(tmp_path):
    folder = diffusers_folders.ddpm(tmp_path / "base")
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    theirs = pipeline(3, generator, num_inference_steps=20, output_type="np").images
    model = load_model(folder)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, 1, 8, 8, generator=generator)
    with torch.inference_mode():
        own = ddpm(
            Clipped(model.denoiser, 1.0),
            noise,
            model.denoiser.schedule.own_times(20),
            lambda step: torch.randn(3, 1, 8, 8, generator=generator),
        )
    assert np.abs(as_array(own) - theirs).max() < 1e-4
    # The same pictures come from the model's own front.
    model.solver = "ddpm"
    assert model.sample(range(3), 20).shape == (3, 8, 8, 1)


def digits(count: int = 60) -> ImageSet:
    from sklearn.datasets import load_digits

    pixels = np.rint(load_digits().images[:count] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(count)
    return ImageSet("digits", pixels, tuple(map(str, places)), places)


def recipe(method: str, base: object, images: int = 64, **changes: object) -> Recipe:
    settings = {
        "method": method,
        "choices": choices_of(find(method)).model_dump(mode="json"),
        "data": {"source": "digits"},
        "budget": {"images": images},
        "base": str(base),
        "network": bases.find(str(base)).info["network"],
        "optimiser": {"batch": 16, "lr": 1e-2, "held_out_share": 1.0},
    }
    return Recipe.checked(settings | changes, "test")


def trained(folder, settings: Recipe) -> Model:
    images = digits()
    run = RunFolder(folder).create(settings.to_toml(), {"id": folder.name})
    return train(settings, images, split(images, settings.seed), run)


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
def test_a_base_of_diffusers_trains_and_comes_back(method, tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    settings = recipe(method, folder)
    assert Recipe.from_toml(_written(settings, tmp_path)) == settings
    before = load_model(folder)
    start = start_model(settings, 8, 1)
    start.solver, start.spacing = before.solver, before.spacing
    assert np.array_equal(start.sample([1, 2], 5), before.sample([1, 2], 5))
    model = trained(tmp_path / "run", settings)
    after = load_model(tmp_path / "run")
    x_t, t = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        own, back, base = (m.denoiser(x_t, t) for m in (model, after, before))
    assert torch.equal(own, back)
    assert (own - base).abs().max() > 1e-3
    with torch.no_grad(), model.adaptation.off():
        torch.testing.assert_close(model.denoiser(x_t, t), base)


def _written(settings: Recipe, folder):
    (folder / "recipe.toml").write_text(settings.to_toml())
    return folder / "recipe.toml"


def test_features_lie_on_the_grids_that_are_named(tmp_path):
    model = load_model(diffusers_folders.ddim(tmp_path / "base"))
    layers = model.feature_layers
    assert layers == ("down-1", "down-2", "middle", "up-1", "up-2")
    found = model.features(torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.5]), layers)
    for layer in layers:
        rows, columns = model.grid_of(layer)
        assert found[layer].shape == (2, rows * columns, model.denoiser.backbone.dim_of(layer))
    assert [model.grid_of(layer)[0] for layer in layers] == [4, 4, 4, 8, 8]


def test_shards_and_halves_are_read(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    whole = load_model(folder).denoiser.backbone.state_dict()
    unet = diffusers_folders.unet()
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="20kB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    sharded = load_model(folder).denoiser.backbone.state_dict()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
    shutil.rmtree(folder / "unet")
    unet.half().save_pretrained(folder / "unet", variant="fp16")
    halved = load_model(folder).denoiser.backbone.state_dict()
    assert all(torch.equal(whole[n].half().float(), halved[n]) for n in whole)


def test_attention_s_old_names_are_understood(tmp_path):
    """google/ddpm-* and others of 2022 call them query, key, value and proj_attn."""
    folder = diffusers_folders.ddim(tmp_path / "base")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = load_model(folder).denoiser.backbone.state_dict()
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    stored = load_file(path)
    for new, old in names.items():
        stored = {name.replace(f".{new}.", f".{old}."): w for name, w in stored.items()}
    assert any(".query." in name for name in stored)
    save_file(stored, path)
    again = load_model(folder).denoiser.backbone.state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def _pickled(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def _torn(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _text(path: str, text: str):
    return lambda folder: (folder / path).write_text(text)


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FAULTS = {
    "no index": (without("model_index.json"), "neither a shipped base"),
    "index is a list": (_text("model_index.json", "[]"), "model_index.json is not a JSON object"),
    "index is no JSON": (_text("model_index.json", "{"), "model_index.json is not JSON"),
    "no denoiser": (edited("model_index.json", unet=None), "nothing there denoises"),
    "unknown class": (
        edited("model_index.json", unet=["diffusers", "UNet3DConditionModel"]),
        "unet is a UNet3DConditionModel; Kurabe can use DiTTransformer2DModel",
    ),
    "no configuration": (without("unet/config.json"), "config.json is missing"),
    "no scheduler": (without("scheduler/scheduler_config.json"), "scheduler_config.json is miss"),
    "no weights": (without(WEIGHTS), "has no weights"),
    "a pickle": (_pickled, "is a pickle, which can run code and is never opened"),
    "torn weights": (_torn, "is not a safetensors file"),
    "another shape": (
        edited("unet/config.json", block_out_channels=[8, 32]),
        "where its configuration asks for",
    ),
    "more layers than weights": (edited("unet/config.json", layers_per_block=2), "lack"),
    "a configuration that cannot be": (
        edited("unet/config.json", norm_num_groups=3), "diffusers cannot build",
    ),
    "a block of another library": (
        edited("unet/config.json", down_block_types=["X", "Y"]), "diffusers cannot build",
    ),
    "no size": (edited("unet/config.json", sample_size=None), "sample_size = None"),
    "three sides": (edited("unet/config.json", sample_size=[8, 8, 8]), "sample_size = [8, 8, 8]"),
    "asks for a class": (edited("unet/config.json", num_class_embeds=10), "asks for a class"),
    "four channels without a vae": (edited("unet/config.json", in_channels=4), "in_channels = 4"),
    "unbounded noise": (
        edited("unet/config.json", time_embedding_type="fourier"), "fourier",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_misfit_is_one_sentence(name, tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    check_refused(folder, *FAULTS[name])


def test_a_shard_that_is_missing_is_named(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    shutil.rmtree(folder / "unet")
    diffusers_folders.unet().save_pretrained(folder / "unet", max_shard_size="20kB")
    shard = min((folder / "unet").glob("*.safetensors"))
    shard.unlink()
    with pytest.raises(UserError, match=rf"names {shard.name}, which is not there"):
        bases.find(str(folder))


def test_a_folder_found_says_what_it_draws(tmp_path):
    found = bases.find(str(diffusers_folders.ddim(tmp_path / "tiny")))
    assert (found.name, found.image_size, found.channels) == ("tiny", (8, 8), 1)
    assert found.info["parameters"] == sum(p.numel() for p in diffusers_folders.unet().parameters())


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    settings = recipe("lora", folder)
    choices = settings.choices.model_dump(mode="json")
    choices["adaptation"]["targets"] = r"blocks\.\d+\.qkv"
    with pytest.raises(UserError, match="matches no linear layer"):
        start_model(recipe("lora", folder, choices=choices), 8, 1)
    choices["adaptation"]["targets"] = "attention"
    model = start_model(recipe("lora", folder, choices=choices), 8, 1)
    assert {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in model.adaptation.state()} <= {
        "to_q", "to_k", "to_v", "0",
    }  # fmt: skip


def test_masking_is_refused_where_no_token_can_be_left_out(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    settings = recipe("masked-diffusion", folder).model_copy(update={"base": None})
    with pytest.raises(UserError, match="leaves tokens out, which this network cannot"):
        trained(tmp_path / "run", settings)


@pytest.mark.parametrize("learns_sigma", [True, False])
def test_a_dit_in_latents_draws_what_its_pipeline_draws(learns_sigma, tmp_path):
    folder = diffusers_folders.dit(tmp_path / "base", learns_sigma=learns_sigma)
    theirs = drawn_by_diffusers(folder)
    model = load_model(folder)
    assert (model.image_size, model.channels, model.space.shape) == ((16, 16), 3, (4, 8, 8))
    assert np.abs(drawn(model) - theirs).max() < 1e-4
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        own = ddim(model.denoiser, noise, model.denoiser.schedule.own_times(8))
    # Pixels are what the space gives of the same latents, rounded to a grey level.
    assert np.abs(model.space.decode(own) / 255 - theirs).max() < 1e-4 + 0.5 / 255


def test_latents_are_the_autoencoder_s_and_kept_once(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    folder = diffusers_folders.dit(tmp_path / "base")
    space = load_model(folder).space
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = diffusers_folders.vae().encode(x).latent_dist.mean * 0.7
    torch.testing.assert_close(space.encode(pixels), expected, rtol=1e-4, atol=1e-5)
    kept = encoded_once(space, pixels)
    (file,) = (tmp_path / "cache" / "latents").iterdir()
    assert kept.dtype == np.float16 and file.stat().st_size < 2 * kept.size + 200
    np.testing.assert_allclose(kept, expected.numpy(), rtol=1e-3, atol=1e-3)
    again = encoded_once(space, pixels)
    assert isinstance(again, np.memmap) and np.array_equal(again, kept)


def test_a_shift_and_a_scale_are_undone_when_drawn(tmp_path):
    vae = diffusers_folders.vae(shift_factor=0.3, scaling_factor=1.5)
    space = Latents(vae, 16, 3, 2, 1.5, 0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        z = vae.encode(scaled(pixels)).latent_dist.mode()
        expected = to_pixels(vae.decode(z).sample)
    torch.testing.assert_close(space.encode(pixels), (z - 0.3) * 1.5)
    assert np.abs(space.decode(space.encode(pixels)).astype(int) - expected.astype(int)).max() <= 1


def test_small_images_pass_whole_and_large_ones_in_the_tiles_of_diffusers():
    # Attention between all of a whole image's latents would take minutes.
    settings = {"sample_size": 704, "mid_block_add_attention": False}
    whole, tiled = (diffusers_folders.vae(**settings) for _ in range(2))
    tiled.enable_tiling()
    rng = np.random.default_rng(0)
    # 1,024 × 1,024 pixels are the most that pass whole, whatever the autoencoder's own images have.
    for size, same, other in ((1024, whole, tiled), (1056, tiled, whole)):
        space = Latents(diffusers_folders.vae(**settings), size, 3, 2, 0.7, 0.0)
        pixels = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected, another = (
                of.encode(scaled(pixels)).latent_dist.mode() for of in (same, other)
            )
            drawn = to_pixels(same.decode(expected).sample)
        encoded = space.encode(pixels)
        assert torch.equal(encoded, expected * 0.7)
        assert (encoded - another * 0.7).abs().max() > 1e-3
        # 0.7 is no power of two.
        assert np.abs(space.decode(encoded).astype(int) - drawn.astype(int)).max() <= 1


def test_fewer_images_pass_together_where_they_are_larger():
    """8 of 256 × 256 pixels, never more, and never none."""
    sides = (16, 256, 362, 512, 1024, 2048)
    together = [Latents(diffusers_folders.vae(), s, 3, 2, 0.7, 0.0).at_once for s in sides]
    assert together == [8, 8, 4, 2, 1, 1]
    # Kept latents of tiles are not taken for those of whole images.
    vae = diffusers_folders.vae()
    names = {
        Latents(vae, 1028, 3, 2, 0.7, 0.0).identity,
        Latents(vae, 1024, 3, 2, 0.7, 0.0).identity,
    }
    assert len(names) == 2


def test_a_dit_s_labels_are_dropped_by_no_hidden_generator(tmp_path):
    """Training mode, where diffusers' own embedding drops a tenth of them by torch's generator."""
    model = load_model(diffusers_folders.dit(tmp_path / "base"))
    model.denoiser.train()
    x, t, labels = torch.randn(64, 4, 8, 8), torch.full((64,), 0.5), torch.full((64,), 7)
    with torch.no_grad():
        one, two = (model.denoiser(x, t, labels) for _ in range(2))
        null = model.denoiser(x, t)
    assert torch.equal(one, two)
    assert (one - null).abs().flatten(1).amax(1).min() > 0


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora", "base"])
def test_a_dit_trains_in_latents(method, tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    folder = diffusers_folders.dit(tmp_path / "base")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    images = ImageSet("noise", pixels, tuple(map(str, range(40))), np.arange(40))
    settings = recipe(method, folder, 32)
    run = RunFolder(tmp_path / "run").create(settings.to_toml(), {"id": "dit"})
    model = train(settings, images, split(images, 0), run)
    assert model.sample([1], 4).shape == (1, 16, 16, 3)
    assert np.array_equal(load_model(tmp_path / "run").sample([1], 4), model.sample([1], 4))


LATENT_FAULTS = {
    "vae of another class": (
        edited("model_index.json", vae=["diffusers", "VQModel"]), "vae is a VQModel",
    ),
    "no vae": (without("vae/config.json"), "config.json is missing"),
    "no weights of the vae": (
        without("vae/diffusion_pytorch_model.safetensors"), "vae has no weights",
    ),
    "other latents": (edited("vae/config.json", latent_channels=3), "3 channels of latents"),
    "a vae of other widths": (
        edited("vae/config.json", block_out_channels=[8, 12]), "where its configuration asks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATENT_FAULTS)
def test_a_misfit_of_the_space_is_one_sentence(name, tmp_path):
    folder = diffusers_folders.dit(tmp_path / "base")
    check_refused(folder, *LATENT_FAULTS[name])
