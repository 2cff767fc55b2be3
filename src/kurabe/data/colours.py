"""Colours as a viewer shows them: those of a file's ICC profile converted to sRGB.

By LittleCMS through Pillow's ImageCms, perceptual intent. A profile that is broken or of another
kind than the image leaves the colours as they are stored, and the report says so.
"""

import io
from typing import Any, cast

from PIL import Image, ImageCms

CONVERTED = "colour profile converted to sRGB"
BROKEN = "colour profile that cannot be used, colours as stored"
# ICC.1, 7.2.6: what a profile's numbers mean → the mode that Pillow hands over.
SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_cms = cast(Any, ImageCms)


def to_srgb(image: Image.Image, profile: bytes, treated: list[str]) -> Image.Image:
    """The image as RGB; alpha, where it has one, is left off. treated: gets what was done."""
    if not profile:
        return image.convert("RGB")
    try:
        source = _cms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in (source.profile.profile_description or "").lower():
            return image.convert("RGB")
        mode = SPACES[source.profile.xcolor_space.strip()]
        # A profile of grey says nothing of colours, nor one of inks of RGB.
        grey = image.mode in ("1", "L", "LA")
        if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and not grey):
            raise ValueError(mode)
        wanted = _cms.createProfile("sRGB")
        converted = _cms.profileToProfile(image.convert(mode), source, wanted, outputMode="RGB")
        # What is grey stays so, to the last bit, whatever the conversion rounds to.
        converted = converted.convert("L").convert("RGB") if grey else converted
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
        converted = None
    treated.append(BROKEN if converted is None else CONVERTED)
    return image.convert("RGB") if converted is None else converted
