"""One image file → a square of the wanted size, as a person would expect to see it.

Turned as its EXIF says; palettes, CMYK and the like to RGB; alpha over white,
p = a·c + (1 − a)·255; the first frame of an animation; the middle square, shrunk by Pillow's
Lanczos filter. Deep greys (16 bits, 32 bits, floating point) stay numbers here, with their peak,
since one scale must serve the whole set: 12-bit scans in 16-bit files would be black otherwise.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

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
FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
PEAK_QUANTILE = 0.999  # what sharpening or a dead pixel leaves must not set a set's scale
TURNED = range(2, 9)
ORIENTATION = 0x0112
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0


class UnreadableError(Exception):
    """A file that cannot be used; the text goes on after the file's name: "is truncated"."""


@dataclass(frozen=True)
class Decoded:
    """pixels: (size, size, 3) uint8, or (size, size) float32 in the file's own numbers where
    peak, the 99.9% quantile of the file's, is not None. treated: what was done, in words."""

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    width: int
    height: int
    mode: str
    treated: tuple[str, ...]
    peak: float | None = None


def decode(content: bytes, size: int) -> Decoded:
    """Decode one file; UnreadableError says what is wrong with it."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _decode(image, size)
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


def _decode(image: Image.Image, size: int) -> Decoded:
    width, height, mode = image.width, image.height, image.mode
    # Pillow turns 8-bit greys of this kind round, but not those of 16 bits.
    negative = mode.startswith("I;16") and _photometric(image) == WHITE_IS_ZERO
    treated = list[str]()
    if getattr(image, "is_animated", False) and image.format != "MPO":
        treated.append("first of several frames")
    if image.format == "JPEG":
        image.draft(mode, (4 * size, 4 * size))
    if image.getexif().get(ORIENTATION, 1) in TURNED:
        treated.append("turned as its EXIF says")
        image = ImageOps.exif_transpose(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side < size:
        treated.append("enlarged")
    peak = None
    if mode in DEEP:
        treated.append("more than 8 bits")
        values = np.asarray(image).astype(np.float32)
        if not np.isfinite(values).all() or values.min() < 0:
            raise UnreadableError("holds negative or infinite values")
        values = 65535 - values if negative else values
        image = Image.fromarray(values)
        peak = float(np.quantile(values, PEAK_QUANTILE, method="lower"))
    else:
        image = _to_rgb(image, treated)
    image = image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3)
    if mode in ("P", "PA"):
        treated.append("palette")
    if mode == "CMYK":
        treated.append("CMYK")
    return Decoded(np.asarray(image), width, height, mode, tuple(treated), peak)


def _photometric(image: Image.Image) -> int | None:
    return image.tag_v2.get(PHOTOMETRIC) if isinstance(image, TiffImageFile) else None


def _to_rgb(image: Image.Image, treated: list[str]) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return layer.convert("RGB")
    treated.append("alpha on white")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def to_uint8(decoded: list[Decoded]) -> NDArray[np.uint8]:
    """All images as (N, size, size, 3); deep ones by one scale, p = 255 v / full scale.

    The full scale is the least of 1, 2⁸ − 1, 2¹⁰ − 1, 2¹² − 1, 2¹⁴ − 1 and 2¹⁶ − 1 that no deep
    image's peak exceeds; beyond these (counts, sums) it is the greatest peak. What lies above
    the full scale becomes white.
    """
    peak = max((d.peak for d in decoded if d.peak is not None), default=0.0)
    full = next((scale for scale in FULL_SCALES if scale >= peak), peak)
    if all(d.mode != "F" for d in decoded if d.peak is not None):
        full = max(full, 255.0)
    size = decoded[0].pixels.shape[0]
    out = np.empty((len(decoded), size, size, 3), dtype=np.uint8)
    for image, target in zip(decoded, out, strict=True):
        if image.peak is None:
            target[...] = image.pixels
        else:
            scaled = np.clip(np.rint(image.pixels * (255 / full)), 0, 255)
            target[...] = scaled.astype(np.uint8)[..., None]
    return out


def _not_an_image(content: bytes) -> str:
    if not content:
        return "is empty"
    if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "is a HEIC file, which is not read here: convert it to JPEG"
    begins = content[:12].decode("latin-1")
    shown = "".join(c if c.isprintable() else "·" for c in begins)
    return f'is not an image (it begins with "{shown}")'
