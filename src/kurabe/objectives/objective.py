"""The objective: a sum of weighted terms around one denoiser.

Network, heads and terms are one module, and its forward pass gives every term's losses, so that
data-parallel wrappers see all that trains.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from kurabe import registry
from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.methods.settings import TermChoice
from kurabe.objectives.term import Batch, Pass, ScheduledTerm, Stream, Term


def make_objective(choices: Choices, denoiser: NetworkDenoiser) -> "Objective":
    """The objective that a method's choices describe, around this denoiser."""
    return Objective(
        denoiser, {choice.term: _made(choice, denoiser) for choice in choices.objective}
    )


def _made(choice: TermChoice, denoiser: NetworkDenoiser) -> Term:
    term = registry.load("terms", choice.term)(choice, denoiser)
    turns = (choice.since, choice.until)
    return ScheduledTerm(term, choice.factor, turns) if choice.scheduled else term


class Objective(nn.Module):
    """total = Σ weight · term, over per-image losses.

    denoiser: what is trained. terms: name → term. references: the frozen networks that terms ask
    for, by name, no part of the module; to be set before the first pass.
    """

    def __init__(self, denoiser: NetworkDenoiser, terms: Mapping[str, Term]) -> None:
        super().__init__()
        self.denoiser = denoiser
        # A ModuleDict is a mapping; torch's annotations do not say of what.
        self.terms = cast(Mapping[str, Term], nn.ModuleDict(terms))
        self.references: dict[str, NetworkDenoiser] = {}

    def streams(self, progress: float) -> tuple[Stream, ...]:
        """The streams that all terms together need at this share of the budget.

        Each has its share of an update, and the shares add up to 1: those without one divide what
        the others leave. UserError where a
        term asks for times by token, and the network knows none.
        """
        joined: dict[str, Stream] = {}
        for term in self.terms.values():
            for stream in term.streams(progress):
                known = joined.get(stream.name)
                joined[stream.name] = known.join(stream) if known else stream
        apart = any(stream.apart for stream in joined.values())
        if apart and not self.denoiser.backbone.keeps_apart:
            raise UserError(
                "A term keeps the noise levels in one image apart, which this network cannot; take "
                "a network of Kurabe's own, or set that term's apart = false."
            )
        by_token = any(stream.levels > 1 for stream in joined.values())
        if by_token and not self.denoiser.backbone.times_by_token:
            raise UserError(
                "A term asks for several noise levels in one image, which this network cannot be "
                "told; take a network of Kurabe's own, with network.precondition = none."
            )
        given = [stream.share for stream in joined.values() if stream.share is not None]
        rest = (1 - sum(given)) / max(1, len(joined) - len(given))
        return tuple(
            replace(stream, share=rest) if stream.share is None else stream
            for stream in joined.values()
        )

    def on(self, progress: float) -> tuple[str, ...]:
        """Names of the terms that are on at this share of the budget."""
        return tuple(name for name, term in self.terms.items() if term.streams(progress))

    @property
    def turns(self) -> tuple[float, ...]:
        """Shares of the budget, below 1 and from 0 on, at which the streams may change."""
        found = {0.0, *(turn for term in self.terms.values() for turn in term.turns)}
        return tuple(sorted(turn for turn in found if turn < 1))

    def forward(self, batches: Mapping[str, Batch], progress: float) -> dict[str, Tensor]:
        """Pass each stream once; losses (B,) of each term that is on at this progress."""
        passes = self._passes(batches, progress)
        return {name: self.terms[name](passes) for name in self.on(progress)}

    def losses_of(self, name: str, batches: Mapping[str, Batch], progress: float) -> Tensor:
        """Losses (B,) of one term, which must be on; only the streams that it reads are passed."""
        term = self.terms[name]
        read = {stream.name for stream in term.streams(progress)}
        own = {stream: batch for stream, batch in batches.items() if stream in read}
        return term(self._passes(own, progress))

    def weights(self, progress: float) -> dict[str, float]:
        """Each term's weight in the sum at this share of the budget."""
        return {name: term.weight_at(progress) for name, term in self.terms.items()}

    @property
    def denoising(self) -> str:
        """The name of the term that denoises."""
        return next((name for name, term in self.terms.items() if term.denoises), "denoising")

    def _passes(self, batches: Mapping[str, Batch], progress: float) -> dict[str, Pass]:
        streams = {stream.name: stream for stream in self.streams(progress)}
        return {name: self._pass(batch, streams[name]) for name, batch in batches.items()}

    def _pass(self, batch: Batch, stream: Stream) -> Pass:
        t, condition = batch.t, batch.condition
        x_t = self.denoiser.noisy(batch.images, batch.noise, t)
        with self.denoiser.backbone.levels_apart(stream.apart):
            if not stream.predicts and batch.keep is None:
                features = self.denoiser.features(x_t, t, condition, stream.layers)
                return Pass(batch, x_t, None, features, self.denoiser, self.references)
            out = self.denoiser.predict(x_t, t, condition, batch.keep, stream.layers)
        return Pass(batch, x_t, out.prediction, out.features, self.denoiser, self.references)
