"""Gradient checkpointing: the same weights bit for bit, less kept for the way back, paid for.

Every backbone that the registry finds is trained with it and without; what a network keeps is
counted in bytes of saved tensors, each storage once.
"""

import tomllib
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import diffusers_folders
import numpy as np
import pytest
import torch
import torch.utils._pytree
from diffusers import UNet2DModel
from diffusers_folders import SORTS
from safetensors.torch import load_file
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from kurabe import bases, registry
from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.backbones import Backbone, Output, PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.bases.diffusers_network import DiffusersNetwork
from kurabe.conditions.classes import ByClass
from kurabe.data import ImageSet, Split
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.methods.settings import AdaptationChoice, TermChoice
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.dispersive import Dispersive
from kurabe.objectives.masked import Masked
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
from kurabe.records import RunFolder
from kurabe.registry import OWN
from kurabe.runs.bases import network_of
from kurabe.studies.calibration import step_graph
from kurabe.studies.jobs import moved
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.training import train
from kurabe.training.flops import counter
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

FULL = Full()
TINY = Network(patch=2, width=32, depth=4, heads=2, decoder=1)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def images(size: int, channels: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (48, size, size, channels), np.uint8)
    labels = np.arange(48) % 3
    return ImageSet(
        "noise", pixels, tuple(map(str, range(48))), np.arange(48), labels, ("a", "b", "c")
    )


PARTS = Split(train=np.arange(40), validation=np.arange(40, 48), test=np.arange(0))


def recipe(
    *terms: TermChoice, checkpointed: bool, adaptation: AdaptationChoice = FULL, **more: Any
) -> Recipe:
    choices = {"start": "base" if "base" in more else "random", "adaptation": adaptation}
    told = {"condition": ByClass()} if more.pop("told", False) else {}
    settings = {"network": TINY, "budget": Budget(images=3 * 16)} | more
    where = {"gradient_checkpointing": checkpointed, "dtype": settings.pop("dtype", "float32")}
    return Recipe.model_validate(
        {
            "method": "tiny",
            "choices": Choices(**choices, **told, objective=(Denoising(), *terms)),
            "data": DataSettings(source="noise"),
            "optimiser": Optimiser(batch=16, lr=1e-2, held_out_share=1.0),
            "where": Where.model_validate(where),
            **settings,
        }
    )


def trained(folder: Path, settings: Recipe, shape: tuple[int, int] = (8, 1)) -> dict[str, Tensor]:
    run = RunFolder(folder).create(settings.to_toml(), {"id": folder.name})
    train(settings, images(*shape), PARTS, run)
    return load_file(folder / "checkpoints" / "model.safetensors")


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


