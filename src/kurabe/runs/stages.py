"""What one run does inside its process: images, split, training, measurement, records.

One checkpoint gives all scores. Each opening of the test images stands in the ledger beside the
run, so that a second one for the same checkpoint shows; training begins again where it stopped,
and a model that is trained already is only measured.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kurabe import bases
from kurabe.adaptations.full import Full
from kurabe.data import TRACES, ImageSet, Split, Traces, captions, captions_digest
from kurabe.data.large import taken
from kurabe.errors import UserError
from kurabe.evaluation import SourceDomain, draw_samples, evaluate
from kurabe.evaluation.memorisation import structure_distances
from kurabe.evaluation.samples import Samples
from kurabe.methods import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.recipe import DataSettings, Recipe
from kurabe.records import Ledger, RunFolder, Scores
from kurabe.records.run import now
from kurabe.records.surroundings import cores, surroundings
from kurabe.runs.bases import find_base
from kurabe.runs.images import (
    check_same_images,
    kept_images,
    known_by,
    left_out,
    load_images,
    split_images,
    traces_of,
)
from kurabe.runs.peak_memory import PeakMemory
from kurabe.runs.teachers import check_measured_by_another
from kurabe.sizes import setting_of
from kurabe.training import Model, load_model, train
from kurabe.training.devices import usable
from kurabe.training.model import WEIGHTS, prompt_of, start_model

# Rows that compare with the images of a run's own training.
ABOUT_TRAINING = frozenset({"near-copies", "nearest-to-training", "loss-gap"})
# Tiles of the grid that stays with the record.
SHOWN = 32


def go_on(folder: RunFolder) -> float:
    """Train and measure the run in that folder; the seconds trained in this sitting come back.

    A learning-rate trial is trained only.
    """
    recipe = Recipe.from_toml(folder.recipe_path)
    usable(recipe.where.device)
    check_measured_by_another(recipe)
    peak = PeakMemory(recipe.where.device)
    images = kept_images(recipe.data)
    split = split_images(images, recipe.data, recipe.seed)
    check_same_images([folder], images, recipe.data.source)
    told = _told(recipe, images, folder)
    info = folder.update(
        **_circumstances(recipe),
        **known_by(images),
        **told,
        training_images=len(split.train),
        test_images_left_out=left_out(images, recipe.data, split),
        test_images=len(split.test),
        started=folder.info.get("started") or now(),
    )
    if recipe.choices.trains:
        seen = np.concatenate([split.train, split.validation])
        Traces.of_some(images, seen).write(folder.path / TRACES)
    before = info.get("seconds") or 0.0
    if info.get("stopped"):
        model = load_model(folder.path, recipe.where.device)
    else:
        model = train(recipe, images, split, folder)
        folder.update(**_footprint(model, folder, peak))
    trained = (folder.info.get("seconds") or 0.0) - before
    if "trial" not in info:
        samples = _draw(recipe, model)
        _write_grids(folder, samples, images, split)
        scores = measure(recipe, model, images, split, folder, samples)
        folder.write_scores("scores", scores)
    return trained


def _told(recipe: Recipe, images: ImageSet, folder: RunFolder) -> dict[str, str | None]:
    """The digest of the captions that a text base is told; UserError where a run was begun with
    other ones."""
    if prompt_of(recipe.network) is None:
        return {}
    texts = captions(recipe.data.source, images.ids)
    told = captions_digest(texts, images.ids)
    if folder.info.get("captions_digest", told) != told:
        raise UserError(
            f"{recipe.data.source} has other captions now than when {folder.path} was begun; put "
            "them back, or begin anew with --out."
        )
    return {"captions_digest": told}


def _draw(recipe: Recipe, model: Model) -> Samples:
    torch.set_num_threads(recipe.where.threads)
    return draw_samples(model, recipe.evaluation, recipe.seed)


def measure(
    recipe: Recipe,
    model: Model,
    images: ImageSet,
    split: Split,
    folder: RunFolder,
    samples: Samples,
) -> Scores:
    """All scores of a trained run that drew those samples; the opening of the test is recorded."""
    ledger = Ledger(folder.path / "test-openings.jsonl")
    ledger.open(model.state_digest(), images.digest)
    return evaluate(
        model,
        images,
        split,
        recipe.evaluation,
        seed=recipe.seed,
        samples=samples,
        base=_untouched(recipe),
        untrained=_untrained(recipe, model),
        source=_source_domain(recipe),
        info=folder.info,
    )


def measure_again(folder: RunFolder, source: str | None, device: str) -> Scores:
    """Measure a finished run anew, on its own images or on other ones; the scores are written.

    Among other images are none that it was trained on: rows about those are left out.
    """
    recipe = Recipe.from_toml(folder.recipe_path)
    check_measured_by_another(recipe)
    where = recipe.where.model_copy(update={"device": device})
    model = load_model(folder.path, device)
    data = recipe.data
    if source is not None:
        shape = {"size": setting_of(model.image_size), "channels": model.channels}
        data = DataSettings.model_validate(
            {"source": source, "unseen_by": str(folder.path), **shape}
        )
    recipe = recipe.model_copy(update={"where": where, "data": data})
    images = load_images(data)
    if source is None:
        place = data.source
        check_same_images([folder], images, place, f"measure the run on them with --data {place}")
    split = split_images(images, data, recipe.seed)
    with folder.writing():
        samples = _draw(recipe, model)
        scores = measure(recipe, model, images, split, folder, samples)
        if source is None:
            _write_grids(folder, samples, images, split)
            folder.write_scores("scores", scores)
        else:
            measured = scores.get("metrics", {})
            known = {k: v for k, v in measured.items() if k not in ABOUT_TRAINING}
            scores["metrics"] = known
            folder.write_scores(f"on-{images.digest}", scores)
    return scores


def _untouched(recipe: Recipe) -> Model | None:
    """The run's base before any adaptation, drawing as the run does."""
    if recipe.base is None:
        return None
    how = recipe.choices.sampling
    base = load_model(recipe.base, recipe.where.device, prompt_of(recipe.network))
    return replace(base, dtype=recipe.where.dtype, solver=how.solver, spacing=how.spacing)


