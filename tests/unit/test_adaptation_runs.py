"""Runs of every adaptation: resumed equals uninterrupted, stored is what trains, loaded draws the
same bits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors import safe_open
from sklearn.datasets import load_digits

from kurabe import registry
from kurabe.adaptations import attach
from kurabe.adaptations.difffit import DiffFit
from kurabe.adaptations.lora import LowRank
from kurabe.adaptations.norms import NormsOnly
from kurabe.adaptations.peft_tuners import BEGINS, LEFT_OUT
from kurabe.adaptations.pissa import Principal
from kurabe.adaptations.rslora import RankStabilised
from kurabe.adaptations.tlora import RankByNoise, active
from kurabe.backbones import PatchTransformer
from kurabe.data import ImageSet, split
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training import load_model, train
from kurabe.training.model import WEIGHTS

WIDTH = 32
TINY = Network(patch=4, width=WIDTH, depth=1, heads=2, decoder=0, refine=0)
TRAINING = [name for name, i in registry.ideas("adaptations").items() if i.settings().trains]
SEEDS = range(2)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Training makes the whole process deterministic; other tests need not be."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    bunch = load_digits()
    pixels = np.rint(bunch.images[:60] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(60)
    return ImageSet("digits", pixels, tuple(map(str, places)), places, None, ())


def recipe(kind: str | None, base: Path | None) -> Recipe:
    adaptation = registry.look_up("adaptations", kind or "full").settings()
    return Recipe(
        method="tiny",
        choices=Choices(
            start="base" if base else "random", adaptation=adaptation, objective=(Denoising(),)
        ),
        data=DataSettings(source="digits"),
        budget=Budget(images=64),
        base=None if base is None else str(base),
        network=TINY,
        optimiser=Optimiser(batch=16, held_out_share=0.5, lr=1e-2),
    )


def begun(folder: Path, settings: Recipe) -> RunFolder:
    return RunFolder(folder).create(settings.to_toml(), {"id": folder.name})


@pytest.fixture(scope="module")
def base(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, settings = tmp_path_factory.mktemp("base") / "base", recipe(None, None)
    train(settings, images, split(images, 0), begun(folder, settings))
    return folder


def interrupt(line: dict[str, object]) -> None:
    if "held_out" in line:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", TRAINING)
def test_a_run_resumed_equals_one_uninterrupted_and_loads_back_bit_for_bit(
    kind: str, base: Path, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, parts = recipe(kind, base), split(images, 0)
    whole = begun(tmp_path / "whole", settings)
    model = train(settings, images, parts, whole)
    drawn = model.sample(SEEDS, 4)
    stopped = begun(tmp_path / "stopped", settings)
    # Saved at every update, and killed between two of them.
    monkeypatch.setattr("kurabe.training.loop._Clock.due", True)
    with pytest.raises(KeyboardInterrupt):
        train(settings, images, parts, stopped, interrupt)
    train(settings, images, parts, stopped)
    kept = [run.checkpoints / WEIGHTS for run in (whole, stopped)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
    assert (load_model(whole.path).sample(SEEDS, 4) == drawn).all()
    with safe_open(kept[0], "np") as file:
        stored = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    if kind != "full":
        assert stored == whole.info["trainable"] == model.trainable_count
    untouched = load_model(base)
    with model.adaptation.off():
        assert (model.sample(SEEDS, 4) == untouched.sample(SEEDS, 4)).all()


def test_every_tuner_of_this_peft_is_offered_or_left_out_for_a_reason() -> None:
    offered = {kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert offered == BEGINS.keys() | LEFT_OUT.keys()


def network(seed: int = 0) -> PatchTransformer:
    torch.manual_seed(seed)
    made = PatchTransformer(8, 1, patch=4, width=WIDTH, depth=2, heads=2)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def price(kind: str, **options: object) -> int:
    chosen = registry.look_up("adaptations", kind).settings.model_validate(
        {"kind": kind, "targets": r"^blocks\.\d\.mlp_in$", "options": options}
    )
    return sum(p.numel() for p in attach(network(), chosen).parameters)


def test_tuners_train_as_many_numbers_as_their_papers_count() -> None:
    """For two layers of 32 inputs and 128 outputs, each by the formula of its source."""
    layers, ins, outs = 2, 32, 4 * 32
    assert price("peft:loha", r=4) == layers * 2 * 4 * (ins + outs)
    assert price("peft:hra", r=4) == layers * 4 * ins
    assert price("peft:ia3") == layers * outs
    assert price("peft:shira", r=4) == layers * 4 * (ins + outs)
    assert price("peft:fourierft", n_frequency=100) == layers * 100
    # VeRA: a number for each rank and for each output.
    assert price("peft:vera", r=16) == layers * (16 + outs)
    # OFT: a skew-symmetric matrix for each block of inputs.
    assert price("peft:oft", oft_block_size=8) == layers * (ins // 8) * (8 * 7 // 2)
    assert price("peft:c3a", block_size=16) == layers * ins * outs // 16


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rr": 4}, "peft:loha has no option 'rr'; did you mean r"),
        ({"rank_dropout": 0.1}, "draws at random"),
        ({"target_modules": "x"}, "has no option 'target_modules'"),
        ({"r": -1}, "peft:loha does not fit this network"),
        ({"r": "many"}, "peft:loha: r is a number, not 'many'"),
        ({"r": True}, "peft:loha: r is a number, not True"),
    ],
)
def test_odd_options_of_a_tuner_are_one_sentence(given: dict[str, object], said: str) -> None:
    kind = "peft:loha"
    chosen = registry.look_up("adaptations", kind).settings.model_validate(
        {"kind": kind, "options": given}
    )
    with pytest.raises(UserError) as caught:
        attach(network(), chosen)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_size_that_does_not_divide_a_layer_is_one_sentence() -> None:
    chosen = registry.look_up("adaptations", "peft:c3a").settings.model_validate(
        {"kind": "peft:c3a", "options": {"block_size": 48}}
    )
    with pytest.raises(UserError, match="does not fit this network"):
        attach(network(), chosen)


def weights_of(choice: LowRank) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """W, A, B of a layer after A and B have moved, and what B A is multiplied by."""
    own = network()
    weight = own.blocks[0].qkv.weight.detach().clone()
    adaptation = attach(own, choice)
    layer = own.blocks[0].qkv
    a, b = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    if not isinstance(choice, Principal):
        torch.nn.init.normal_(b)
    update = (b @ a).detach()
    adaptation.merge()
    return weight, update, own.blocks[0].qkv.weight.detach(), choice.alpha


def test_rslora_divides_by_the_root_of_the_rank() -> None:
    weight, update, merged, alpha = weights_of(RankStabilised(rank=9, alpha=6))
    torch.testing.assert_close(merged, weight + alpha / 3 * update)


def test_pissa_begins_at_the_principal_part_and_trains_what_the_paper_does() -> None:
    """s B₀A₀ is the best approximation of that rank, W less it the paper's residual."""
    choice = Principal(rank=4, alpha=8)
    weight, update, merged, _ = weights_of(choice)
    u, s, vt = torch.linalg.svd(weight)
    best = u[:, :4] @ torch.diag(s[:4]) @ vt[:4]
    torch.testing.assert_close(2 * update, best, rtol=1e-4, atol=1e-5)
    assert torch.equal(merged, weight)
    own = network()
    attach(own, choice)
    layer = own.blocks[0].qkv
    b = layer.lora_B["default"].weight
    with torch.no_grad():
        b.mul_(1.5)
    x = torch.randn(2, 3, WIDTH)
    expected = x @ (weight - best + 1.5 * best).T + layer.get_base_layer().bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_more_ranks_than_a_weight_has_are_one_sentence() -> None:
    with pytest.raises(UserError, match="more than the 32 singular values"):
        attach(network(), Principal(rank=33))


