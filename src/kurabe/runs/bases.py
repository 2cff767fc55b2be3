"""What a person calls a base, held against the images that a run is to start on from it."""

from typing import Any

from kurabe import bases, data, registry
from kurabe.errors import UserError
from kurabe.recipe import Network, Recipe
from kurabe.records import RunFolder
from kurabe.sizes import Size, setting_of, sides_of, times


def base_for(text: str | None, size: Size | None, channels: int) -> bases.Base | None:
    """The base asked for, or the shipped one that draws such images; None where there is none."""
    if text is None:
        fitting = [b for b in _shipped() if b.channels == channels]
        return next((b for b in fitting if size is None or sides_of(size) == b.image_size), None)
    base = find_base(text)
    check_base(base, size or base.image_size, channels)
    return base


def find_base(text: str) -> bases.Base:
    """A shipped base, a base's folder or a run's; UserError where there is none."""
    run = RunFolder(text)
    if text in bases.available() or not run.exists:
        return bases.find(text)
    recipe = Recipe.from_toml(run.recipe_path)
    shape = run.info.get("image_shape")
    if shape is None:
        raise UserError(f"{text} has no weights yet; the run must finish first.")
    height, width, channels = shape
    info = {
        "network": recipe.network.model_dump(mode="json"),
        "parameters": run.info.get("total_parameters"),
    }
    return bases.Base(text, run.path, (height, width), channels, info)


def network_of(base: bases.Base | None, prompt: str | None = None) -> dict[str, Any]:
    """The base's network, so that training from scratch has the same; else the default.

    prompt: what a base that draws from text is told of all images. UserError where it is missing.
    """
    if prompt is not None and (base is None or not base.asks_for_text):
        raise UserError("--prompt is for a base that draws from text, and this one does not.")
    if base is None:
        return {}
    network = base.info["network"]
    if base.asks_for_text:
        if not (prompt or "").strip():
            raise UserError(
                f"{base.name} draws from text: say what your images show, as in "
                '--prompt "a drawing of a plant".'
            )
        return {**network, "prompt": {**network["prompt"], "text": prompt}}
    if base.is_diffusers:
        return network
    idea = registry.ideas("backbones").get(str(network.get("kind")))
    says_itself = idea is not None and idea.settings is not None
    known = network if says_itself else Network.model_fields
    return {key: value for key, value in network.items() if key in known}


def check_base(base: bases.Base, size: Size, channels: int) -> None:
    """UserError, with what to type instead, where the base draws other images than these.

    A base that knows no places draws rectangles besides its own square.
    """
    sides = sides_of(size)
    oblong = sides[0] != sides[1] and base.granule > 0
    whole = oblong and not any(side % base.granule for side in sides)
    if base.channels == channels and (sides == base.image_size or whole):
        return
    draws = f"{times(base.image_size)} {colour(base.channels)}"
    if oblong:
        draws += f", or rectangles whose sides are multiples of {base.granule}"
    these = colour(channels) if base.channels != channels else times(sides)
    ways = [
        f"--base {b.name}" for b in _shipped() if b.channels == channels and b.name != base.name
    ]
    flag = "" if base.channels == channels else "--grey " if base.channels == 1 else "--colour "
    ways.append(f"{flag}--size {setting_of(base.image_size)}")
    raise UserError(
        f"{base.name} draws {draws}; these images are {these}. Use {', or '.join(ways)}."
    )


def check_reach(base: bases.Base, images: data.ImageSet) -> None:
    """UserError where most images are smaller than what the base draws."""
    sizes = {} if images.report is None else images.report.sizes
    height, width = base.image_size
    smaller = sum(n for (wide, high), n in sizes.items() if wide < width or high < height)
    total = sum(sizes.values())
    if 2 * smaller > total:
        raise UserError(
            f"{base.name} draws {times(base.image_size)}, and {smaller} of {total} images are "
            "smaller than that; use a base that draws smaller images, or "
            f"--size {setting_of(base.image_size)} to enlarge them."
        )


def colour(channels: int) -> str:
    """How images of one or three channels are called in a sentence."""
    return "grey" if channels == 1 else "colour"


def _shipped() -> list[bases.Base]:
    return [bases.find(name) for name in bases.available()]
