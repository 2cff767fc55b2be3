"""The recipe of one run: everything that decides its result, frozen, in one TOML file.

The digest leaves out the seed and where the run takes place, so that the runs of one recipe can
be found together. The module knows no torch: records and tables read recipes without it.
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, cast

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from typing_extensions import override

from kurabe import registry
from kurabe.bases.diffusers_network import DiffusersNetwork
from kurabe.bases.network import Described
from kurabe.errors import UserError, plainly, refusal
from kurabe.methods.choices import Choices
from kurabe.methods.settings import Later
from kurabe.sizes import aspects_of, setting_of

# Of a value that is wrong, so many characters are shown.
_LONGEST_SHOWN = 60


def _size(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return setting_of("")
    return setting_of(value)


def _aspects(value: object) -> tuple[str, ...] | None:
    return None if value is None else aspects_of(value)


Share = Annotated[float, Field(ge=0, le=1)]
# A billion is beyond every machine, and no count of anything here.
Positive = Annotated[int, Field(gt=0, le=10**9)]


def a_device(name: str) -> str:
    """The name, which is that of a device; ValueError where it is that of none."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name):
        raise ValueError("there is cpu, cuda, cuda:1 and mps")
    return name


class Settings(BaseModel):
    """A frozen group of settings; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Later, Settings):
    """Which images, how large, and which of them are test; fractions: train, validation, test.

    size: pixels a side, or "WIDTHxHEIGHT".
    aspects: ratios "W:H" in which images are trained on, each in the nearest, of about the area
    that `size` has; all else, what is measured above all, is of `size`.
    unseen_by: a base or a run, or several; images that one was trained on, and near-copies of
    them, are never tested. A study writes its bases here, for all its columns.
    """

    later = ("aspects",)

    source: str
    size: Annotated[int | str, BeforeValidator(_size)] | None = None
    aspects: Annotated[tuple[str, ...] | None, BeforeValidator(_aspects)] = None
    channels: Literal[1, 3] | None = None
    limit: Positive | None = None
    labels: str | None = None
    test_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    unseen_by: str | tuple[str, ...] | None = None


class Budget(Settings):
    """What a run may cost: images seen by the network, or seconds (turned into images once)."""

    images: Annotated[int, Field(gt=0, le=10**12)] | None = None
    seconds: Annotated[float, Field(gt=0, le=10**9)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.images is None) == (self.seconds is None):
            raise ValueError("a budget is given either in images or in seconds")
        return self


class Network(Described, Later, Settings):
    """The shape of the backbone where a run starts from random weights; a base brings its own.

    precondition: what denoiser in closed form, fitted to the training images, stands in front of it
    (`kurabe.diffusion.mixture`), so that the network learns the rest: the best linear one
    ("covariance"), that of a mixture of Gaussians, or that one and a mixture of patches beside it
    (`kurabe.diffusion.patch_mixture`).
    """

    later = ("precondition",)

    kind: str = "patch"
    patch: Positive = 4
    width: Positive = 192
    depth: Positive = 6
    heads: Positive = 6
    decoder: Annotated[int, Field(ge=0, le=10**9)] = 1
    refine: Annotated[int, Field(ge=0, le=10**9)] = 32
    schedule: Literal["ddpm-linear", "cosine", "flow"] = "cosine"
    prediction: Literal["eps", "x0", "v", "flow"] = "v"
    precondition: Literal["none", "covariance", "mixture", "patches"] = "none"

    @property
    @override
    def granule(self) -> int:
        # A closed form is of images of one size.
        return self.patch if self.precondition == "none" else 0


class OutsideNetwork(Described, Settings):
    """The shape of another package's backbone: what it may set derives from this.

    All but these three are given to the backbone by name, behind the images' size and channels.
    """

    kind: str
    schedule: Literal["ddpm-linear", "cosine", "flow"] = "cosine"
    prediction: Literal["eps", "x0", "v", "flow"] = "v"


def _of_kind(value: Any) -> Any:
    """A table of settings becomes the network that its kind names: one of this project, or of a
    package whose backbone says itself what may be set."""
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict):
        raise ValueError("a network is a table of settings")
    given = cast(dict[str, Any], value)
    idea = registry.ideas("backbones").get(str(given.get("kind")))
    if idea is None or idea.settings is None:
        return Network.model_validate(given)
    if not issubclass(idea.settings, BaseModel):
        raise ValueError(f"{idea.name} is a class of diffusers, and its kind 'diffusers'")
    return idea.settings.model_validate(given)


AnyNetwork: TypeAlias = Annotated[
    Network | DiffusersNetwork | SerializeAsAny[OutsideNetwork], BeforeValidator(_of_kind)
]
"""A network of this project, of the diffusers library, or of another package by its settings."""


def _known_optimiser(name: str) -> str:
    try:
        return registry.look_up("optimisers", name).name
    except UserError as error:
        raise ValueError(str(error)) from None


class Optimiser(Later, Settings):
    """An optimiser with linear warm-up, cosine decay and an EMA.

    kind: its name in the registry; the usual AdamW (Loshchilov & Hutter 2019) is not written out.
    "schedule-free" keeps its rate and averages by itself, so final_lr is 1 and ema_half_life 0.
    betas: of momentum and of scale, as far as the optimiser has them.
    batch counts images passed through the network in one update; micro_batch is how many of
    them at once. Shares are of the whole budget but the EMA's: with ema_half_life .07 an old
    weight's part halves while the images seen so far grow by 7 % of their number, so that the
    average reaches back over a share of what has been seen, early in a run as late.
    """

    later = ("kind",)

    kind: Annotated[str, AfterValidator(_known_optimiser)] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch: Positive = 32
    micro_batch: Positive | None = None
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    final_lr: Share = 0.05
    clip: Annotated[float, Field(gt=0)] = 1.0
    ema_half_life: Share = 0.07
    held_out_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    patience: Positive | None = None

    @model_validator(mode="after")
    def _averaged_once(self) -> Self:
        if self.kind == "schedule-free" and (self.final_lr, self.ema_half_life) != (1, 0):
            raise ValueError(
                "kind = schedule-free keeps its rate and averages the weights by itself; set "
                "optimiser.final_lr = 1 and optimiser.ema_half_life = 0 with it"
            )
        return self


class Evaluation(Settings):
    """How a run is measured; the same for every column of a study.

    Images: samples drawn with `evaluations` network evaluations each; at most real_images real
    ones on either side of a distance; at most loss_images on either side of the loss gap, whose
    bands lie between the log-SNRs of loss_bands.
    Features: the candidates are layers × log_snrs × grids (g × g cells of averaged tokens), tried
    on at most search_images training images and reported on at most probe_images training and
    test_images test images, each averaged over draws of noise; place is the choice
    declared beforehand (depth as a share, log-SNR, grid). An image's own augmentation is drawn
    `views` times by the policy view_policy and looked for among at most gallery_images.
    Forgetting is measured on the base's own held-out images, which must be fetched for it.
    """

    encoder: str = "efficientnet-lite0"
    samples: Positive = 128
    evaluations: Positive = 20
    batch: Positive = 64
    real_images: Positive = 1024
    loss_images: Positive = 256
    loss_bands: Annotated[tuple[float, ...], Field(min_length=2)] = (-6, -4, -2, 0, 2, 4, 6)
    log_snrs: Annotated[tuple[float, ...], Field(min_length=1)] = (5, 2.5, 0)
    grids: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3)
    place: tuple[Share, float, Positive] = (0.67, 2.5, 2)
    draws: Positive = 1
    search_images: Positive = 2000
    probe_images: Positive = 10000
    test_images: Positive = 5000
    gallery_images: Annotated[int, Field(ge=2)] = 1000
    views: Positive = 2
    view_policy: str = "crop-flip-jitter"
    forgetting: bool = False
    few_shot_draws: Annotated[int, Field(ge=5)] = 5


class Where(Later, Settings):
    """Where a run takes place; not part of the digest.

    processes: how many share its training on one machine, each on `threads` threads or on a GPU.
    gradient_checkpointing: on the way back each block is computed anew, so that only what enters
    it is kept meanwhile: less memory for about a third more products, and the same gradients.
    """

    later = ("processes", "gradient_checkpointing")

    device: Annotated[str, AfterValidator(a_device)] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    threads: Positive = 1
    processes: Positive = 1
    gradient_checkpointing: bool = False
    trackers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _a_device_each(self) -> Self:
        if self.processes > 1 and ":" in self.device:
            raise ValueError(
                f"processes = {self.processes}: each takes a device of its own, and "
                f"{self.device} names one; write {self.device.partition(':')[0]}"
            )
        return self


class Recipe(Settings):
    """One run. `choices` are the method's five choices, written out, so the record is whole.

    initialisation: which draw of random weights under the same seed; another one leaves images,
    their order and all noise as they are.
    """

    method: str
    choices: Choices
    data: DataSettings
    budget: Budget
    base: str | None = None
    network: AnyNetwork = Network()
    optimiser: Optimiser = Optimiser()
    evaluation: Evaluation = Evaluation()
    # Times 2²⁰, the seeds of its images, which are keys of 64 bits.
    seed: Annotated[int, Field(ge=0, lt=2**43)] = 0
    initialisation: Annotated[int, Field(ge=0, lt=2**63)] = 0
    where: Where = Where()

    @model_validator(mode="after")
    def _marked_by_another(self) -> Self:
        encoder = self.evaluation.encoder
        if encoder in self.choices.followed or encoder == f"base:{self.base}":
            does = "is trained to follow" if encoder in self.choices.followed else "starts from"
            raise ValueError(
                f"{self.method} {does} {encoder}, which also measures, so that its scores would "
                "be a pupil's marks by its own teacher; measure with another encoder (--encoder)"
            )
        return self

    @model_validator(mode="after")
    def _sizes_taken(self) -> Self:
        narrow = [term.term for term in self.choices.objective if not term.any_size]
        if self.data.aspects is not None and narrow:
            raise ValueError(
                f"data.aspects: the term {narrow[0]} of {self.method} takes images of one size "
                "alone; leave it out, or take a method without that term"
            )
        return self

    @property
    def digest(self) -> str:
        """Twelve hex digits over all settings but the seed, where the run takes place and where
        its images and labels lie: which they are stands in run.json, by content."""
        left_out = {"seed": True, "where": True, "data": {"source", "labels"}}
        settings = self.model_dump(mode="json", exclude=left_out)
        for part in ("autoencoder", "prompt"):
            # Where the parts of a base lie is no part of what they are.
            if isinstance(settings["network"].get(part), dict):
                del settings["network"][part]["folder"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    def to_toml(self) -> str:
        """The recipe as TOML text; `from_toml` of it gives an equal recipe."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a recipe; a wrong key or type is a UserError that names it."""
        return cls.checked(read_toml(path), str(path))

    @classmethod
    def checked(cls, settings: dict[str, Any], source: str) -> Self:
        """Check settings that came from `source`, which an error names."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error)}") from None


def read_toml(path: Path | str) -> dict[str, Any]:
    """A TOML file's content; a missing or malformed file is a UserError."""
    try:
        # Editors on Windows put a mark of UTF-8 before the first line.
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(str(refusal(error))) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        # A number of a million digits is no TOMLDecodeError.
        raise UserError(f"{path} cannot be read as TOML: {error}.") from None


def first_problem(error: ValidationError) -> str:
    """The first problem of a failed check in one sentence: field, value, what was expected."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    said = plainly(problem["msg"])
    said += "" if said.endswith("?") else "."
    if problem["type"] == "extra_forbidden":
        return f"there is no setting '{field}'."
    if problem["type"] == "missing":
        return f"{field} is missing."
    if not field:
        # About several settings at once: the whole would say less.
        return said
    given = repr(problem["input"])
    given = given if len(given) <= _LONGEST_SHOWN else f"{given[: _LONGEST_SHOWN - 1]}…"
    # "must be …" is said of the field, all else of what was given.
    return f"{field} = {given}: {'it ' if said.startswith('must ') else ''}{said}"
