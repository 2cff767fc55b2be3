"""What a run changed, in the files of other tools, loaded back by those: the same predictions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from test_diffusers import recipe
from torch import Tensor

from kurabe import bases, registry
from kurabe.data import ImageSet, split
from kurabe.errors import UserError
from kurabe.exports import comfy, diffusers_lora, kohya, peft, plain
from kurabe.exports.pieces import network_of
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of as told
from kurabe.training import load_model, train


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Training makes the whole process deterministic; other tests need not be."""
    yield
    torch.use_deterministic_algorithms(False)


def noise(size: int, channels: int) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, size, size, channels), dtype=np.uint8)
    return ImageSet("noise", pixels, tuple(map(str, range(24))), np.arange(24))


def run(folder: Path, base: Path, kind: str, text: str | None = None) -> RunFolder:
    """A run of one short training from that base."""
    adaptation = registry.look_up("adaptations", kind).settings()
    choices = recipe("full-fine-tuning", base).choices.model_copy(update={"adaptation": adaptation})
    changes = {"choices": choices.model_dump(mode="json")}
    # One step, and one that is seen.
    changes["optimiser"] = {"batch": 16, "lr": 0.1, "held_out_share": 1.0}
    if text is not None:
        changes["network"] = told(bases.find(str(base)), text)
    again = recipe("full-fine-tuning", base, 16, **changes)
    images = noise(16, 3) if text is not None else noise(8, 1)
    made = RunFolder(folder).create(again.to_toml(), {"id": folder.name})
    train(again, images, split(images, 0), made)
    return made


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunFolder]]:
    """Runs on one tiny Stable Diffusion, each made once."""
    place = tmp_path_factory.mktemp("stable")
    patch = pytest.MonkeyPatch()
    patch.setenv("KURABE_CACHE", str(place / "cache"))
    base, made = diffusers_folders.stable_diffusion(place / "base"), {}

    def get(kind: str) -> RunFolder:
        if kind not in made:
            made[kind] = run(place / kind.replace(":", "-"), base, kind, "a plant")
        return made[kind]

    yield get
    patch.undo()


