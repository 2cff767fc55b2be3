"""Measuring what was made elsewhere: the rows of our own columns, as far as no model is needed.

Each block of a column becomes a run's folder with recipe.toml (what was measured, against what),
run.json and scores, so that tables, pages and exports read it like any other run. What a block was
measured on is known by content and never measured twice; each opening of the test images stands in
the ledger, under the digest of the images or features.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from kurabe import data
from kurabe.errors import UserError
from kurabe.outside.drawn import checkpoint_model, draw, drawn_pixels, look_at_drawn, seconds_of
from kurabe.outside.features import feature_rows, read_features
from kurabe.outside.folders import Drawn, check_not_own, check_size, look, pixels_of
from kurabe.outside_settings import GROUPS, OutsideColumn
from kurabe.recipe import DataSettings
from kurabe.records import Ledger, RunFolder, Scores, StudyFolder
from kurabe.records.run import now
from kurabe.records.surroundings import surroundings
from kurabe.runs.images import known_by, split_images
from kurabe.study_settings import StudySettings

# Tiles of the grid that stays with the record.
SHOWN = 32

Told = Callable[[str, int], object]


@dataclass(frozen=True)
class Block:
    """One value of every row of a column: a folder's images, or a group of them.

    rows: which of the folder's images, in the order of their names. checkpoint: what drew them,
    where that was done here.
    """

    column: OutsideColumn
    number: int
    drawn: Drawn | None
    rows: np.ndarray
    features: str | None = None
    checkpoint: str | None = None

    @property
    def places(self) -> dict[str, str]:
        """What is measured, by kind."""
        samples = self.drawn and str(self.drawn.path)
        of = {"checkpoint": self.checkpoint, "samples": samples, "features": self.features}
        return {kind: place for kind, place in of.items() if place}


def blocks_of(study: StudySettings, made: Mapping[str, tuple[str, ...]]) -> list[Block]:
    """Every block of every outside column, looked at by headers alone.

    made: the folders of images that checkpoints drew, by column; those of other checkpoints are
    left out. UserError where folders differ in number, or prompts do not pair.
    """
    folders = {
        column.id: [look(place) for place in column.samples]
        or [look_at_drawn(place) for place in made.get(column.id, ())]
        for column in study.outside
    }
    _check_alike([drawn for of in folders.values() for drawn in of], study.evaluation.samples)
    found: list[Block] = []
    for column in study.outside:
        if column.checkpoint and not folders[column.id]:
            continue
        if study.question == "checkpoints":
            found += _groups(column, folders[column.id], study.evaluation.samples)
            continue
        for k in range(min(column.places, len(study.all_blocks))):
            drawn = folders[column.id][k] if folders[column.id] else None
            rows = np.empty(0, np.int64) if drawn is None else drawn.order
            rows = rows[: study.evaluation.samples]
            features = column.features[k] if column.features else None
            checkpoint = column.checkpoint[k] if column.checkpoint else None
            found.append(Block(column, k + 1, drawn, rows, features, checkpoint))
    return found


def _groups(column: OutsideColumn, folders: list[Drawn], count: int) -> list[Block]:
    """The images of one checkpoint, dealt into groups; all images of a prompt into one of them."""
    if not folders:
        raise UserError(
            f"the column '{column.id}' has no samples, and whether checkpoints differ is asked of "
            "the images that they drew."
        )
    drawn = folders[0]
    order, asked = drawn.order[:count], drawn.asked
    prompts = None if asked is None else [asked[i][0] for i in order]
    if prompts is None or len(set(prompts)) < GROUPS:
        places = np.arange(len(order))
    else:
        rank = {prompt: k for k, prompt in enumerate(dict.fromkeys(prompts))}
        places = np.array([rank[prompt] for prompt in prompts])
    groups = [np.asarray(order[places % GROUPS == k]) for k in range(GROUPS)]
    if min(map(len, groups)) < 2:
        raise UserError(
            f"{drawn.path}: {len(order)} images; whether checkpoints differ takes "
            f"{2 * GROUPS} of each at least."
        )
    drew = column.checkpoint[0] if column.checkpoint else None
    return [Block(column, k + 1, drawn, rows, None, drew) for k, rows in enumerate(groups)]


def _check_alike(folders: list[Drawn], wanted: int) -> None:
    """UserError where distances would be of different numbers of images, or of other prompts."""
    for drawn in folders:
        if len(drawn) < wanted:
            raise UserError(
                f"{drawn.path} holds {len(drawn)} images and {wanted} are compared of every "
                f"folder, since distances depend on the number; draw more, or set "
                f"evaluation.samples = {min(map(len, folders))} in study.toml."
            )
    known = [drawn for drawn in folders if drawn.asked is not None]
    for drawn in known[1:]:
        first, other = (set(of.asked or ()) for of in (known[0], drawn))
        if {prompt for prompt, _ in first} != {prompt for prompt, _ in other}:
            lone = next(iter({p for p, _ in first} ^ {p for p, _ in other}))
            raise UserError(
                f"{drawn.path} and {known[0].path} were drawn for different prompts: "
                f"'{lone[:60]}' is in one alone; draw the same prompts for every column."
            )


def measure(
    study: StudySettings,
    tested: DataSettings,
    images: data.ImageSet,
    folder: StudyFolder,
    told: Told = lambda column, block: None,
    drew: Told = lambda column, block: None,
) -> None:
    """Measure every block that is not measured yet; `told` of each column and block done.

    tested: the study's data with what is not tested. drew: told of each block that a checkpoint
    drew. One folder's images are in memory at a time. UserError where a folder is not what it must
    be, or is no more what it was when it was measured.
    """
    seen: dict[str, str] = {}
    made = draw(study, images.channels, folder, drew)
    for block, pixels in _with_pixels(blocks_of(study, made), images):
        run = folder.run(block.column.id, block.number)
        digest = _digest(block, pixels)
        here = f"{block.column.id}, block {block.number}"
        if (other := seen.setdefault(digest, here)) != here:
            raise UserError(f"{other} and {here} are the same files; give each column its own.")
        if run.exists and run.status == "finished":
            if run.info.get("outside_digest") != digest:
                raise UserError(
                    f"{' and '.join(block.places.values())} held something else when it was "
                    f"measured as {here}; put it back, or begin anew with --out."
                )
            continue
        seed = study.first_seed + (0 if study.question == "checkpoints" else block.number - 1)
        split = split_images(images, tested, seed)
        _begin(study, images, split, block, run, seed, digest)
        scores = _scores(study, images, split, (block, pixels), run, seed)
        _name_copies(scores, block)
        run.write_scores("scores", scores)
        run.update(status="finished", finished=now())
        told(block.column.id, block.number)


def _with_pixels(
    blocks: list[Block], images: data.ImageSet
) -> Iterator[tuple[Block, np.ndarray | None]]:
    """Each block with its images; a folder of several blocks is read once."""
    last: tuple[Path, np.ndarray] | None = None
    for block in blocks:
        if block.drawn is None:
            yield block, None
            continue
        if last is None or last[0] != block.drawn.path:
            last = None
            last = block.drawn.path, _read(block, block.drawn, images)
        yield block, last[1][block.rows]


def _read(block: Block, drawn: Drawn, images: data.ImageSet) -> np.ndarray:
    """A folder's images as they are compared, uint8 (N, H, W, C)."""
    if block.checkpoint is not None:
        return drawn_pixels(drawn.path, drawn.names)
    check_size(drawn, images.size)
    found = pixels_of(drawn, images.size, images.channels)
    check_not_own(found, drawn.path, images)
    return found.pixels


