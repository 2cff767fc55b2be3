"""Training against closed forms: average, learning rate, plan, gradients; what a run may see."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from scipy.special import digamma
from sklearn.datasets import load_digits
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.data import ImageSet, split
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.methods.settings import TermChoice
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.masked import Masked
from kurabe.objectives.objective import make_objective
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
from kurabe.records import RunFolder
from kurabe.training import Model, load_model, train
from kurabe.training.ema import EMA
from kurabe.training.loop import update
from kurabe.training.model import WEIGHTS, make_denoiser, start_model
from kurabe.training.optimisers import learning_rate
from kurabe.training.plan import Plan, make_plan
from kurabe.training.run import prepare

TINY = Network(patch=2, width=16, depth=2, heads=2, decoder=1)
SELF_SUPERVISED = (Denoising(), Contrastive(comparison_batch=2))


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Training makes the whole process deterministic; other tests need not be."""
    yield
    torch.use_deterministic_algorithms(False)


def digits() -> ImageSet:
    bunch = load_digits()
    pixels = np.rint(bunch.images[:120] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(120)
    labels = bunch.target[:120].astype(np.int64)
    return ImageSet("digits", pixels, tuple(map(str, places)), places, labels, tuple("0123456789"))


def recipe(
    *terms: TermChoice, images: int = 96, base: Path | None = None, **optimiser: object
) -> Recipe:
    settings = {"batch": 32, "held_out_share": 1.0, "lr": 1e-2, **optimiser}
    adaptation = Full() if base is None else LowRank(rank=2)
    start = "random" if base is None else "base"
    return Recipe(
        method="tiny",
        choices=Choices(start=start, adaptation=adaptation, objective=terms or (Denoising(),)),
        data=DataSettings(source="digits"),
        budget=Budget(images=images),
        base=None if base is None else str(base),
        network=TINY,
        optimiser=Optimiser.model_validate(settings),
    )


def trained(folder: Path, settings: Recipe, images: ImageSet) -> Model:
    run = RunFolder(folder).create(settings.to_toml(), {"id": folder.name})
    return train(settings, images, split(images, settings.seed), run)


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / WEIGHTS).read_bytes()


def impulse(half_life: float, at: int, until: int) -> float:
    """The part in the average after `until` updates of a weight that was 1 at update `at` only."""
    weight = torch.zeros((), dtype=torch.float64)
    ema = EMA({"w": weight}, half_life)
    for step in range(1, until + 1):
        weight.fill_(float(step == at))
        ema.update(step * 32, 32)
    return float(ema.average["w"])


@pytest.mark.parametrize("half_life", [0.07, 0.5, 1.0])
def test_an_update_loses_its_weight_by_the_power_law_of_the_average(half_life: float) -> None:
    """Between updates m and 2m it shrinks by Π 2^(−1/(h k)) = 2^(−(H(2m) − H(m))/h)."""
    m = 60
    harmonic = digamma(2 * m + 1) - digamma(m + 1)
    shrunk = impulse(half_life, m, 2 * m) / impulse(half_life, m, m)
    assert shrunk == pytest.approx(2 ** (-harmonic / half_life), rel=1e-9)
    assert harmonic == pytest.approx(math.log(2), abs=1 / (2 * m))


def test_an_old_weight_s_part_halves_while_the_run_grows_by_the_half_life() -> None:
    """Growth by the share h leaves 2^(−log(1 + h)/h), which is ½ for small h."""
    left = impulse(0.05, 2000, 2100) / impulse(0.05, 2000, 2000)
    assert left == pytest.approx(2 ** (-math.log(1.05) / 0.05), rel=1e-3)
    assert left == pytest.approx(0.5, rel=0.02)


def test_the_initialisation_is_no_part_of_the_average() -> None:
    weight = torch.full((3,), 100.0)
    ema = EMA({"w": weight}, 0.07)
    weight.fill_(2.0)
    ema.update(32, 32)
    assert ema.average["w"].tolist() == [2.0, 2.0, 2.0]
    with ema.applied():
        assert weight.tolist() == [2.0] * 3
        weight.fill_(9.0)
    assert weight.tolist() == [2.0] * 3


def test_the_learning_rate_is_that_of_torch_s_own_schedulers() -> None:
    """LinearLR for the warm-up, CosineAnnealingLR behind it, over 200 updates."""
    settings = Optimiser(lr=0.3, warm_up=0.1, final_lr=0.05)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 20, 1.0, 19)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 180, eta_min=0.3 * 0.05)
    for step in range(1, 201):
        expected = optimiser.param_groups[0]["lr"]
        assert learning_rate(settings, step / 200) == pytest.approx(expected, rel=1e-6)
        optimiser.step()
        (rise if step < 20 else fall).step()


def test_the_learning_rate_at_its_corners() -> None:
    settings = Optimiser(lr=1.0, warm_up=0.05, final_lr=0.05)
    at = {0.0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.525: 0.525, 1.0: 0.05}
    assert {p: pytest.approx(learning_rate(settings, p)) for p in at} == at
    assert learning_rate(Optimiser(lr=1.0, warm_up=0.0), 0.0) == 1.0


