"""What an idea's settings are: frozen values without torch that say themselves in words and in TeX.

An adaptation's settings derive from `AdaptationChoice`, a term's from `TermChoice`, a condition's
from `ConditionChoice`, a guidance's from `GuidanceChoice`. They stand beside the code that they
set and are found through the registry; `kurabe.methods.choices` holds the frame that they fill.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kurabe import registry
from kurabe.errors import UserError
from kurabe.methods.card import Formula, Text

Weighting = Literal["x0", "eps", "v", "flow", "min-snr", "p2"]
Times = Literal["uniform", "rising", "falling"]
Views = Literal[
    "crop-flip", "crop-flip-jitter", "crop", "shift-flip", "shift-flip-jitter", "shift", "none"
]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


def times(weight: float, always: bool = False) -> str:
    """A factor in front of a formula in TeX; nothing for 1, unless `always`."""
    return "" if weight == 1 and not always else f"{weight:g}·"


class Choice(BaseModel):
    """A frozen value; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Later(BaseModel):
    """A value of which some settings came later: those are not written where nobody chose them.

    So recipes from before stay what they are, and so do their digests.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _written(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = usual(self)
        for of in type(self).__mro__:
            for name in vars(of).get("later", ()):
                # A default of its own is no setting of before, and is written.
                first: Any = cast(type[BaseModel], of).model_fields[name].default
                if first == type(self).model_fields[name].default == getattr(self, name):
                    settings.pop(name, None)
        return settings


class AdaptationChoice(Choice):
    """What may change. `kind` is its name in the registry, among the adaptations.

    says, counts: what changes, and how many parameters train as far as that does not depend on
        the network; settings stand in braces and are filled in.
    trains: whether anything does. from_random: whether it may start from random weights.
    exact: whether the network is its start until the first update, bit for bit, and not to
        rounding or nearly. merges: whether the change can be written into its own weights.
    """

    says: ClassVar[Text]
    counts: ClassVar[Text]
    trains: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    merges: ClassVar[bool] = True
    from_random: ClassVar[bool] = False

    kind: str

    def sentence(self, lang: str) -> str:
        """What changes, in `lang`, "ja" or "en"."""
        return self.says.of(lang).format(**self.words(lang))

    def trainable(self, lang: str) -> str:
        """How many parameters train."""
        return self.counts.of(lang).format(**self.words(lang))

    def words(self, lang: str) -> dict[str, Any]:
        """What stands in the places of the sentences: the settings themselves."""
        return dict(self)

    def formula(self) -> Formula | None:
        """The change as an equation; None where there is none to show."""
        return None


# When a weight is not one number: in a sentence, which a comma opens.
_FALLS = {
    "linear": Text(ja="、λ は直線的に 0 へ", en=", λ falling to 0 in a line"),
    "cosine": Text(ja="、λ は余弦に沿って 0 へ", en=", λ falling to 0 along a cosine"),
}
_SPAN = Text(ja="（学習の {since:.0%} から {until:.0%} まで{fall}）",
             en="(from {since:.0%} to {until:.0%} of the run{fall})")  # fmt: skip


class TermChoice(Later, Choice):
    """What is minimised: a summand of an objective. `term` is its name in the registry.

    since, until: shares of the run between which the term is on. fall: how its weight λ is spent
    there, with u the part of that stretch that is over: all of λ ("step"; Wang et al. 2025, "REPA
    works until it doesn't" (HASTE), stop so once), (1 − u) λ ("linear"), or ½ (1 + cos π u) λ
    ("cosine").

    says: the sentence, with settings in braces. thrown_away: the width of a head that trains
    beside the network and is thrown away, where the table is to say so. hides_tokens: whether the
    network sees a part of an image's tokens, compares_places: whether images are compared token
    by token, which such parts cannot be; views_all: whether all that passes is views. from_base:
    whether it needs what the base knew. any_size: whether it takes images of other sizes than
    the network's own, of which a batch has one. denoises: whether it takes denoising's place.
    """

    says: ClassVar[Text]
    hides_tokens: ClassVar[bool] = False
    compares_places: ClassVar[bool] = False
    from_base: ClassVar[bool] = False
    any_size: ClassVar[bool] = False
    denoises: ClassVar[bool] = False

    later = ("since", "until", "fall")

    term: str
    weight: Positive = 1.0
    since: Annotated[float, Field(ge=0, lt=1)] = 0.0
    until: Annotated[float, Field(gt=0, le=1)] = 1.0
    fall: Literal["step", "linear", "cosine"] = "step"

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.since >= self.until:
            raise ValueError(
                f"the term {self.term} is on from {self.since:g} to {self.until:g} of the run, "
                "which is never; since must be below until"
            )
        return self

    @property
    def scheduled(self) -> bool:
        """Whether λ is not the same all through a run."""
        return (self.since, self.until, self.fall) != (0.0, 1.0, "step")

    def factor(self, progress: float) -> float:
        """What λ is multiplied with at a share of the run: 0 to 1."""
        if not self.since <= progress < self.until:
            return 0.0
        over = (progress - self.since) / (self.until - self.since)
        falls = {"step": 1.0, "linear": 1 - over, "cosine": 0.5 * (1 + math.cos(math.pi * over))}
        return falls[self.fall]

    def said(self, lang: str) -> str:
        """The sentence, and when the term is on, where that is not always."""
        return self.sentence(lang) + self._span(lang)

    def shown(self) -> Formula:
        """The formula, which says when the term is on, where that is not always."""
        plain = self.formula()
        if not self.scheduled:
            return plain
        span = {"ja": plain.ja + self._span("ja"), "en": plain.en + self._span("en")}
        return plain.model_copy(update=span)

    def _span(self, lang: str) -> str:
        if not self.scheduled:
            return ""
        fall = _FALLS[self.fall].of(lang) if self.fall in _FALLS else ""
        said = _SPAN.of(lang).format(since=self.since, until=self.until, fall=fall)
        return said if lang == "ja" else f" {said}"

    def sentence(self, lang: str) -> str:
        """What is minimised, in `lang`, "ja" or "en"."""
        return self.says.of(lang).format(**self.words(lang))

    def words(self, lang: str) -> dict[str, Any]:
        """What stands in the places of the sentence: the settings themselves."""
        return dict(self)

    def formula(self) -> Formula:
        """The summand as an equation, in the notation of `kurabe.methods.choices`."""
        raise NotImplementedError

    @property
    def thrown_away(self) -> int | None:
        return None

    @property
    def views_all(self) -> bool:
        return False

    @property
    def early_head(self) -> float | None:
        """The depth at which the network gets a second head, which it keeps; None for none."""
        return None

    @property
    def follows(self) -> str | None:
        """The encoder that the network learns to follow, by its name; None for none."""
        return None


# How t is drawn where not all times are alike: in a sentence; as a factor in front of the error
# where they are, in TeX and in text.
_DRAWN = {
    "rising": (Text(ja="、t に比例する頻度", en=", t as often as it is large"), "2t·", "2t "),
    "falling": (
        Text(ja="、1 − t に比例する頻度", en=", t as often as it is small"),
        r"2\left(1−t\right)·",
        "2(1 − t) ",
    ),
}


class DenoisingChoice(TermChoice):
    """A term that is an error of the denoised image.

    weighting: a function of log SNR on the x₀-error. times: how often a t is drawn, all alike or
    in proportion to t ("rising") or 1 − t ("falling"); its sentence has a place {drawn} for that.
    """

    later = ("times",)
    any_size = True

    weighting: Weighting = "v"
    times: Times = "uniform"

    def words(self, lang: str) -> dict[str, Any]:
        said = _DRAWN[self.times][0].of(lang) if self.times in _DRAWN else ""
        return {**super().words(lang), "drawn": said}

    def expectation(self, mark: str = "") -> str:
        """The summand in TeX, over times that are all alike; mark: behind x."""
        error = rf"{{‖{{D\left(x_{{t}}{mark},t\right)−x_{{0}}{mark}}}‖^2}}"
        factor = _DRAWN[self.times][1] if self.times in _DRAWN else ""
        weighted = rf"{factor}{{w\left(λ_{{t}}\right)}}{error}"
        return rf"{times(self.weight)}𝔼_{{t,ε}}\left[{weighted}\right]"

    def spoken(self) -> str:
        """The factor of a time in text."""
        return _DRAWN[self.times][2] if self.times in _DRAWN else ""


class ConditionChoice(Choice):
    """What the network is told besides the image and the time. `kind`: its name in the registry.

    dropped: the share of training images of which nothing is said, so that the network also
    learns what all of them look like (Ho & Salimans 2022, section 3.2).
    """

    says: ClassVar[Text]

    kind: str
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def sentence(self, lang: str) -> str:
        """What the network is told, in `lang`, "ja" or "en"."""
        return self.says.of(lang).format(**dict(self))


class GuidanceChoice(Choice):
    """What draws the samples towards what the model learned. `kind`: its name in the registry.

    weight: 1 leaves the model's own prediction as it is; more goes further in the direction in
    which it differs from the weaker one. passes: of a network, for one evaluation; a study pays
    the same number of passes for every column's image.
    """

    says: ClassVar[Text]
    passes: ClassVar[int] = 2

    kind: str
    weight: Positive = 1.5

    def sentence(self, lang: str) -> str:
        """What guides, in `lang`, "ja" or "en"."""
        return self.says.of(lang).format(passes=self.passes, **dict(self))

    def formula(self) -> Formula:
        """The guided prediction as an equation."""
        raise NotImplementedError


def _settings(group: str, key: str) -> Callable[[Any], Any]:
    """Settings written as a table become the value that the registry has for their name."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        settings = cast(dict[str, Any], value)
        if not isinstance(settings.get(key), str):
            raise ValueError(f"'{key}' names none; there are {', '.join(registry.ideas(group))}")
        try:
            idea = registry.look_up(group, settings[key])
        except UserError as error:
            raise ValueError(str(error)) from None
        assert idea.settings is not None and issubclass(idea.settings, Choice)
        return idea.settings.model_validate(settings)

    return check


Adaptation = SerializeAsAny[
    Annotated[AdaptationChoice, BeforeValidator(_settings("adaptations", "kind"))]
]
Term = SerializeAsAny[Annotated[TermChoice, BeforeValidator(_settings("terms", "term"))]]
Condition = SerializeAsAny[
    Annotated[ConditionChoice, BeforeValidator(_settings("conditions", "kind"))]
]
Guidance = SerializeAsAny[Annotated[GuidanceChoice, BeforeValidator(_settings("guidance", "kind"))]]
