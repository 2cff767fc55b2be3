"""A study's folder with given scores, for tests of tables: real files, made-up numbers."""

import numpy as np

from kurabe.records import StudyFolder

STUDY = """
name = "scans"
baseline = "{baseline}"
base = "emoji-32"
blocks = {blocks}
workers = 2
[data]
source = "scans"
limit = 300
[budget]
seconds = 60
"""

COLUMNS = {
    "transfer": "transfer-learning-with-diffusion-models",
    "self-supervised": "self-supervised-diffusion-model",
    "scratch": "ddpm",
    "untouched": "base",
}


def study(path, metrics, columns=COLUMNS, *, blocks=5, baseline="scratch", factors=None):
    """metrics: {metric: {column: [value of block 1, 2, …]}}, None for a run without it."""
    folder = StudyFolder(path)
    folder.path.mkdir(parents=True, exist_ok=True)
    text = STUDY.format(baseline=baseline, blocks=blocks)
    for column, method in columns.items():
        factor = (factors or {}).get(column, 1)
        text += f'[[columns]]\nid = "{column}"\nmethod = "{method}"\nbudget_factor = {factor}\n'
    folder.study_path.write_text(text, encoding="utf-8")
    for column, method in columns.items():
        lengths = [len(of.get(column, ())) for of in metrics.values()]
        for block in range(1, max([0, *lengths]) + 1):
            run = folder.run(column, block).create(
                f"seed = {block}\n",
                {"id": f"{column}-{block}", "method": method, "status": "finished",
                 "seconds": 60.0, "block": block},
            )  # fmt: skip
            run.write_scores("scores", scores(metrics, column, block))
    return folder


def scores(metrics, column, block):
    found = {}
    for metric, of in metrics.items():
        values = of.get(column, ())
        if block <= len(values) and values[block - 1] is not None:
            found[metric] = {"value": values[block - 1], "references": references(metric)}
    return {"schema": 1, "checkpoint": "0" * 16, "encoder": "efficientnet-lite0", "metrics": found}


def references(metric):
    if metric == "kid":
        return {"floor": 0.001, "copier": 0.012, "base": 0.152}
    if metric == "feature-distance":
        marks = {"blank": 1.466, "noise": 1.013, "grain": 0.092}
        return {"floor": 0.001, "copier": 0.002, "base": 0.3, **marks}
    if metric == "near-copies":
        return {"held-out": 0.01}
    if metric in ("own-view-recall", "linear-probe", "knn"):
        return {"pixels": 0.62, "pca": 0.60, "random": 0.55, "encoder": 0.93}
    return {}


def around(mean, spread, seed, n=5):
    """n values whose mean and standard deviation are exactly these."""
    noise = np.random.default_rng(seed).normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return (mean + spread * noise).tolist()


def scans(path):
    """The study of journey.md, with its figures."""
    names = list(COLUMNS)

    def row(means, spreads, seed):
        return {
            name: around(mean, spread, seed + i)
            for i, (name, mean, spread) in enumerate(zip(names, means, spreads, strict=True))
        }

    folder = study(
        path,
        {
            "kid": row((0.021, 0.094, 0.101, 0.152), (0.003, 0.009, 0.007, 0.001), 1),
            "precision": row((0.62, 0.41, 0.40, 0.21), (0.04, 0.05, 0.05, 0.01), 10),
            "recall": row((0.41, 0.22, 0.20, 0.05), (0.04, 0.05, 0.04, 0.01), 20),
            "held-out-loss": row((0.1412, 0.1733, 0.1741, 0.2313), (0.001,) * 4, 30),
            "near-copies": row((0.01, 0.005, 0.0, 0.01), (0.004, 0.003, 0.0, 0.003), 40),
            "own-view-recall": row((0.81, 0.84, 0.73, 0.75), (0.015, 0.01, 0.015, 0.005), 50),
            "seconds": {name: around(60.3, 0.4, 60 + i) for i, name in enumerate(names[:3])},
            "total-parameters": {name: [4_103_552] * 5 for name in names},
            "stored-bytes": dict.fromkeys(names[:3], [16_500_000] * 5),
        },
    )
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32] - 15.5
    for column, blur in zip(names, (0.1, 0.6, 0.7, 0.3), strict=True):
        tiles = []
        for seed in range(16):
            noise = np.random.default_rng(seed)
            centre, radius = noise.uniform(-5, 5, 2), noise.uniform(6, 13)
            inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
            colour = noise.uniform(40, 230, 3)
            picture = np.where(inside, colour, 250) * (1 - blur)
            picture += blur * rng.uniform(0, 255, (32, 32, 3))
            tiles.append(picture.clip(0, 255))
        run = folder.run(column, 1)
        run.write_samples(np.array(tiles, np.uint8), range(16), 12_800)
        run.write_samples(np.array(tiles[::-1], np.uint8), range(16), 12_800, kind="nearest")
    return folder
