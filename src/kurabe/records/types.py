"""What run.json and scores/*.json hold, as types: the one place that names their fields.

Every field may be missing: what a run has not come to yet, and what an earlier version did not
write. `kurabe.records.checked` holds what is read to them.
"""

from typing import Any, TypedDict


class Hardware(TypedDict, total=False):
    """What a run took place on; device: "cpu", or a GPU's name."""

    processor: str
    cores: int
    system: str
    python: str
    device: str
    threads: int


class Info(TypedDict, total=False):
    """run.json; None stands for "not known".

    Times are UTC, ISO 8601. base_commit: at which a shipped base was trained. trial: the learning
    rate that a trial tries. calibrated: images per second. budget_asked: as it was given.
    images_known_by: by which rule data_digest is made. beside_seconds: what a run took besides
    training. Of what is done before the first update prepared_passes of a network,
    prepared_seconds (part of seconds), and prepared_images, its price in images of training.
    stored_bytes, peak_memory: bytes. image_shape: height, width, channels. classes, buckets:
    training images of each, these by "WIDTHxHEIGHT"; buckets_digest: of all of them. path: where
    an index found the run. encoder: what its scores were measured with; where a table reads it.
    outside_digest: of the images or features of a column that was made elsewhere.
    """

    schema: int
    id: str | None
    method: str | None
    study: str | None
    column: str | None
    block: int | None
    trial: float
    added: bool
    base: str | None
    base_commit: str | None
    seed: int | None
    status: str
    error: str | None
    started: str | None
    finished: str | None
    version: str | None
    commit: str | None
    libraries: dict[str, str] | None
    hardware: Hardware | None
    data_digest: str | None
    labels_digest: str | None
    captions_digest: str | None
    images_known_by: str
    training_images: int | None
    test_images: int
    test_images_left_out: int
    image_shape: list[int] | None
    classes: dict[str, int]
    buckets: dict[str, int]
    buckets_digest: str
    budget_images: int | None
    budget_asked: dict[str, float]
    calibrated: float | None
    images_seen: int | None
    seconds: float | None
    beside_seconds: float | None
    prepared_passes: int | None
    prepared_images: int | None
    prepared_seconds: float | None
    flops_per_image: float
    best_at: int
    stopped: str
    trainable: int
    trainable_parameters: int | None
    total_parameters: int | None
    stored_bytes: int | None
    peak_memory: int | None
    path: str
    outside_digest: str
    encoder: str | None


class Score(TypedDict, total=False):
    """One measured row.

    n: of how many images. references: the same measure of what a row is held against, by name.
    detail: what else is known of it, as each row's own module says.
    """

    value: float | None
    n: int
    references: dict[str, float | None] | None
    detail: dict[str, Any] | None


class Scores(TypedDict, total=False):
    """scores/*.json; checkpoint: the digest of the weights. encoder: its identity."""

    schema: int
    checkpoint: str
    encoder: str
    metrics: dict[str, Score]
