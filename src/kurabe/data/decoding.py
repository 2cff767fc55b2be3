"""One image file → an image of the wanted size, as a person would expect to see it.

Turned as its EXIF says; palettes, CMYK and the like to RGB; colours of another profile to sRGB
(`kurabe.data.colours`); alpha over white, p = a·c + (1 − a)·255; the first frame of an animation;
the middle of the wanted ratio, shrunk by Pillow's Lanczos filter. Deep greys (16 bits, 32 bits,
floating point) stay numbers here, with what is brightest in them, since one scale must serve the
whole set (`kurabe.data.scales`): 12-bit scans in 16-bit files would be black otherwise.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from kurabe.data.colours import to_srgb
from kurabe.data.scales import Deep, brightest
from kurabe.sizes import Sides, Size, sides_of

FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "TGA", "PCX",
    "JPEG2000", "AVIF", "QOI", "SGI",
)  # fmt: skip
ENDINGS = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".tga", ".pcx", ".jp2", ".j2k",
    ".avif", ".qoi", ".sgi", ".heic", ".heif",
}  # fmt: skip
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
# The share of pixels that may have no value (NaN, infinite) or one below 0 and are made black:
# what sharpening or a dead pixel leaves. An image with more of them means something else by them.
ODD = 0.01
TURNED = range(2, 9)
ORIENTATION = 0x0112
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
SAMPLE_FORMAT, UNSIGNED = 339, (1,)


SIDEWAYS = range(5, 9)

Fit: TypeAlias = Callable[[Sides], Sides]
"""The size that an image is to have, of the height and width that it is seen in."""


class UnreadableError(Exception):
    """A file that cannot be used; the text goes on after the file's name: "is truncated"."""


@dataclass(frozen=True)
class Decoded:
    """pixels: (H, W, 3) uint8, or (H, W) float32 in the file's own numbers where `deep`, what is
    brightest in it, is not None. treated: what was done, in words. share: of the file's area,
    what the crop keeps."""

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    width: int
    height: int
    mode: str
    treated: tuple[str, ...]
    deep: Deep | None = None
    share: float = 1.0


def decode(content: bytes, size: Size | Fit) -> Decoded:
    """Decode one file; UnreadableError says what is wrong with it.

    size: of the result, pixels a side or (height, width), or what says it for each image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _decode(image, size if callable(size) else sides_of(size))
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError(_not_an_image(content)) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UnreadableError(f"has more than {most:,} pixels, too many to open") from None
    except MemoryError:
        raise UnreadableError("needs more memory than there is") from None
    except Exception as error:
        # Damaged files make Pillow's readers raise nearly anything.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UnreadableError(f"is damaged or truncated ({reason})") from None


def _decode(image: Image.Image, size: Sides | Fit) -> Decoded:
    width, height, mode = image.width, image.height, image.mode
    turned = image.getexif().get(ORIENTATION, 1)
    seen = (width, height) if turned in SIDEWAYS else (height, width)
    sides = size(seen) if callable(size) else size
    negative = _photometric(image) == WHITE_IS_ZERO
    unsigned = mode == "I" and _is_unsigned(image)
    profile: bytes = image.info.get("icc_profile") or b""
    treated = list[str]()
    if getattr(image, "is_animated", False) and image.format != "MPO":
        treated.append("first of several frames")
    if image.format == "JPEG":
        image.draft(mode, (4 * max(sides), 4 * max(sides)))
    if turned in TURNED:
        treated.append("turned as its EXIF says")
        image = ImageOps.exif_transpose(image)
    image, share = _cropped(image, sides)
    if image.height < sides[0] or image.width < sides[1]:
        treated.append("enlarged")
    deep = None
    if mode in DEEP:
        treated.append("more than 8 bits")
        given = np.asarray(image)
        # Pillow has no mode for 32 bits without a sign: beyond 2³¹ its values come out below 0.
        given = given.view(np.uint32) if unsigned and given.dtype == np.int32 else given
        values = _usable(given.astype(np.float32), treated)
        # Pillow turns 8-bit greys of this kind round, but no deep ones. Beyond 16 bits the value
        # that is black is known with the set's scale only.
        wide = mode in ("F", "I")
        if negative and not wide:
            values = 65535 - values
        deep = Deep(mode == "F", negative and wide, *brightest(values))
        image = Image.fromarray(values)
    else:
        image = _to_rgb(image, profile, treated)
    image = image.resize((sides[1], sides[0]), Image.Resampling.LANCZOS, reducing_gap=3)
    if mode in ("P", "PA"):
        treated.append("palette")
    if mode == "CMYK":
        treated.append("CMYK")
    return Decoded(np.asarray(image), width, height, mode, tuple(treated), deep, share)


def _cropped(image: Image.Image, sides: Sides) -> tuple[Image.Image, float]:
    """The largest part from the middle that has the ratio of these sides, and its share."""
    tall, wide = image.height * sides[1], image.width * sides[0]
    least = min(tall, wide)
    width, height = max(round(least / sides[0]), 1), max(round(least / sides[1]), 1)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)), least / max(tall, wide)


def _usable(values: NDArray[np.float32], treated: list[str]) -> NDArray[np.float32]:
    """The values with the few made 0 that are none or below 0; UnreadableError for many."""
    none, below = ~np.isfinite(values), values < 0
    few = max(math.ceil(ODD * values.size), 1)
    for odd, said in ((none, "no finite number (NaN, infinite)"), (below & ~none, "below 0")):
        count = int(odd.sum())
        if count > few or count == values.size:
            raise UnreadableError(
                f"has {count:,} of {values.size:,} pixels that are {said}; "
                "store it as values from 0"
            )
        if count:
            treated.append(f"a few pixels {said} made black")
    return np.where(none | below, np.float32(0), values)


def _photometric(image: Image.Image) -> int | None:
    return image.tag_v2.get(PHOTOMETRIC) if isinstance(image, TiffImageFile) else None


def _is_unsigned(image: Image.Image) -> bool:
    """Whether a TIFF says that its numbers have no sign, or says nothing, which means the same."""
    if not isinstance(image, TiffImageFile):
        return False
    said: Any = image.tag_v2.get(SAMPLE_FORMAT, UNSIGNED)
    return said in (1, UNSIGNED)


def _to_rgb(image: Image.Image, profile: bytes, treated: list[str]) -> Image.Image:
    if not image.has_transparency_data:
        return to_srgb(image, profile, treated)
    layer = image.convert("RGBA")
    colours = to_srgb(image if image.mode == "LA" else layer, profile, treated)
    if layer.getchannel("A").getextrema() == (255, 255):
        return colours
    treated.append("alpha on white")
    colours.putalpha(layer.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), colours).convert("RGB")


def _not_an_image(content: bytes) -> str:
    if not content:
        return "is empty"
    if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "is a HEIC file, which is not read here: convert it to JPEG"
    begins = content[:12].decode("latin-1")
    shown = "".join(c if c.isprintable() else "·" for c in begins)
    return f'is not an image (it begins with "{shown}")'
