"""What is minimised: terms around one denoiser, found by the name a method gives them."""

from kurabe.diffusion import NetworkDenoiser
from kurabe.methods.choices import Choices, Contrastive, Denoising
from kurabe.methods.choices import Term as TermChoice
from kurabe.objectives.contrastive import ContrastiveTerm
from kurabe.objectives.denoising import DenoisingTerm
from kurabe.objectives.masked import MaskedTerm
from kurabe.objectives.objective import Objective
from kurabe.objectives.term import Batch, Pass, Stream, Term


def make_objective(choices: Choices, denoiser: NetworkDenoiser) -> Objective:
    """The objective that a method's choices describe, around this denoiser."""
    terms = {choice.term: _make_term(choice, denoiser) for choice in choices.objective}
    return Objective(denoiser, terms)


def _make_term(choice: TermChoice, denoiser: NetworkDenoiser) -> Term:
    if isinstance(choice, Denoising):
        return DenoisingTerm(choice)
    if isinstance(choice, Contrastive):
        return ContrastiveTerm(choice, denoiser)
    return MaskedTerm(choice, denoiser)


__all__ = ["Batch", "Objective", "Pass", "Stream", "Term", "make_objective"]
