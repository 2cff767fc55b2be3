"""What a Python user has as images → the uint8 set that a model's features are taken of.

Arrays (N, H, W, C), one image (H, W, C) or (H, W), PIL images, files, torch tensors (N, C, H, W),
lists of any of these, and image sets. Floating point means values from 0 to 1 everywhere, torch's
too: nothing is guessed from the values. Each image is prepared as files are: its
middle, shrunk by Lanczos, alpha over white, the model's colour. No mathematics.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe import data
from kurabe.data.decoding import ENDINGS, UnreadableError, decode
from kurabe.data.reading import Canvas
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError
from kurabe.sizes import Sides, Size, sides_of

Pixels = NDArray[np.uint8]
WAYS = (
    "give arrays (N, H, W, C) as uint8 or as floats from 0 to 1, torch tensors (N, C, H, W), "
    "PIL images, paths, a list of these, or an image set"
)


def as_pixels(images: Any, size: Size, channels: int) -> Pixels:
    """The images as uint8 (N, H, W, channels); UserError for anything that is none."""
    sides = sides_of(size)
    found = [recoloured(resized(part, sides), channels) for part in _parts(images, sides)]
    if not found:
        raise UserError(f"There is no image to embed; {WAYS}.")
    return np.concatenate(found)


def _parts(images: Any, size: Sides) -> Iterable[Pixels]:
    """Uint8 parts (n, H, W, C) of any colour, of the wanted ratio or square, in order."""
    if isinstance(images, data.ImageSet):
        yield images.pixels
    elif isinstance(images, str | Path):
        yield _read(images, size)
    elif isinstance(images, Image.Image):
        yield _decoded(images, size)
    elif hasattr(images, "detach") and hasattr(images, "permute"):
        array = images.detach().cpu().float().numpy() if images.is_floating_point() else (
            images.detach().cpu().numpy()
        )  # fmt: skip
        if array.ndim not in (3, 4):
            raise UserError(f"A tensor of shape {tuple(array.shape)} is no images; {WAYS}.")
        yield from _array(np.moveaxis(array, -3, -1), size)
    elif isinstance(images, np.ndarray):
        yield from _array(images, size)
    elif isinstance(images, dict | bytes) or not isinstance(images, Iterable):
        raise UserError(f"A {type(images).__name__} is no image; {WAYS}.")
    else:
        for one in images:
            yield from _parts(one, size)


def _array(array: NDArray[Any], size: Sides) -> Iterable[Pixels]:
    """Images of an array: (N, H, W, C), (H, W, C) with C of 1, 3 or 4, (N, H, W) or (H, W)."""
    coloured = array.ndim >= 3 and array.shape[-1] in (1, 3, 4)
    if array.ndim == 2 or (array.ndim == 3 and coloured):
        array = array[None]
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape[1:]:
        raise UserError(f"An array of shape {array.shape} is no images; {WAYS}.")
    pixels = _uint8(array)
    whole = pixels.shape[1] * size[1] == pixels.shape[2] * size[0] and pixels.shape[3] != 4
    if whole:
        yield pixels
    else:
        for one in pixels:
            yield _decoded(Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one), size)


def _uint8(array: NDArray[Any]) -> Pixels:
    """Values as they are stored: bytes stay, floats from 0 to 1 become 255 v, rounded."""
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and low >= 0 and high <= 1):
            raise UserError(
                f"Images as floats have values from 0 to 1, these from {low:g} to {high:g}; of "
                "values from −1 to 1 give (x + 1) / 2, of values from 0 to 255 give x / 255."
            )
        return np.rint(array * 255.0).astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    raise UserError(f"Images of {array.dtype} from {low} to {high} are not 0 to 255; {WAYS}.")


def _decoded(image: Image.Image, size: Sides) -> Pixels:
    """One PIL image prepared as a file is."""
    buffer = io.BytesIO()
    # Without loss, whatever the mode; what PNG has no form for goes as TIFF.
    deep = image.mode in ("F", "I", "CMYK", "LAB", "YCbCr", "HSV")
    image.save(buffer, "TIFF" if deep else "PNG")
    return _from_bytes(buffer.getvalue(), size, "The PIL image")


def _read(source: str | Path, size: Sides) -> Pixels:
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() in ENDINGS:
        return _from_bytes(path.read_bytes(), size, str(path))
    return data.load(str(source), size=size, copies=True).pixels


def _from_bytes(content: bytes, size: Sides, name: str) -> Pixels:
    try:
        canvas = Canvas(size)
        canvas.add(decode(content, size))
        return canvas.pixels()
    except UnreadableError as error:
        raise UserError(f"{name} {error}.") from None
