"""What the shipped bases were trained on: python tools/base_traces.py [NAME ...].

Writes src/kurabe/bases/NAME/trained-on.npz (keys and signatures of the training and validation
images). Bases were trained when splits followed names: the draws of that time are made again
here, and checked by the digest of the data that stands in base.json.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from kurabe import bases, data
from kurabe.data.images import ImageSet
from kurabe.data.traces import FILE, Traces
from kurabe.files import write_json_atomic
from kurabe.randomness import generator


def main(names: list[str]) -> None:
    """Write the traces of each base named, of all where none is."""
    for name in names or bases.available():
        base = bases.find(name)
        settings = base.info["data"]
        images = data.load(settings["source"], size=base.image_size, channels=base.channels)
        digest = digest_by_name(images)
        if digest != base.info["data_digest"]:
            raise SystemExit(f"{name}: the images are others than it was trained on ({digest}).")
        seen = seen_by(images, digest, settings)
        traces = Traces.of(images.subset(seen))
        traces.write(base.path / FILE)
        digest = hashlib.sha256((base.path / FILE).read_bytes()).hexdigest()[:16]
        info = json.loads((base.path / "base.json").read_text(encoding="utf-8"))
        write_json_atomic(base.path / "base.json", info | {"trained_on": digest})
        size = Path(base.path / FILE).stat().st_size
        print(f"{name}: {len(seen):,} of {len(images):,} images, {size:,} bytes, {digest}")


def digest_by_name(images: ImageSet) -> str:
    """The digest of that time: over pixels, names and groups."""
    digest = hashlib.sha256(repr(images.pixels.shape).encode())
    digest.update(np.ascontiguousarray(images.pixels).data)
    digest.update("\0".join(images.ids).encode())
    digest.update(np.ascontiguousarray(images.groups).data)
    return digest.hexdigest()[:16]


def seen_by(images: ImageSet, digest: str, settings: dict) -> np.ndarray:
    """Positions of training and validation images: all but those of the test draw."""
    _, members, sizes = np.unique(images.groups, return_inverse=True, return_counts=True)
    room = max(round(len(images) * settings["fractions"][2]), int(sizes.min()))
    tested = np.zeros(len(sizes), dtype=bool)
    rng = generator(settings["test_seed"], f"test/{digest}")
    for group in rng.permutation(len(sizes)).tolist():
        if sizes[group] <= room:
            tested[group] = True
            room -= int(sizes[group])
            if room == 0:
                break
    return np.flatnonzero(~tested[members])


if __name__ == "__main__":
    main(sys.argv[1:])
