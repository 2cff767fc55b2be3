"""The choices that make a method: start, space, condition, adaptation, objective, sampling.

An objective is a sum of terms, total = Σ weight · term, each with its own parameters. In formulas
x_t = α_t x₀ + σ_t ε and D is the denoiser. Which adaptations and terms there are is the
registry's to say; a frame stands here that any of them fills.

Everything here is a frozen value without torch: a table reads it, a recipe writes it out.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from kurabe import registry
from kurabe.errors import UserError
from kurabe.methods.settings import (
    Adaptation,
    Choice,
    Condition,
    Count,
    Guidance,
    Later,
    Positive,
    Term,
)


def _known_solver(name: str) -> str:
    try:
        return registry.look_up("solvers", name).name
    except UserError as error:
        raise ValueError(str(error)) from None


Solver = Annotated[str, AfterValidator(_known_solver)]


class Sampling(Later, Choice):
    """How images are drawn. How often a network is called is a study's choice, for all alike.

    solver: the random one forgives a briefly trained network much (docs/decisions/0010).
    spacing: which times the solver passes through; "karras" spends most of them at low noise,
    which at 16 evaluations leaves clearly cleaner images than even steps in t.
    guidance: what each evaluation goes beyond the model with; its passes are counted.
    """

    later = ("guidance",)

    solver: Solver = "dpmpp-2m-sde"
    spacing: Literal["uniform-t", "uniform-log-snr", "karras"] = "karras"
    guidance: Guidance | None = None


class OptimiserOverrides(Choice):
    """What a method sets differently from the recipe's optimiser; None leaves it alone."""

    lr: Positive | None = None
    batch: Count | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class Choices(Later, Choice):
    """What makes a method run.

    refit: of a base that stands behind a closed form (`kurabe.diffusion.mixture`), whether that is
    fitted anew to the training images; nothing of it is learned.
    condition: what the network is told of each image; None for nothing but what a base that
    reads is told anyway, its prompt and captions.

    Raises ValidationError where the choices contradict one another: a low-rank update of random
    weights, an objective for a method that trains nothing, two terms of a kind.
    """

    later = ("refit", "condition")

    start: Literal["random", "base"]
    refit: bool = False
    space: Literal["pixels"] = "pixels"
    condition: Condition | None = None
    adaptation: Adaptation
    objective: tuple[Term, ...] = ()
    sampling: Sampling = Sampling()
    optimiser: OptimiserOverrides = OptimiserOverrides()

    @model_validator(mode="after")
    def _consistent(self) -> "Choices":
        terms = [term.term for term in self.objective]
        if len(set(terms)) < len(terms):
            raise ValueError(f"each term stands once in an objective, not {', '.join(terms)}")
        if self.start == "random" and not self.adaptation.from_random:
            raise ValueError("a method that starts from random weights trains all of them")
        if self.refit and self.start == "random":
            raise ValueError("refit is of a base's closed form, and this method has no base")
        if self.adaptation.trains != bool(terms):
            raise ValueError("an objective goes with an adaptation that trains, and only with one")
        if self.condition is not None and not terms:
            raise ValueError("a condition is learned, and this method trains nothing")
        guidance = self.sampling.guidance
        if guidance is not None and guidance.kind == "domain" and self.start != "base":
            raise ValueError("domain guidance is away from a base, and this method has none")
        internal = guidance is not None and guidance.kind == "internal" and self.start == "random"
        if internal and all(term.early_head is None for term in self.objective):
            raise ValueError("internal guidance needs the term early-denoising")
        if sum(term.denoises for term in self.objective) > 1:
            raise ValueError(f"one term denoises, not {' and '.join(terms)}")
        if terms and not any(term.denoises for term in self.objective):
            raise ValueError("an objective needs the denoising term: without it nothing is drawn")
        if any(term.denoises and term.scheduled for term in self.objective):
            raise ValueError("the denoising term is always on; give it no since or until")
        if self.start != "base" and (needs := [t.term for t in self.objective if t.from_base]):
            raise ValueError(f"the term {needs[0]} needs a base, and this method has none")
        hides = any(term.hides_tokens for term in self.objective)
        if hides and any(term.views_all for term in self.objective):
            raise ValueError("views that are all the images (share = 1) cannot be masked as well")
        if hides and any(term.compares_places for term in self.objective):
            raise ValueError("images of which tokens are hidden cannot be compared place by place")
        return self

    @property
    def followed(self) -> tuple[str, ...]:
        """The encoders that terms make the network follow."""
        return tuple(term.follows for term in self.objective if term.follows is not None)

    @property
    def bases_followed(self) -> tuple[str, ...]:
        """Those of them that are bases or runs, by name."""
        kinds = (name.partition(":") for name in self.followed)
        return tuple(of for kind, _, of in kinds if kind == "base")

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.objective)
