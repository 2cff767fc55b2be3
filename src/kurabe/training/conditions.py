"""What a run's network is told of its training images: captions or classes, encoded once."""

from collections.abc import Iterable

import numpy as np
import torch

from kurabe.conditions.classes import ByClass, Classes
from kurabe.data import ImageSet, Split, captions
from kurabe.errors import UserError
from kurabe.objectives.term import Drawn
from kurabe.recipe import Recipe
from kurabe.training.batches import Told
from kurabe.training.diffusers_parts import encoder_of
from kurabe.training.model import Model


def classes_of(recipe: Recipe, images: ImageSet, split: Split) -> Classes | None:
    """The classes that a recipe's network is told, None where it is told none.

    UserError where it is told some and the images have no labels.
    """
    told = isinstance(recipe.choices.condition, ByClass)
    return Classes.of(images, split.train) if told else None


def told_of(recipe: Recipe, model: Model, images: ImageSet, split: Split) -> Told | None:
    """What is said of each training image; None where nothing is told or none can be heard."""
    condition = recipe.choices.condition
    if model.classes is not None and condition is not None and images.labels is not None:
        which = model.classes.told(images.labels[split.train])
        every = np.arange(model.classes.none + 1)
        return Told(every, which, model.classes.none, condition.dropped)
    return _captions(recipe, model, images, split)


def told_of_drawn(model: Model, source: Drawn, count: int) -> Told | None:
    """What is said of so many images that the base drew; None where it was asked nothing else."""
    if source.prompt is None:
        return None
    states = encoder_of(model.network).encode(["", source.prompt]).half().numpy()
    return Told(states, np.ones(count, dtype=np.int64), 0)


def check_prompts(recipe: Recipe, model: Model, sources: Iterable[Drawn]) -> None:
    """UserError where what the base is to draw first cannot be said to it, or is what the images
    show, which would preserve nothing."""
    asked = next((source.prompt for source in sources if source.prompt is not None), None)
    told = model.network.told
    if asked is None:
        return
    if told is None:
        raise UserError(
            f'The prior asks for "{asked}", and {recipe.base} draws from noise alone; leave its '
            "prompt out."
        )
    if " ".join(asked.split()).casefold() == " ".join(told.text.split()).casefold():
        raise UserError(
            f'The prior asks for "{asked}", which is what --prompt says of your images; name '
            "their class without the new word."
        )


def _captions(recipe: Recipe, model: Model, images: ImageSet, split: Split) -> Told | None:
    told = model.network.told is not None
    texts = captions(recipe.data.source, images.ids) if told else None
    if texts is None:
        return None
    own = [texts[place] for place in split.train]
    different = ["", *sorted(set(own) - {""})]
    encoder = encoder_of(model.network)
    parts = [encoder.encode(different[k : k + 32]).half() for k in range(0, len(different), 32)]
    places = {text: place for place, text in enumerate(different)}
    which = np.array([places[text] for text in own], dtype=np.int64)
    return Told(torch.cat(parts).numpy(), which, 0)
