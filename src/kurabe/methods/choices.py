"""The five choices that make a method: start, space, adaptation, objective, sampling.

An objective is a sum of terms, total = Σ weight · term, each with its own parameters. With
x_t = α_t x₀ + σ_t ε and D the denoiser, the terms are

- denoising    w(log SNR_t) · ‖D(x_t, t) − x₀‖²
- contrastive  NT-Xent on pooled features of a layer: −log e^{s_ij/τ} / Σ_{k≠i} e^{s_ik/τ}
- masked       the first blocks see a share of the tokens; of the hidden ones (or of all) the
               normalised noisy patches or the clean image's gradients are predicted

Everything here is a frozen value without torch: a table reads it, a recipe writes it out.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weighting = Literal["x0", "eps", "v", "flow", "min-snr", "p2"]
Solver = Literal["ddpm", "ddim", "heun", "dpmpp-2m", "dpmpp-2m-sde"]
Views = Literal[
    "crop-flip", "crop-flip-jitter", "crop", "shift-flip", "shift-flip-jitter", "shift", "none"
]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class Choice(BaseModel):
    """A frozen value; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Full(Choice):
    """Every weight trains."""

    kind: Literal["full"] = "full"


class LowRank(Choice):
    """W + (alpha / rank) · B A with W frozen (Hu et al. 2022, eq. 3).

    targets "all-linear" puts one on each linear layer of each block, "attention" on the
    attention's linear layers alone.
    """

    kind: Literal["lora"] = "lora"
    rank: Count = 8
    alpha: Positive = 8
    targets: Literal["all-linear", "attention"] = "all-linear"


class Untouched(Choice):
    """Nothing trains: the start is used as it is."""

    kind: Literal["none"] = "none"


Adaptation = Annotated[Full | LowRank | Untouched, Field(discriminator="kind")]


class Denoising(Choice):
    """The denoising loss; `weighting` is a function of log SNR on the x₀-error."""

    term: Literal["denoising"] = "denoising"
    weight: Positive = 1.0
    weighting: Weighting = "v"


class Contrastive(Choice):
    """NT-Xent between two noised views of an image (Chen et al. 2020, eq. 1).

    Attributes:
        weight: λ of the term.
        temperature: τ of the softmax over cosine similarities.
        comparison_batch: images whose views are compared with one another: 2n views each time.
        share: part of what passes through the network that is views, two of each image; the rest
            is plain images for the denoising term. 1: everything is views, and every view is
            denoised as well, at times over the whole range; then what changes the views also
            changes what is drawn.
        min_log_snr: views are noised at times drawn uniformly among those whose log SNR is at
            least this, independently for each view, so that t alone cannot solve the term; at a
            share of 1 at all times.
        depth: where the features are taken, as a share of the backbone's named feature layers
            (0.5 is the middle one).
        grid: tokens are averaged over the cells of a grid × grid partition and the cells' vectors
            joined; 1 is the mean over all tokens, more keep where things are.
        views: the policy of crops, flips and colours that makes the views; at a share below 1
            only this term's images pass through it, so it does not change what is drawn.
        projection: width of the head that the term trains and throws away.
    """

    term: Literal["contrastive"] = "contrastive"
    weight: Positive = 0.3
    temperature: Positive = 0.2
    comparison_batch: Annotated[int, Field(ge=2)] = 64
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_log_snr: float = 1.0
    depth: Annotated[float, Field(gt=0, le=1)] = 0.67
    grid: Count = 1
    views: Views = "crop-flip"
    projection: Count = 128


class Masked(Choice):
    """Masked prediction (Zheng et al. 2024, MaskDiT; Wei et al. 2022, MaskFeat).

    While the term is on, denoising is averaged over the visible tokens only.

    Attributes:
        weight: of the prediction's error, a mean over tokens.
        keep: share of the tokens that pass through the blocks before the decoder.
        unmask_share: last share of the budget, in which all tokens are seen and the term is off.
        target: what is predicted of a token: "noised", its patch of the noisy input, normalised
            by patch (MaskDiT), or "gradients", the histograms of oriented gradients of its patch
            of the clean image (MaskFeat).
        over: the tokens whose prediction counts, "hidden" ones or "all".
    """

    term: Literal["masked"] = "masked"
    weight: Positive = 0.1
    keep: OpenShare = 0.5
    unmask_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    target: Literal["noised", "gradients"] = "noised"
    over: Literal["hidden", "all"] = "hidden"


Term = Annotated[Denoising | Contrastive | Masked, Field(discriminator="term")]


class Sampling(Choice):
    """How images are drawn. How often the network is called is a study's choice, for all alike.

    solver: the random one forgives a briefly trained network much (docs/decisions/0010).
    spacing: which times the solver passes through; "karras" spends most of them at low noise,
    which at 16 evaluations leaves clearly cleaner images than even steps in t.
    """

    solver: Solver = "dpmpp-2m-sde"
    spacing: Literal["uniform-t", "uniform-log-snr", "karras"] = "karras"


class OptimiserOverrides(Choice):
    """What a method sets differently from the recipe's optimiser; None leaves it alone."""

    lr: Positive | None = None
    batch: Count | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class Choices(Choice):
    """What makes a method run.

    Raises ValidationError where the choices contradict one another: a low-rank update of random
    weights, an objective for a method that trains nothing, two terms of a kind.
    """

    start: Literal["random", "base"]
    space: Literal["pixels"] = "pixels"
    adaptation: Adaptation
    objective: tuple[Term, ...] = ()
    sampling: Sampling = Sampling()
    optimiser: OptimiserOverrides = OptimiserOverrides()

    @model_validator(mode="after")
    def _consistent(self) -> "Choices":
        terms = [term.term for term in self.objective]
        if len(set(terms)) < len(terms):
            raise ValueError(f"each term stands once in an objective, not {', '.join(terms)}")
        if self.start == "random" and self.adaptation.kind != "full":
            raise ValueError("a method that starts from random weights trains all of them")
        if (self.adaptation.kind == "none") != (not terms):
            raise ValueError("an objective goes with an adaptation that trains, and only with one")
        if terms and "denoising" not in terms:
            raise ValueError("an objective needs the denoising term: without it nothing is drawn")
        if "masked" in terms and any(
            isinstance(term, Contrastive) and term.share == 1 for term in self.objective
        ):
            raise ValueError("views that are all the images (share = 1) cannot be masked as well")
        return self

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.objective)