def test_t_lora_s_ranks_are_those_of_its_authors_code() -> None:
    """int(((T − k)/T)^α (r − r_min)) + r_min for timesteps k of T = 1000."""
    for rank, least, power in ((8, 1, 1.0), (64, 32, 1.0), (16, 2, 2.0)):
        for k in (0, 1, 250, 499, 500, 750, 999, 1000):
            theirs = int(((1000 - k) / 1000) ** power * (rank - least)) + least
            t = torch.tensor([k / 1000], dtype=torch.float64)
            assert active(t, rank, least, power).item() in (theirs, theirs - 1, theirs + 1)
            exact = ((1000 - k) / 1000) ** power * (rank - least)
            if abs(exact - round(exact)) > 1e-4:
                assert active(t, rank, least, power).item() == theirs


@pytest.mark.parametrize("path", ["prediction", "features"])
def test_t_lora_is_lora_of_the_ranks_that_an_image_s_noise_leaves(path: str) -> None:
    """Each image of a batch as a LoRA would draw it of which the other ranks are zero."""
    choice = RankByNoise(rank=4, alpha=4)
    own = network()
    state = attach(own, choice).state()
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        tensor.data = torch.randn(tensor.shape, generator=generator) * 0.1
    x, times = torch.randn(3, 1, 8, 8), torch.tensor([0.0, 0.5, 1.0])

    def seen(of: PatchTransformer, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if path == "features":
            return of.features(x, t, layers=("block-2",))["block-2"]
        return of(x, t).prediction

    together = seen(own, x, times)
    for row, ranks in enumerate((4, 2, 1)):
        plain = network()
        cut = {n: w.detach().clone() for n, w in state.items()}
        for name, weight in cut.items():
            if "lora_B" in name:
                weight[:, ranks:] = 0
        attach(plain, LowRank(rank=4, alpha=4)).load(cut)
        alone = seen(plain, x[row : row + 1], times[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_t_lora_is_not_computed_anew() -> None:
    own = network()
    attach(own, RankByNoise())
    with pytest.raises(ValueError, match="follow the pass"):
        own.enable_gradient_checkpointing()


def test_difffit_trains_biases_norms_and_two_scales_a_block() -> None:
    """As BitFit, whose biases hold those of adaptive norms, and a scale for each of 32 channels of
    two branches in two blocks."""
    biases = attach(network(), registry.look_up("adaptations", "bitfit").settings())
    fitted = attach(network(), DiffFit())
    count = sum(p.numel() for p in fitted.parameters)
    assert count == sum(p.numel() for p in biases.parameters) + 2 * 2 * WIDTH
    scales = {name for name in fitted.state() if name.endswith("branch_scale")}
    assert scales == {
        f"blocks.{k}.{of}.branch_scale" for k in (0, 1) for of in ("attention_out", "mlp_out")
    }


def test_norms_alone_are_the_affine_parts_of_a_network_s_norms() -> None:
    from diffusers import UNet2DModel

    from kurabe.backbones.diffusers_unet2d.network import UNet

    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    model = UNet2DModel(
        8, 1, 1, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, **blocks
    )
    norms = [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm)]
    counted = sum(2 * m.num_channels for m in norms)
    adapted = attach(UNet(model, 1000, 1), NormsOnly())
    assert sum(p.numel() for p in adapted.parameters) == counted
    # Six numbers a channel in each block, two in front of the head, of adaptive norms.
    own = attach(network(), NormsOnly())
    assert sum(p.numel() for p in own.parameters) == 2 * 6 * WIDTH + 2 * WIDTH
    with pytest.raises(UserError, match="have nothing to"):
        attach(torch.nn.Linear(3, 3), NormsOnly())