def _untrained(recipe: Recipe, model: Model) -> Model:
    """The run's network as it is before any training, from random weights."""
    fresh = Choices(start="random", adaptation=Full(), objective=(Denoising(),))
    changes = {"choices": fresh, "base": None, "network": model.network}
    return start_model(recipe.model_copy(update=changes), model.image_size, model.channels)


def _write_grids(folder: RunFolder, samples: Samples, images: ImageSet, split: Split) -> None:
    """The grid that stays with the record, and beside it the nearest training image of each."""
    pixels, seeds = samples.pixels[:SHOWN], samples.seeds[:SHOWN]
    training = taken(images.pixels, split.train)
    distances = structure_distances(pixels, training)
    seen = folder.info.get("images_seen") or 0
    folder.write_samples(pixels, seeds, seen)
    folder.write_samples(training[distances.argmin(1).numpy()], seeds, seen, "nearest")


def _footprint(model: Model, folder: RunFolder, peak: PeakMemory) -> dict[str, Any]:
    """What the trained method takes up: parameters, bytes to store, peak memory."""
    weights = folder.checkpoints / WEIGHTS
    return {
        "trainable_parameters": model.trainable_count,
        "total_parameters": model.parameters_count,
        "stored_bytes": weights.stat().st_size if model.adaptation.state() else 0,
        "peak_memory": peak.bytes,
    }


def _circumstances(recipe: Recipe) -> dict[str, Any]:
    """Code, versions and hardware, as the record keeps them."""
    facts = surroundings()
    device = torch.device(recipe.where.device)
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else recipe.where.device
    used = {"device": on, "threads": recipe.where.threads, "cores": cores()}
    base = recipe.base if recipe.base in bases.available() else None
    of_base = {} if base is None else {"base_commit": bases.find(base).info.get("commit")}
    return {**facts, **of_base, "hardware": {**facts["hardware"], **used}}


def _source_domain(recipe: Recipe) -> SourceDomain | None:
    """The base's own held-out images, where the study asks what the base forgets."""
    if not recipe.evaluation.forgetting or recipe.base is None:
        return None
    home = find_base(recipe.base).info.get("data")
    if home is None:
        raise UserError(
            f"{recipe.base} does not say what it was trained on; set evaluation.forgetting = false."
        )
    settings = DataSettings.model_validate({k: v for k, v in home.items() if k != "split_seed"})
    images = load_images(settings)
    traces = traces_of(recipe.base)
    if traces is None:
        return SourceDomain(images, split_images(images, settings, home["split_seed"]).test)
    return SourceDomain(images, np.flatnonzero(~np.isin(images.keys, traces.keys)))