def _digest(block: Block, pixels: np.ndarray | None) -> str:
    """Sixteen hex digits over what is measured."""
    digest = hashlib.sha256()
    if pixels is not None:
        digest.update(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
    if block.features is not None:
        digest.update(Path(block.features).read_bytes())
    return digest.hexdigest()[:16]


def _begin(
    study: StudySettings,
    images: data.ImageSet,
    split: data.Split,
    block: Block,
    run: RunFolder,
    seed: int,
    digest: str,
) -> None:
    """The block's folder, as a run that is yet to be measured."""
    if not run.exists:
        run.create(_recipe(study, block, seed), {"id": f"{digest}-{block.number}"})
    run.update(
        method=block.column.method,
        study=study.name,
        column=block.column.id,
        block=block.number,
        seed=seed,
        outside_digest=digest,
        training_images=len(split.train),
        test_images=len(split.test),
        started=now(),
        **known_by(images),
        **surroundings(),
    )


def _scores(
    study: StudySettings,
    images: data.ImageSet,
    split: data.Split,
    given: tuple[Block, np.ndarray | None],
    run: RunFolder,
    seed: int,
) -> Scores:
    """The scores of a block; the opening of the test images is recorded first."""
    from kurabe.encoders import load_encoder
    from kurabe.evaluation.evaluate import SCHEMA, finite

    block, pixels = given
    vectors = None if block.features is None else read_features(block.features, images)
    digest = str(run.info.get("outside_digest"))
    Ledger(run.path / "test-openings.jsonl").open(digest, images.digest)
    # A group of images is measured as images: what the model does otherwise has no groups.
    if block.checkpoint is not None and pixels is not None and study.question == "methods":
        return _checkpoint_scores(study, images, split, (block, pixels), run, seed)
    encoder = load_encoder(
        study.evaluation.encoder, size=images.size, channels=images.channels, device="cpu"
    )
    rows: dict[str, Any] = {}
    if pixels is not None:
        rows |= _image_rows(study, images, split, pixels, encoder)
        _write_grids(run, pixels, images, rows)
    if vectors is not None:
        rows |= feature_rows(vectors, images, split, study.evaluation, encoder, seed)
    return {
        "schema": SCHEMA,
        "checkpoint": digest,
        "encoder": encoder.name,
        "metrics": finite(rows),
    }


def _checkpoint_scores(
    study: StudySettings,
    images: data.ImageSet,
    split: data.Split,
    given: tuple[Block, np.ndarray],
    run: RunFolder,
    seed: int,
) -> Scores:
    """The scores of a checkpoint at hand: the rows of our own columns, of its features too."""
    from kurabe.evaluation import evaluate
    from kurabe.evaluation.samples import Samples, sample_seeds

    block, pixels = given
    assert block.checkpoint is not None and block.drawn is not None
    model = checkpoint_model(block.column, block.checkpoint, study)
    took = seconds_of(block.drawn.path)
    samples = Samples(pixels, sample_seeds(seed, len(pixels)), took)
    scores = evaluate(model, images, split, study.evaluation, seed=seed, samples=samples)
    _write_grids(run, pixels, images, scores.get("metrics", {}))
    return scores


def _name_copies(scores: Scores, block: Block) -> None:
    """Beside each sample that is near a training image its own file's name."""
    detail = scores.get("metrics", {}).get("near-copies", {}).get("detail") or {}
    for pair in detail.get("pairs", ()):
        assert block.drawn is not None
        pair["file"] = block.drawn.names[block.rows[pair["sample"]]]


def _image_rows(
    study: StudySettings,
    images: data.ImageSet,
    split: data.Split,
    pixels: np.ndarray,
    encoder: Any,
) -> Mapping[str, Any]:
    from kurabe.evaluation.image_rows import generation_rows, memorisation_rows

    rows = generation_rows(pixels, images, split, study.evaluation, encoder, None)
    return rows | memorisation_rows(pixels, images, split)


def _write_grids(
    run: RunFolder, pixels: np.ndarray, images: data.ImageSet, rows: Mapping[str, Any]
) -> None:
    """The first images, near-copies before others, and beside each the nearest training image."""
    detail = rows["near-copies"]["detail"]
    copies = [pair["sample"] for pair in detail.get("pairs", ())][: SHOWN // 2]
    order = list(dict.fromkeys([*copies, *range(len(pixels))]))[:SHOWN]
    run.write_samples(pixels[order], order, 0)
    if "nearest" in detail:
        nearest = np.array(detail["nearest"])[order]
        run.write_samples(images.pixels[nearest], order, 0, "nearest")


def _recipe(study: StudySettings, block: Block, seed: int) -> str:
    """What was measured and against what, as the record keeps it."""
    settings = {
        "outside": block.places | {"column": block.column.id, "block": block.number},
        "data": study.data.model_dump(mode="json", exclude_none=True),
        "evaluation": study.evaluation.model_dump(mode="json", exclude_none=True),
        "seed": seed,
        "question": study.question,
    }
    return tomli_w.dumps(settings)
