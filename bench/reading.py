"""What memory the first read of many images takes: python bench/reading.py [SMALL [LARGE]].

Two sources, each read in a process of its own: a Parquet file of SMALL images of 32×32 (a million
where none is given), and a folder of LARGE images of 1024×1024 (2,000). The memory is VmHWM, the
most that was ever resident, what was mapped from files included; Linux counts it. Near-duplicates
are looked for among all pairs, so that the time of a million grows with their square.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from kurabe.data import load

SMALL, LARGE = 1_000_000, 2_000
ROWS = 1_000


def drawing(rng: np.random.Generator, size: int, kind: str) -> bytes:
    """A tinted picture of 32×32 random greys, enlarged, as a file's bytes; few look alike."""
    shades = rng.random((32, 32, 1)) * rng.integers(128, 256, 3)
    file = io.BytesIO()
    image = Image.fromarray(shades.astype(np.uint8))
    image.resize((size, size), Image.Resampling.BILINEAR).save(file, kind)
    return file.getvalue()


def small(place: Path, count: int) -> Path:
    """A Parquet file of PNG images of 32×32 with labels."""
    import pyarrow as pa
    from pyarrow import parquet

    path, rng = place / "small.parquet", np.random.default_rng(0)
    schema = pa.schema([("image", pa.binary()), ("label", pa.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        for at in range(0, count, ROWS):
            rows = range(at, min(at + ROWS, count))
            columns = [[drawing(rng, 32, "PNG") for _ in rows], [str(k % 10) for k in rows]]
            arrays = [pa.array(columns[0], pa.binary()), pa.array(columns[1])]
            writer.write_table(pa.table(arrays, schema=schema))
    return path


def large(place: Path, count: int) -> Path:
    """A folder of JPEG images of 1024×1024."""
    path, rng = place / "large", np.random.default_rng(0)
    path.mkdir()
    for k in range(count):
        (path / f"{k:06d}.jpg").write_bytes(drawing(rng, 1024, "JPEG"))
    return path


def resident() -> int:
    """The most bytes that this process ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def read(path: Path, size: int) -> str:
    """Read a source for the first time; what it took, in words."""
    before, began = resident(), time.perf_counter()
    images = load(str(path), size=size)
    took = time.perf_counter() - began
    pixels = f"{images.pixels.nbytes / 2**30:.2f} GiB of pixels"
    return (
        f"{len(images):,} images of {size}×{size}, {pixels}: {resident() / 2**30:.2f} GiB "
        f"({before / 2**30:.2f} of them the program), {took:,.0f} s"
    )


def main() -> int:
    """Both sources, or one in a process of its own."""
    if sys.argv[1:2] == ["read"]:
        print(read(Path(sys.argv[2]), int(sys.argv[3])), flush=True)
        return 0
    counts = [int(text) for text in sys.argv[1:]] + [SMALL, LARGE][len(sys.argv) - 1 :]
    for make, count, size in ((small, counts[0], 32), (large, counts[1], 1024)):
        with tempfile.TemporaryDirectory() as place:
            path = make(Path(place), count)
            given = os.environ | {"KURABE_CACHE": str(Path(place) / "cache")}
            command = [sys.executable, __file__, "read", str(path), str(size)]
            subprocess.run(command, env=given, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
