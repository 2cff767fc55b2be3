"""A trained denoiser as its users meet it: sample, read features, load from a run or a base."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kurabe import bases, registry
from kurabe.adaptations import Adaptation, attach
from kurabe.adaptations.untouched import Untouched
from kurabe.backbones import Backbone
from kurabe.bases.network import Prompt
from kurabe.conditions.classes import Classes
from kurabe.diffusion import SCHEDULES, Clipped, Denoiser, NetworkDenoiser, sample
from kurabe.diffusion.guidance import Parts
from kurabe.diffusion.sampling import Spacing, steps_for
from kurabe.errors import UserError, refusal
from kurabe.files import write_bytes_atomic
from kurabe.methods.settings import GuidanceChoice
from kurabe.objectives.term import with_early_head
from kurabe.randomness import generator
from kurabe.recipe import AnyNetwork, Recipe, first_problem
from kurabe.records import RunFolder
from kurabe.sizes import Sides, Size, setting_of, sides_of, times
from kurabe.spaces import Space
from kurabe.training.bucket_sizes import take_sizes
from kurabe.training.devices import at_once, usable
from kurabe.training.diffusers_parts import ask, load_diffusers, schedule_of, space_of

WEIGHTS = "model.safetensors"
NETWORK: TypeAdapter[AnyNetwork] = TypeAdapter(AnyNetwork)


@dataclass(repr=False)
class Model:
    """A denoiser, what adapted it, and the space in which it draws images.

    dtype: what the network's products are computed in while sampling; features are float32.
    classes: what it may be told, where it was trained with labels. guidance: what samples are
    drawn towards; base: the untouched denoiser, where that needs it.
    """

    denoiser: NetworkDenoiser
    adaptation: Adaptation
    network: AnyNetwork
    space: Space
    evaluations: int = 20
    solver: str = "dpmpp-2m-sde"
    spacing: Spacing = "karras"
    dtype: str = "float32"
    classes: Classes | None = None
    guidance: GuidanceChoice | None = None
    base: Denoiser | None = None

    def __repr__(self) -> str:
        millions = self.parameters_count / 1e6
        return f"<{self.network.kind}, {times(self.image_size)}, {millions:.1f} M>"

    @property
    def image_size(self) -> Sides:
        return self.space.image_size

    @property
    def channels(self) -> int:
        return self.space.channels

    @property
    def feature_layers(self) -> tuple[str, ...]:
        return self.denoiser.backbone.feature_layers

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.denoiser.backbone.token_grid

    def grid_of(self, layer: str) -> tuple[int, int]:
        """Rows and columns that the tokens of a layer lie on."""
        return self.denoiser.backbone.grid_of(layer)

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def parameters_count(self) -> int:
        """All parameters of the denoiser, adapters included."""
        return sum(p.numel() for p in self.denoiser.parameters())

    @property
    def trainable_count(self) -> int:
        """Parameters that the method changes and that must be stored beside its start."""
        return sum(p.numel() for p in self.adaptation.parameters)

    @torch.inference_mode()
    def sample(
        self,
        seeds: Sequence[int],
        evaluations: int | None = None,
        solver: str | None = None,
        batch: int = 64,
        class_name: str | None = None,
    ) -> NDArray[np.uint8]:
        """One image for each seed, uint8 (N, H, W, C).

        evaluations: passes of a network for one image. class_name: of all images; where none is
        given, a model that knows classes draws each as often as it saw it.
        """
        solver, denoiser = solver or self.solver, self._drawing()
        steps = steps_for(solver, (evaluations or self.evaluations) // denoiser.passes)
        self.denoiser.eval()
        # The solver's own arithmetic stays float32; the network computes as it was trained.
        narrow = torch.autocast(self.device.type, torch.bfloat16, self.dtype == "bfloat16")
        together = at_once(batch, self.device)
        told = self._told(seeds, class_name)
        shape, spacing = self.space.shape, self.spacing
        with narrow:
            drawn = sample(denoiser, seeds, shape, solver, steps, together, told, spacing)
        return self.space.decode(drawn)

    def guided(self, weight: float) -> "Model":
        """The same model, drawn with guidance of that weight; UserError where it has none."""
        if self.guidance is None:
            raise UserError("This model is drawn without guidance, which has no weight to set.")
        return replace(self, guidance=self.guidance.model_copy(update={"weight": weight}))

    def _drawing(self) -> Denoiser:
        """The denoiser as it is asked while an image is drawn."""
        asked: Denoiser = self.denoiser
        if self.guidance is not None:
            null = None if self.classes is None else torch.tensor(self.classes.none)
            guide = registry.load("guidance", self.guidance.kind)
            asked = guide(self.guidance, Parts(asked, null, self.base))
        own = self.network.timesteps
        return asked if own is None or own.clip is None else Clipped(asked, own.clip)

    def _told(self, seeds: Sequence[int], class_name: str | None) -> Tensor | None:
        """The class of each sample, (N,), where the model knows any."""
        if self.classes is None:
            if class_name is not None:
                raise UserError("This model knows no classes; it was trained without labels.")
            return None
        if class_name is not None:
            return torch.full((len(seeds),), self.classes.number(class_name), device=self.device)
        return torch.from_numpy(self.classes.drawn(seeds)).to(self.device)

    @torch.inference_mode()
    def features(self, x_t: Tensor, t: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Tokens (B, N, D) of each named layer, of noised images (B, C, H, W) at t (B,)."""
        self.denoiser.eval()
        return self.denoiser.features(x_t, t, layers=tuple(layers))

    def state_digest(self) -> str:
        """Sixteen hex digits over all weights: the name of this checkpoint."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.denoiser.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]


def make_denoiser(network: AnyNetwork, image_size: Size, channels: int) -> NetworkDenoiser:
    """A network of random weights (torch's generator) and what its output means.

    image_size, channels: of the images. UserError where the network does not fit them.
    """
    shape = network.model_dump(exclude={"kind", "schedule", "prediction"})
    kind: Callable[..., Backbone] = registry.load("backbones", network.kind)
    try:
        backbone = kind(sides_of(image_size), channels, **shape)
    except ValueError as error:
        raise UserError(f"The network does not fit the images: {error}.") from None
    if network.told is not None:
        ask(backbone, network)
    own = network.timesteps
    schedule = SCHEDULES[network.schedule] if own is None else schedule_of(own)
    return NetworkDenoiser(backbone, schedule, network.prediction)


def start_model(
    recipe: Recipe, image_size: Size, channels: int, classes: Classes | None = None
) -> Model:
    """The model a recipe starts from, adapted as its method chooses but not yet trained.

    Random weights and an adapter's initialisation are functions of the recipe's seed and
    `initialisation`. classes: those of the training images, where the network is told them.
    UserError where the base does not draw images of that size and colour.
    """
    with random_weights(recipe, "initialisation"):
        if recipe.choices.start == "random":
            network = recipe.network
            denoiser = make_denoiser(network, image_size, channels)
        else:
            denoiser, network = _load_base(recipe, image_size, channels)
        if recipe.choices.refit:
            _to_fit(denoiser.backbone, str(recipe.base))
        if classes is not None:
            _take(denoiser.backbone, classes)
        take_sizes(denoiser.backbone, recipe, network, image_size)
        for term in recipe.choices.objective:
            if term.early_head is not None:
                with_early_head(denoiser.backbone, term.early_head)
        adaptation = attach(denoiser.backbone, recipe.choices.adaptation)
    denoiser.to(usable(recipe.where.device))
    evaluations, how = recipe.evaluation.evaluations, recipe.choices.sampling
    drawing = (evaluations, how.solver, how.spacing, recipe.where.dtype)
    space = space_of(network, image_size, channels)
    base = None
    if how.guidance is not None and how.guidance.kind == "domain":
        base = _load_base(recipe, image_size, channels)[0].to(usable(recipe.where.device)).eval()
    model = Model(denoiser, adaptation, network, space, *drawing, classes, how.guidance, base)
    space.to(model.device)
    if how.guidance is not None and how.guidance.kind == "internal":
        # That this network cannot have it is told before anything trains.
        model._drawing()
    return model


def _to_fit(backbone: Backbone, base: str) -> None:
    closed = backbone.preconditioner
    if closed is None:
        raise UserError(
            f"choices.refit = true: {base} stands behind no closed form that could be fitted to "
            "the images; leave it out, or take a base trained with network.precondition."
        )
    backbone.fitted = frozenset(f"preconditioner.{name}" for name in closed.state_dict())


def _take(backbone: Backbone, classes: Classes) -> None:
    try:
        backbone.take_classes(len(classes.counts))
    except ValueError as error:
        raise UserError(f"This method is told classes, and {error}.") from None


@contextmanager
def random_weights(recipe: Recipe, purpose: str) -> Iterator[None]:
    """Inside, weights are drawn as a function of (seed, purpose, initialisation) of the recipe."""
    with torch.random.fork_rng(devices=[]):
        drawn = generator(recipe.seed, purpose, recipe.initialisation)
        torch.manual_seed(int(drawn.integers(2**62)))
        yield


def load_model(source: Path | str, device: str = "cpu", prompt: Prompt | None = None) -> Model:
    """The model of a finished run's folder, or a base by its name or folder.

    A shipped base's name means that base, whatever a folder in reach is called. prompt: what a
    model that draws from text is to draw, instead of what it was told before.
    """
    folder = RunFolder(source)
    if str(source) in bases.available() or not folder.exists:
        return _told(_base_model(bases.find(str(source)), device), prompt)
    recipe = Recipe.from_toml(folder.recipe_path)
    shape = folder.info.get("image_shape")
    weights = folder.checkpoints / WEIGHTS
    if not weights.exists() or shape is None:
        raise UserError(f"{source} has no weights yet; the run must finish first.")
    where = recipe.where.model_copy(update={"device": device})
    told = folder.info.get("classes")
    classes = None if told is None else Classes(told)
    there = recipe.model_copy(update={"where": where})
    model = start_model(there, (shape[0], shape[1]), shape[2], classes)
    load_weights(model.adaptation, weights)
    return _told(model, prompt)


def prompt_of(network: AnyNetwork) -> Prompt | None:
    """What a network is told to draw; None for one that draws from noise alone."""
    return network.told


def _told(model: Model, prompt: Prompt | None) -> Model:
    """The model, told to draw that; it stays as it is where it is not told anything new."""
    network = model.network
    known = prompt_of(network)
    if known is None or prompt is None or known.text == prompt.text:
        return model
    told = known.model_copy(update={"text": prompt.text})
    model.network = network.model_copy(update={"prompt": told})
    ask(model.denoiser.backbone, model.network)
    return model


def save_weights(adaptation: Adaptation, state: dict[str, Tensor], path: Path) -> None:
    """Store an adaptation's state as safetensors, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: state[name].detach().cpu().contiguous() for name in adaptation.state()}
    write_bytes_atomic(path, save(tensors, {"format": "pt"}))


def load_weights(adaptation: Adaptation, path: Path) -> None:
    """Take over stored weights; UserError where the file is no safetensors file or fits not."""
    try:
        adaptation.load(read_tensors(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; UserError for anything else, a pickle above all."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        error.filename = str(path)
        raise refusal(error) from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a safetensors file ({error}); other formats are not opened, since "
            "they can run code."
        ) from None


def _load_base(
    recipe: Recipe, image_size: Size, channels: int
) -> tuple[NetworkDenoiser, AnyNetwork]:
    if recipe.base is None:
        raise UserError(f"{recipe.method} starts from a base: name one with --base.")
    model = load_model(recipe.base, prompt=prompt_of(recipe.network))
    height, width = sides_of(image_size)
    own = model.image_size == (height, width)
    if model.channels != channels or (not own and height == width):
        raise UserError(base_offer(recipe.base, model.image_size, model.channels))
    if not own:
        try:
            rows, columns = _seen(model, height), _seen(model, width)
            model.denoiser.backbone.resize((rows, columns))
        except ValueError as error:
            wanted = times((height, width))
            raise UserError(f"{recipe.base} cannot draw {wanted}: {error}.") from None
    # A base that is itself an adapted run enters with its change written into its weights.
    model.adaptation.merge()
    return model.denoiser, model.network


def _seen(model: Model, pixels: int) -> int:
    """How many pixels of what the network sees so many of an image are."""
    each = model.image_size[0] // model.space.shape[1]
    if pixels % each:
        raise ValueError(f"its sides are multiples of {each} pixels")
    return pixels // each


def base_offer(base: str, size: Sides, channels: int) -> str:
    """What to say when a base draws other images than the ones at hand."""
    colour = "grey" if channels == 1 else "colour"
    flag = "--grey" if channels == 1 else "--colour"
    return (
        f"{base} draws {times(size)} {colour}; your images are prepared otherwise. "
        f"Use another --base, or {flag} --size {setting_of(size)}."
    )


def _base_model(base: bases.Base, device: str) -> Model:
    try:
        network = NETWORK.validate_python(base.info["network"])
    except (KeyError, ValidationError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else "no network"
        raise UserError(f"{base.path / 'base.json'}: {reason}") from None
    denoiser = make_denoiser(network, base.image_size, base.channels)
    if base.is_diffusers:
        load_diffusers(denoiser, base.path)
        return _as_it_is(denoiser, network, base, device)
    tensors = {n: w.float() for n, w in read_tensors(base.path / WEIGHTS).items()}
    own = dict(denoiser.backbone.state_dict())
    if own.keys() != tensors.keys():
        raise UserError(f"{base.path / WEIGHTS} does not hold the network that base.json names.")
    denoiser.backbone.load_state_dict(tensors)
    return _as_it_is(denoiser, network, base, device)


def _as_it_is(
    denoiser: NetworkDenoiser, network: AnyNetwork, base: bases.Base, device: str
) -> Model:
    space = space_of(network, base.image_size, base.channels)
    denoiser.to(usable(device))
    model = Model(denoiser, attach(denoiser.backbone, Untouched()), network, space)
    space.to(model.device)
    if network.timesteps is not None:
        # As its maker draws: by a rule without chance, at the times of its own scheduler.
        model.solver, model.spacing = "ddim", "own"
    return model