CASES: dict[str, tuple[tuple[TermChoice, ...], dict[str, Any]]] = {
    "plain": ((), {}),
    # Tokens are dropped by chance, and come back as one that is learned.
    "masked": ((Masked(),), {}),
    # Features of a block in the middle go on to a head, and back from there.
    "contrastive": ((Contrastive(comparison_batch=4),), {}),
    "dispersive": ((Dispersive(comparison_batch=16),), {}),
    # A deep copy of the network, which gets no gradient, is read besides.
    "self-alignment": ((SelfAlignment(),), {}),
    "classes": ((), {"told": True}),
    "bfloat16": ((), {"dtype": "bfloat16"}),
    "two passes an update": ((), {"optimiser": Optimiser(batch=16, micro_batch=8)}),
    "muon": ((), {"optimiser": Optimiser(batch=16, kind="muon")}),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_same_with_it_bit_for_bit(case: str, tmp_path: Path) -> None:
    terms, more = CASES[case]
    with_it, without = (
        trained(tmp_path / str(on), recipe(*terms, checkpointed=on, **more)) for on in (True, False)
    )
    assert same(with_it, without)
    counted = [RunFolder(tmp_path / str(on)).info["flops_per_image"] for on in (True, False)]
    # Of three passes of a block four are made.
    assert 1.2 < counted[0] / counted[1] < 4 / 3


def test_every_backbone_of_diffusers_is_among_those_tried() -> None:
    own = [idea.name for idea in registry.ideas("backbones").values() if idea.package == OWN]
    assert {*own} - {"patch", "diffusers"} == {name.split(",")[0] for name in SORTS}


@pytest.mark.parametrize("adaptation", [Full(), LowRank(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("name", SORTS)
def test_a_network_of_diffusers_trains_the_same_with_it(
    name: str, adaptation: AdaptationChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    sort = SORTS[name]
    base = str(sort.write(tmp_path / "base"))
    network = DiffusersNetwork.model_validate(network_of(bases.find(base), sort.prompt))
    more = {"base": base, "network": network, "budget": Budget(images=32)}
    with_it, without = (
        trained(
            tmp_path / str(on),
            recipe(checkpointed=on, adaptation=adaptation, **more),
            (sort.size, sort.channels),
        )
        for on in (True, False)
    )
    assert same(with_it, without)
    counted = [RunFolder(tmp_path / str(on)).info["flops_per_image"] for on in (True, False)]
    assert counted[0] > counted[1]


def test_dropout_is_drawn_anew_as_it_was_drawn(tmp_path: Path) -> None:
    """A U-Net that drops half of its activations has the gradients that it has without."""
    found = []
    for seed, on in ((0, True), (0, False), (1, False)):
        torch.manual_seed(0)
        unet = diffusers_folders.shaken(
            UNet2DModel(
                8, 1, 1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
                down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D"), dropout=0.5,
            )
        )  # fmt: skip
        backbone = UNet(unet.train(), 1000, 1)
        if on:
            backbone.enable_gradient_checkpointing()
        torch.manual_seed(seed)
        out = backbone(torch.ones(4, 1, 8, 8), torch.linspace(0.1, 0.9, 4), layers=("middle",))
        (out.prediction.square().mean() + out.features["middle"].square().mean()).backward()
        found.append(torch.cat([p.grad.flatten() for p in unet.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def begun(folder: Path, settings: Recipe) -> Run:
    model = start_model(settings, 8, 1)
    return prepare(settings, model, images(8, 1), PARTS, RunFolder(folder), lambda line: None)


def test_a_run_may_go_on_with_it_and_without(tmp_path: Path) -> None:
    whole, first, second = (
        begun(tmp_path / name, recipe(Masked(), checkpointed=on))
        for name, on in (("whole", False), ("first", False), ("second", True))
    )
    for _ in range(4):
        update(whole)
    for _ in range(2):
        update(first)
    first.training.save(tmp_path / "state.safetensors")
    second.training.load(tmp_path / "state.safetensors")
    for _ in range(2):
        update(second)
    assert all(torch.equal(w, second.training.named[n]) for n, w in whole.training.named.items())


def test_it_is_no_part_of_a_recipe_s_text_or_digest_where_it_is_off() -> None:
    on, off = (recipe(checkpointed=on) for on in (True, False))
    assert "checkpointing" not in off.to_toml()
    assert "gradient_checkpointing = true" in on.to_toml()
    assert Recipe.model_validate(tomllib.loads(on.to_toml())) == on
    # Results are the same, so that a run may be begun with it and looked up without.
    assert on.digest == off.digest
    assert study_of(True).speed_key != study_of(False).speed_key
    assert study_of(False).recipe(study_of(False).columns[0], 1, StudyState()).where == Where()


def study_of(checkpointed: bool) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "data": {"source": "digits"},
            "columns": [{"id": "ddpm", "method": "ddpm"}],
            "baseline": "ddpm",
            "budget": {"images": 320},
            "equal": "images",
            "dtype": "float32",
            "gradient_checkpointing": checkpointed,
        }
    )


def test_a_column_with_it_has_a_speed_of_its_own() -> None:
    without, with_it = (study_of(on) for on in (False, True))
    column = without.columns[0]
    assert step_graph(without, column) != step_graph(with_it, column)
    assert with_it.recipe(column, 1, StudyState()).where.gradient_checkpointing


def test_a_run_that_had_no_room_goes_on_with_it_and_a_finished_one_stays(tmp_path: Path) -> None:
    off, on = (recipe(checkpointed=on) for on in (False, True))
    run = RunFolder(tmp_path / "run").create(off.to_toml(), {"id": "run"})
    moved(run, on)
    assert Recipe.from_toml(run.recipe_path) == on
    with run.writing():
        run.update(status="finished")
    moved(run, off)
    assert Recipe.from_toml(run.recipe_path) == on


def test_a_network_that_cannot_compute_its_blocks_anew_is_refused_in_a_sentence(
    tmp_path: Path,
) -> None:
    class Plain(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.in_channels, self.image_size, self.token_grid = 1, 8, (8, 8)
            self.feature_layers, self.feature_dim = (), 1
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x_t: Tensor, *_: Any, **__: Any) -> Output:
            return Output(self.scale * x_t, {})

    class Unwilling(UNet2DModel):
        _supports_gradient_checkpointing = False

    unet = Unwilling(8, 1, 1, block_out_channels=(8,), norm_num_groups=4,
                     down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))  # fmt: skip
    settings = recipe(checkpointed=True)
    for backbone, name in ((Plain(), "Plain"), (UNet(unet, 1000, 1), "UNet")):
        model = start_model(settings, 8, 1)
        model.denoiser.backbone = backbone
        with pytest.raises(UserError, match=f"= true: a {name} cannot compute its blocks") as told:
            prepare(settings, model, images(8, 1), PARTS, RunFolder(tmp_path), lambda line: None)
        assert told.value.exit_code == 2 and str(told.value).count(". ") == 0


def kept(network: PatchTransformer, batch: int) -> int:
    """Bytes that a pass keeps for the way back, parameters apart, each storage once."""
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.zeros(batch, 3, 32, 32), torch.linspace(0, 1, batch))
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    return sum(t.untyped_storage().nbytes() for at, t in found.items() if at not in own)


class Alive(TorchDispatchMode):
    """The most bytes of tensors that are alive at once, those that were there before apart."""

    def __init__(self, before: list[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(given):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return given

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def transformer(depth: int, checkpointed: bool) -> PatchTransformer:
    torch.manual_seed(0)
    made = PatchTransformer(32, 3, depth=depth)
    if checkpointed:
        made.enable_gradient_checkpointing()
    return made


def test_of_a_block_its_tokens_alone_are_kept() -> None:
    """32-bit tokens of 8 images, 64 of 192 numbers each: 393,216 bytes a block, and no more."""
    with_it = [kept(transformer(depth, True), 8) for depth in (2, 6, 12)]
    assert with_it[1] - with_it[0] == 4 * 8 * 64 * 192 * 4
    assert with_it[2] - with_it[1] == 6 * 8 * 64 * 192 * 4
    # Queries, keys, values, scores, the wide MLP twice, …: without it a block keeps 23 times that.
    without = [kept(transformer(depth, False), 8) for depth in (2, 6)]
    assert (without[1] - without[0]) / (with_it[1] - with_it[0]) > 20


@pytest.mark.parametrize("inside", [nullcontext, counter])
def test_the_peak_of_a_whole_step_falls(inside: Callable[[], AbstractContextManager[Any]]) -> None:
    """What is computed anew counts too: of a block at a time, which is let go before the next.

    So it is where FLOPs are counted, which a run does before its first step.
    """
    peaks = []
    for on in (True, False):
        network = transformer(12, on)
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        weights = list(network.parameters())
        with inside(), Alive([*weights, *(weight.grad for weight in weights)]) as alive:
            out = network(torch.zeros(8, 3, 32, 32), torch.linspace(0, 1, 8))
            out.prediction.square().mean().backward()
            del out
        peaks.append(alive.most)
    # 16 MB of 115.
    assert peaks[0] < peaks[1] / 6
