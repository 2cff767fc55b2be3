"""A folder of images that a model elsewhere drew: what is in it, by headers alone, and its pixels.

Nothing is guessed and nothing is enlarged: images of several sizes, or smaller than those that they
are compared with, are refused in a sentence. No torch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe import data
from kurabe.data.decoding import ENDINGS
from kurabe.errors import UserError, shown
from kurabe.outside.prompts import Asked, asked_of
from kurabe.sizes import Sides, setting_of, times

# A folder that holds so large a share of the study's own images is taken for those.
OWN = 0.9


@dataclass(frozen=True)
class Drawn:
    """A folder's images: names in rising order, (height, width) of all, what each was drawn for
    where that is known of all."""

    path: Path
    names: tuple[str, ...]
    size: Sides
    asked: tuple[Asked, ...] | None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def order(self) -> NDArray[np.int64]:
        """The images in the order in which columns are paired: by prompt and seed, else by name."""
        if self.asked is None:
            return np.arange(len(self))
        ranks = sorted(range(len(self)), key=lambda i: (self.asked or ())[i])
        return np.array(ranks, np.int64)


def look(place: str) -> Drawn:
    """What lies in a folder; UserError where that is no images of one size."""
    path = Path(place)
    if not path.is_dir():
        raise UserError(f"{shown(place)} is not a folder of images.")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    if not files:
        raise UserError(f"{shown(place)} holds no images.")
    size: Sides | None = None
    notes: list[dict[str, str]] = []
    for file in files:
        try:
            with Image.open(file) as image:
                own = image.height, image.width
                notes.append({str(k): v for k, v in image.info.items() if isinstance(v, str)})
        except (OSError, ValueError, SyntaxError):
            raise UserError(f"{file} is not an image that can be read; take it away.") from None
        if size is not None and own != size:
            raise UserError(
                f"{file} has {times(own)} pixels and {files[0].name} {times(size)}; give "
                f"folders whose images have one size (without grids of them)."
            )
        size = own
    assert size is not None
    names = tuple(file.relative_to(path).as_posix() for file in files)
    return Drawn(path, names, size, asked_of(path, names, notes))


def check_size(drawn: Drawn, sides: Sides) -> None:
    """UserError where the images would have to be enlarged, or cut, to be compared."""
    height, width = drawn.size
    if height < sides[0] or width < sides[1]:
        raise UserError(
            f"{drawn.path} holds images of {times(drawn.size)}, and the study compares "
            f"{times(sides)}; --size {setting_of(drawn.size)} compares at the smaller size."
        )
    if height * sides[1] != width * sides[0]:
        raise UserError(
            f"{drawn.path} holds images of {times(drawn.size)}, and the study compares "
            f"{times(sides)}, of another shape; give a --size of the same shape."
        )


def pixels_of(drawn: Drawn, sides: Sides, channels: int) -> data.ImageSet:
    """The images, copies too, in the order of `names`, shrunk as the study's own are."""
    images = data.load(str(drawn.path), size=sides, channels=channels, copies=True)
    if len(images) != len(drawn):
        raise UserError(
            f"{drawn.path}: {len(images)} of {len(drawn)} images can be read; "
            "kurabe data check lists the others."
        )
    place = {name: i for i, name in enumerate(images.ids)}
    return images.subset([place[name] for name in drawn.names])


def check_not_own(drawn: data.ImageSet, path: Path, images: data.ImageSet) -> None:
    """UserError where the folder is the study's own images, bit for bit."""
    share = float(np.isin(drawn.keys, images.keys).mean())
    if share >= OWN:
        raise UserError(
            f"{path} holds the images that the study compares with, not what a model drew "
            f"({100 * share:.0f} % of them are the same, pixel for pixel)."
        )