def plan(settings: Recipe, processes: int = 1) -> Plan:
    objective = make_objective(settings.choices, make_denoiser(TINY, 8, 1))
    return make_plan(settings, objective, processes)


@given(
    processes=st.integers(1, 4),
    per_process=st.integers(1, 4),
    together=st.sampled_from([2, 3, 4]),
    share=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    position=st.integers(0, 10**9),
)
def test_windows_partition_a_stream(
    processes: int, per_process: int, together: int, share: float, position: int
) -> None:
    """Each position of an update falls to one part of one process, in order of micro-batches,
    and groups stay whole within one.
    """
    micro_batch = 8 * together
    batch = micro_batch * per_process * processes
    term = Contrastive(comparison_batch=together, share=share)
    settings = recipe(Denoising(), term, batch=batch, micro_batch=micro_batch)
    made = plan(settings, processes)
    assert made.micro_batches == per_process
    streams = make_objective(settings.choices, make_denoiser(TINY, 8, 1)).streams(0.0)
    for stream in streams:
        seen: list[int] = []
        for parts in zip(*(made.parts(process) for process in range(processes)), strict=True):
            micro_batch = [made.window(stream, position, part) for part in parts]
            assert sum(count for _, count in micro_batch) % stream.together == 0
            for first, count in micro_batch:
                seen.extend(range(first, first + count))
        assert seen == list(range(position, position + made.images_of(stream)))
    passed = {s.name: made.images_of(s) * s.views for s in streams}
    apart = {"images": batch * (1 - share), "views": batch * share}
    assert passed == ({"images": batch} if share == 1 else apart)


def test_a_budget_becomes_whole_updates_with_lines_and_measurements_up_to_the_last() -> None:
    made = plan(recipe(images=1000, batch=32, held_out_share=0.25))
    assert (made.updates, made.images) == (32, 1024)
    assert made.measured == {8, 16, 24, 32}
    assert made.logged == set(range(1, 33))
    long = plan(recipe(images=32 * 1000, batch=32))
    assert len(long.logged) == 200 and max(long.logged) == 1000
    assert all(step % 5 == 0 for step in long.logged)


def test_streams_of_one_network_pass_share_it() -> None:
    """Masking is of the same images: nothing is passed twice."""
    for terms, expected in (
        ((Denoising(), Masked()), {"images": 1.0}),
        (SELF_SUPERVISED, {"images": 0.5, "views": 0.5}),
    ):
        streams = make_objective(recipe(*terms).choices, make_denoiser(TINY, 8, 1)).streams(0.0)
        assert {stream.name: stream.share for stream in streams} == expected