def predicted(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x, states = (torch.randn(s, generator=generator) for s in ((2, 4, 8, 8), (2, 5, 16)))
    with torch.no_grad():
        return unet.eval()(x, torch.tensor([7, 800]), encoder_hidden_states=states).sample


def own(folder: RunFolder) -> Tensor:
    return predicted(network_of(load_model(folder.path)))


def pipe(folder: RunFolder) -> Any:
    base = folder.path.parent / "base"
    return StableDiffusionPipeline.from_pretrained(base, safety_checker=None)


@pytest.mark.parametrize("kind", ["dora", "pissa"])
def test_diffusers_loads_its_lora_and_predicts_the_same(kind, stable, tmp_path) -> None:
    folder = stable(kind)
    diffusers_lora.export(folder, tmp_path / "out")
    there = pipe(folder)
    before = predicted(there.unet)
    there.load_lora_weights(tmp_path / "out")
    torch.testing.assert_close(predicted(there.unet), own(folder), rtol=1e-4, atol=1e-5)
    assert (own(folder) - before).abs().max() > 1e-4
    with safe_open(tmp_path / "out" / "pytorch_lora_weights.safetensors", "pt") as file:
        assert "lora_adapter_metadata" in file.metadata()
        assert all(name.startswith("unet.") for name in file.keys())  # noqa: SIM118
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'instance_prompt: "a plant"' in card and "lora" in card


@pytest.mark.parametrize("kind", ["rslora", "pissa"])
def test_diffusers_loads_kohya_s_file_and_predicts_the_same(kind, stable, tmp_path) -> None:
    """diffusers converts kohya's keys by its own rules; alphas carry the scale."""
    folder, path = stable(kind), tmp_path / "out.safetensors"
    kohya.export(folder, path)
    there = pipe(folder)
    there.load_lora_weights(path)
    torch.testing.assert_close(predicted(there.unet), own(folder), rtol=1e-4, atol=1e-5)
    with safe_open(path, "pt") as file:
        said = file.metadata()
    wanted = "v2 base_model_version network_module network_dim network_alpha network_args"
    assert {f"ss_{name}" for name in wanted.split()} <= said.keys()
    assert (said["ss_network_dim"], said["ss_base_model_version"]) == (
        "16" if kind == "pissa" else "8",
        "sd_v1",
    )
    assert said["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert said["modelspec.trigger_phrase"] == "a plant"
    assert len(said["sshs_model_hash"]) == 64 and len(said["sshs_legacy_hash"]) == 8


def as_comfy_loads(path: Path, unet: Any) -> dict[str, Tensor]:
    """The weights that ComfyUI's loader makes of a file (comfy/lora.py and weight_adapter/lora.py):
    every "weight" of the network is known as lora_unet_ and its name with _ for dots."""
    file, state = load_file(path), dict(unet.state_dict())
    loaded: set[str] = set()

    def taken(name: str) -> Tensor | None:
        loaded.add(name) if name in file else None
        return file.get(name)

    for name in [n for n in state if n.endswith(".weight")]:
        key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        bias = name.removesuffix("weight") + "bias"
        up, down, alpha = (
            taken(f"{key}.{s}") for s in ("lora_up.weight", "lora_down.weight", "alpha")
        )
        if up is not None:
            state[name] = state[name] + alpha / len(down) * (up @ down)
            if (scale := taken(f"{key}.dora_scale")) is not None:
                # One length for each output, where it has as many rows as the weight.
                assert scale.shape == (len(state[name]), 1)
                state[name] = state[name] * scale / state[name].norm(dim=1, keepdim=True)
        if (norm := taken(f"{key}.w_norm")) is not None:
            state[name] = state[name] + norm
            if (of_bias := taken(f"{key}.b_norm")) is not None:
                state[bias] = state[bias] + of_bias
        if (more := taken(f"{key}.diff")) is not None:
            state[name] = state[name] + more
        if (more := taken(f"{key}.diff_b")) is not None:
            state[bias] = state[bias] + more
    assert loaded == file.keys(), "lora key not loaded"
    return state


@pytest.mark.parametrize("kind", ["dora", "pissa", "full", "norms", "difffit", "peft:oft"])
def test_comfy_s_grammar_holds_every_change(kind, stable, tmp_path) -> None:
    folder, path = stable(kind), tmp_path / "out.safetensors"
    comfy.export(folder, path)
    unet = pipe(folder).unet
    before = predicted(unet)
    unet.load_state_dict(as_comfy_loads(path, unet))
    torch.testing.assert_close(predicted(unet), own(folder), rtol=1e-4, atol=1e-5)
    assert (own(folder) - before).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["dora", "pissa", "peft:oft", "peft:vera", "peft:ia3"])
def test_peft_loads_its_folder_and_predicts_the_same(kind, tmp_path) -> None:
    folder = run(tmp_path / "run", diffusers_folders.ddim(tmp_path / "base"), kind)
    peft.export(folder, tmp_path / "out")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    base = network_of(load_model(tmp_path / "base"))
    with torch.no_grad():
        before = base(x, t).sample
        there = PeftModel.from_pretrained(base, str(tmp_path / "out"))
        found = there.eval()(x, t).sample
        expected = network_of(load_model(folder.path))(x, t).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (expected - before).abs().max() > 1e-4
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= names


REFUSED = {
    ("peft", "full"): "PEFT has no layers",
    ("peft", "tlora"): "changes with the noise level",
    ("kohya", "full"): "makes no low-rank updates",
    ("kohya", "tlora"): "changes with the noise level",
    ("comfy", "tlora"): "changes with the noise level",
    ("diffusers-lora", "bitfit"): "makes no low-rank updates",
}


@pytest.mark.parametrize(("form", "kind"), REFUSED)
def test_what_a_format_cannot_hold_is_one_sentence(form, kind, stable, tmp_path) -> None:
    out = tmp_path / ("out" if form in ("peft", "diffusers-lora") else "out.safetensors")
    with pytest.raises(UserError) as caught:
        registry.load("exports", form)(stable(kind), out)
    assert REFUSED[form, kind] in str(caught.value) and "\n" not in str(caught.value)
    assert not out.exists()


def test_places_and_bases_that_do_not_fit_are_one_sentence(stable, tmp_path) -> None:
    folder = stable("lora")
    with pytest.raises(UserError, match=r"give --out NAME\.safetensors"):
        kohya.export(folder, tmp_path / "out")
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(UserError, match="is there already"):
        plain.export(folder, tmp_path / "there.safetensors")
    small = run(tmp_path / "run", diffusers_folders.ddim(tmp_path / "base"), "lora")
    with pytest.raises(UserError, match="names the layers of Stable Diffusion's"):
        kohya.export(small, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match="DDIMPipeline of diffusers loads no LoRA"):
        diffusers_lora.export(small, tmp_path / "out")
