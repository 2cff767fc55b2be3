"""Which backbone draws best after equal seconds? One candidate a process:

    python bench/bakeoff/run.py rates OUT                 images a second of each, in turns
    python bench/bakeoff/run.py CANDIDATE SECONDS OUT     trains and measures one
    python bench/bakeoff/run.py report OUT                results.json, curves.svg, grids, in here

Speeds are measured first, all candidates in turns on an idle machine, and seconds turned into
images by them, so that what else the machine does later does not decide. Same images, order,
noise and times for all; held-out loss in six log-SNR bands on images of other code points; sample
grids from the same starting noise. Data: emoji-base at 32×32, training in bfloat16. Cost:
CANDIDATES × SECONDS on one thread each.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import candidates

from kurabe import data, registry, training
from kurabe.adaptations.full import Full
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
from kurabe.records import RunFolder
from kurabe.records.surroundings import surroundings

for name, kind in {
    "plain": candidates.PlainPatchTransformer,
    "long-skips": candidates.LongSkipTransformer,
    "two-level": candidates.TwoLevelTransformer,
}.items():
    registry.add(registry.Idea("backbones", name, f"candidates:{kind.__name__}"))

HERE = Path(__file__).parent

CANDIDATES = {
    "plain-192x6": Network(kind="plain", refine=0),
    "depthwise-192x6": Network(refine=0),
    "depthwise-256x6": Network(width=256, heads=8, refine=0),
    "depthwise-192x9": Network(depth=9, decoder=2, refine=0),
    "depthwise-128x8": Network(width=128, heads=4, depth=8, refine=0),
    "long-skips-192x6": Network(kind="long-skips", refine=0),
    "refined-192x6": Network(),
    "two-level-192x6": Network(kind="two-level", refine=0),
}


def recipe(network: Network, images: int) -> Recipe:
    """Plain denoising from random weights."""
    return Recipe(
        method="ddpm",
        choices=Choices(start="random", adaptation=Full(), objective=(Denoising(),)),
        data=DataSettings(source="emoji-base", size=32, channels=3),
        budget=Budget(images=images),
        network=network,
        optimiser=Optimiser(lr=1e-3, held_out_share=0.125),
        where=Where(dtype="bfloat16", threads=1),
    )


def measure_rates(out: Path, seconds: float = 10.0) -> None:
    """Images per second, every candidate taking its turn again and again."""
    images = data.load("emoji-base", size=32)
    recipes = {name: recipe(network, 1) for name, network in CANDIDATES.items()}
    measured = training.calibrate(recipes, images, seconds)
    rates = {name: of.rate for name, of in measured.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "rates.json").write_text(json.dumps(rates, indent=1))
    print(json.dumps(rates, indent=1))


def bake(name: str, seconds: float, out: Path) -> None:
    """Train one candidate for as many images as fit into the seconds."""
    images = data.load("emoji-base", size=32)
    split = data.split(images, 0, test_seed=0)
    rate = json.loads((out / "rates.json").read_text())[name]
    settled = recipe(CANDIDATES[name], round(rate * seconds))
    folder = RunFolder(out / name)
    folder.create(settled.to_toml(), {"id": name, "rate": rate, **surroundings()})
    model = training.train(settled, images, split, folder, lambda line: None)
    folder.update(status="finished", parameters=model.parameters_count)
    folder.write_samples(model.sample(range(32), 25), range(32), settled.budget.images or 0)


def report(out: Path) -> None:
    """One line a candidate: speed, images, parameters, held-out loss in all bands."""
    rows = {}
    for name in CANDIDATES:
        folder = RunFolder(out / name)
        if not folder.exists or folder.status != "finished":
            continue
        curve = [line for line in folder.metrics() if "held_out" in line]
        info = folder.info
        rows[name] = {
            "images_per_second": round(info["rate"], 1),
            "images": info["images_seen"],
            "parameters": info["parameters"],
            "held_out": curve[-1]["held_out"],
            "bands": curve[-1]["bands"],
            "curve": [(line["images_seen"] / info["rate"], line["held_out"]) for line in curve],
            "commit": info["commit"],
        }
        print(f"{name:20} {info['rate']:6.1f} img/s  held-out {curve[-1]['held_out']:.4f}")
        shutil.copy(next((out / name / "samples").glob("samples-*.png")), HERE / f"{name}.png")
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "curves.svg").write_text(curves(rows))


def curves(rows: dict[str, Any], width: int = 640, height: int = 360) -> str:
    """Held-out loss over seconds, one line a candidate, as SVG; both axes logarithmic."""
    points = {name: [p for p in row["curve"] if p[0] > 0] for name, row in rows.items()}
    everything = [(math.log(x), math.log(y)) for curve in points.values() for x, y in curve]
    left, right = (f(x for x, _ in everything) for f in (min, max))
    low, high = (f(y for _, y in everything) for f in (min, max))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<text x="10" y="16">held-out loss {math.exp(low):.4f} to {math.exp(high):.4f}, after '
        f"{math.exp(left):.0f} to {math.exp(right):.0f} seconds; both logarithmic</text>",
    ]
    for i, (name, curve) in enumerate(sorted(points.items(), key=lambda item: item[1][-1][1])):
        colour = f"hsl({i * 360 // len(points)} 70% 40%)"
        line = " ".join(
            f"{10 + (width - 180) * (math.log(x) - left) / (right - left):.1f},"
            f"{30 + (height - 50) * (high - math.log(y)) / (high - low):.1f}"
            for x, y in curve
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = f"{name} {curve[-1][1]:.4f}"
        parts.append(f'<text x="{width - 165}" y="{40 + 18 * i}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    if sys.argv[1] == "report":
        report(Path(sys.argv[2]))
    elif sys.argv[1] == "rates":
        measure_rates(Path(sys.argv[2]))
    else:
        bake(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