@pytest.mark.parametrize(
    ("optimiser", "share", "sentence"),
    [
        ({"batch": 36}, 0.5, "optimiser.batch = 36 does not divide: the stream 'views' takes 50%"),
        ({"batch": 32, "micro_batch": 8}, 0.5, "in units of 32 images"),
        ({"batch": 33}, 0.5, "a batch of 48 in micro-batches of 48 fits"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(
    optimiser: dict[str, int], share: float, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(recipe(Denoising(), Contrastive(comparison_batch=4, share=share), **optimiser))


@given(
    together=st.integers(2, 16),
    batch=st.integers(1, 200),
    micro_batch=st.none() | st.integers(1, 200),
    share=st.sampled_from([0.2, 0.3, 0.5, 0.75]),
)
def test_a_batch_passes_whole_or_the_one_named_instead_does(
    together: int, batch: int, micro_batch: int | None, share: float
) -> None:
    terms = (Denoising(), Contrastive(comparison_batch=together, share=share))
    try:
        made = plan(recipe(*terms, batch=batch, micro_batch=micro_batch))
    except UserError as error:
        named = re.search(r"a batch of (\d+) in micro-batches of (\d+) fits", str(error))
        assert named is not None and int(named[1]) >= batch
        batch = int(named[1])
        made = plan(recipe(*terms, batch=batch, micro_batch=int(named[2])))
    streams = make_objective(recipe(*terms).choices, make_denoiser(TINY, 8, 1)).streams(0.0)
    assert sum(made.images_of(s) * s.views for s in streams) == batch


def gradients(folder: Path, settings: Recipe) -> dict[str, Tensor]:
    """The gradients that the first update steps along."""
    images = digits()
    seen: dict[str, Tensor] = {}
    model = start_model(settings, 8, 1)
    run = prepare(settings, model, images, split(images, 0), RunFolder(folder), lambda line: None)

    def keep(*_: object) -> None:
        named = run.training.named.items()
        seen.update({name: p.grad.clone() for name, p in named if p.grad is not None})

    run.training.optimiser.register_step_pre_hook(keep)
    update(run)
    return seen


@pytest.mark.parametrize("terms", [(Denoising(),), SELF_SUPERVISED, (Denoising(), Masked())])
def test_an_update_does_not_depend_on_its_micro_batches(
    tmp_path: Path, terms: tuple[TermChoice, ...]
) -> None:
    """Means of means over equal parts: the gradients differ by float32 rounding alone."""
    whole, parts = (
        gradients(tmp_path, recipe(*terms, micro_batch=size, clip=1e9)) for size in (32, 8)
    )
    assert whole.keys() == parts.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-2
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=1e-6 * max(1, largest))


def test_labels_are_no_part_of_a_self_supervised_run(tmp_path: Path) -> None:
    images = digits()
    assert images.labels is not None
    shuffled = ImageSet(
        images.name,
        images.pixels,
        images.ids,
        images.groups,
        np.random.default_rng(0).permutation(images.labels),
        images.label_names,
    )
    assert (shuffled.labels != images.labels).mean() > 0.5
    settings = recipe(*SELF_SUPERVISED)
    trained(tmp_path / "labelled", settings, images)
    trained(tmp_path / "shuffled", settings, shuffled)
    assert weights(tmp_path / "labelled") == weights(tmp_path / "shuffled")
    other = settings.model_copy(update={"seed": 1})
    trained(tmp_path / "other", other, images)
    assert weights(tmp_path / "other") != weights(tmp_path / "labelled")


def test_one_process_trains_in_one_format_after_the_other(tmp_path: Path) -> None:
    """accelerate's state, shared by a whole process, would hold on to the first format."""
    images, settings = digits(), recipe(lr=1e-3)
    narrow = settings.model_copy(update={"where": Where(dtype="bfloat16")})
    trained(tmp_path / "before", settings, images)
    trained(tmp_path / "narrow", narrow, images)
    trained(tmp_path / "after", settings, images)
    assert weights(tmp_path / "before") == weights(tmp_path / "after")
    assert weights(tmp_path / "before") != weights(tmp_path / "narrow")
    before, after = (RunFolder(tmp_path / name).metrics()[-1] for name in ("before", "narrow"))
    # Eight bits of the operands: held-out losses agree to about 2⁻⁸.
    assert after["held_out"] == pytest.approx(before["held_out"], rel=2**-7)


def held_out(folder: Path) -> dict[int, float]:
    lines = RunFolder(folder).metrics()
    return {line["images_seen"]: line["held_out"] for line in lines if "held_out" in line}


@pytest.mark.parametrize("patience", [None, 5])
def test_a_trial_is_looked_at_as_often_as_its_loss_is_asked(
    tmp_path: Path, patience: int | None
) -> None:
    """Its last loss is the run's of the same recipe, and so are its weights; no image is drawn."""
    images, settings = digits(), recipe(held_out_share=0.34, patience=patience)
    trained(tmp_path / "run", settings, images)
    trial = RunFolder(tmp_path / "trial").create(settings.to_toml(), {"id": "t", "trial": 1e-2})
    train(settings, images, split(images, settings.seed), trial)
    whole, looked = held_out(tmp_path / "run"), held_out(tmp_path / "trial")
    assert len(whole) == 3
    assert looked == (whole if patience else {96: whole[96]})
    assert weights(tmp_path / "run") == weights(tmp_path / "trial")
    assert RunFolder(tmp_path / "run").sample_grids("progress")
    assert not trial.sample_grids("progress")


def drawn(model: Model) -> Tensor:
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.denoiser(x, torch.linspace(0.1, 0.9, 4))


def test_a_lora_run_stores_its_change_alone_and_comes_back_whole(tmp_path: Path) -> None:
    images = digits()
    trained(tmp_path / "base", recipe(), images)
    tuned = trained(tmp_path / "lora", recipe(base=tmp_path / "base"), images)
    with safe_open(tmp_path / "lora" / "checkpoints" / WEIGHTS, "pt") as file:
        stored = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118
    assert stored and all(".lora_" in name for name in stored)
    w, rank = 16, 2
    # (in + out) · rank for modulation, qkv, attention_out, mlp_in and mlp_out of two blocks.
    per_block = rank * ((w + 6 * w) + (w + 3 * w) + (w + w) + (w + 4 * w) + (4 * w + w))
    assert sum(stored.values()) == tuned.trainable_count == 2 * per_block
    loaded, base = load_model(tmp_path / "lora"), load_model(tmp_path / "base")
    assert torch.equal(drawn(loaded), drawn(tuned))
    assert not torch.equal(drawn(loaded), drawn(base))
    with loaded.adaptation.off():
        assert torch.equal(drawn(loaded), drawn(base))


def test_a_base_of_another_size_is_refused_in_one_sentence(tmp_path: Path) -> None:
    images = digits()
    trained(tmp_path / "base", recipe(images=32), images)
    with pytest.raises(UserError) as raised:
        start_model(recipe(base=tmp_path / "base"), 16, 3)
    assert str(raised.value) == (
        f"{tmp_path / 'base'} draws 8×8 grey; your images are prepared otherwise. "
        "Use another --base, or --grey --size 8."
    )
