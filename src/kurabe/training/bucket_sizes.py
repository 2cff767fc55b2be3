"""The sizes that a run trains on beside that of its images, and a network that is to take them.

No mathematics of its own; the sizes are those of `kurabe.sizes`.
"""

from kurabe.backbones import Backbone
from kurabe.bases.network import Described
from kurabe.errors import UserError
from kurabe.recipe import Recipe
from kurabe.sizes import Sides, Size, bucket_sides, times


def bucket_sizes(recipe: Recipe, network: Described, image_size: Size) -> tuple[Sides, ...]:
    """Height and width of each bucket, in the order of the recipe's ratios; () where it has none.

    UserError where the network takes images of one size alone, or two sizes are the same.
    """
    aspects = recipe.data.aspects
    if aspects is None or not recipe.choices.trains:
        return ()
    if not network.granule:
        raise _of_one_size(f"it knows the places of {times(image_size)} alone")
    try:
        return bucket_sides(image_size, aspects, network.granule)
    except ValueError as error:
        raise UserError(f"data.aspects: {error}.") from None


def take_sizes(backbone: Backbone, recipe: Recipe, network: Described, image_size: Size) -> None:
    """From now on the network takes the sizes of a recipe's buckets; UserError where it cannot."""
    sizes = bucket_sizes(recipe, network, image_size)
    try:
        if sizes:
            backbone.take_sizes(sizes, trained=recipe.choices.start == "base")
    except ValueError as error:
        raise _of_one_size(str(error)) from None


def _of_one_size(why: str) -> UserError:
    return UserError(
        f"data.aspects asks for images of several sizes, which this network does not take: {why}; "
        "leave it out, or take a U-Net of diffusers or a method that starts from random weights."
    )
