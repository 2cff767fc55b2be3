"""The tuners of PEFT by their names there, `peft:oft` say: settings; `.layers` attaches them.

What a tuner trains is said in `.words`. Its options are PEFT's own, by PEFT's own names; those
given here are what it begins with: PEFT's, but where these do not fit a small layer, do not begin
at the base though they could, or draw at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import create_model

from kurabe.adaptations.lora import TARGETS, Pattern
from kurabe.adaptations.peft_tuners.words import WORDS
from kurabe.methods.card import Text
from kurabe.methods.settings import AdaptationChoice, Later
from kurabe.registry import Idea

Option = bool | int | float | str

BEGINS: dict[str, dict[str, Option]] = {
    "adamss": {},
    "beft": {},
    "boft": {},
    "c3a": {"init_weights": True},
    "deft": {},
    "delora": {},
    "fourierft": {"init_weights": True},
    "frod": {"progressbar": False},
    "glora": {},
    "gralora": {"r": 8, "alpha": 16},
    "hira": {"r": 8},
    "hra": {},
    "ia3": {},
    "lily": {"r": 8},
    "loha": {},
    "lokr": {},
    "miss": {"r": 8},
    "oft": {},
    "osf": {},
    "peanut": {"r": 8},
    "psoft": {"r": 8},
    "randlora": {},
    "road": {},
    "shira": {"r": 8, "random_seed": 0},
    "supertuning": {},
    "tinylora": {},
    "unilora": {},
    "vblora": {},
    "vera": {},
    "waveft": {"n_frequency": 1000},
}
# Sizes that must divide every layer's inputs and outputs: the largest that do, at most these.
DIVIDES = {"c3a": "block_size", "road": "group_size", "vblora": "vector_length"}
# These write the weight itself as a product, which is the base's but for rounding.
ROUNDED = frozenset({"deft", "frod", "hra", "osf"})
# These begin beside the base: both factors come from vectors without which no gradient would flow.
NEAR = frozenset({"unilora", "vblora"})
# PEFT offers these as well; they are none of `BEGINS`, because
LEFT_OUT = {
    "lora": "is `lora` here, with rslora, dora and pissa",
    "ln_tuning": "is `norms` here",
    "adalora": "asks to be called after each update, with a penalty of its own in the loss",
    "pvera": "draws its update at random in each pass, by a generator that no seed reaches",
    "poly": "asks which of several tasks an image belongs to",
    "shadow": "wants the blocks of a language model",
    "xlora": "mixes adapters that were trained before",
    "trainable_tokens": "trains tokens of a vocabulary",
    "adaption_prompt": "is for language models",
    "cartridge": "is for language models",
    "cpt": "is for language models",
    "multitask_prompt_tuning": "is for language models",
    "p_tuning": "is for language models",
    "prefix_tuning": "is for language models",
    "prompt_tuning": "is for language models",
}


class PeftTuner(Later, AdaptationChoice):
    """A tuner of PEFT on the linear layers that `targets` means, as LoRA's does.

    options: of the tuner's configuration in PEFT, by their names there; what draws at random in a
    pass (dropout) is refused when it attaches.
    """

    says = Text(
        ja="PEFT の {name}（{what}、{targets}{set}）", en="PEFT's {name}: {what} ({targets}{set})"
    )
    counts = Text(ja="{what}、ほかは固定（{targets}）", en="{what}; the rest is frozen ({targets})")
    later = ("options",)
    tuner: ClassVar[str]

    targets: Pattern = "all-linear"
    options: Mapping[str, Option] = {}

    def words(self, lang: str) -> dict[str, Any]:
        name, what = WORDS[self.tuner]
        said = TARGETS.get(self.targets)
        given = "".join(f", {key} = {value}" for key, value in sorted(self.options.items()))
        targets = said.of(lang) if said else f"/{self.targets}/"
        return {"name": name, "what": what.of(lang), "targets": targets, "set": given}


def _settings(tuner: str) -> type[PeftTuner]:
    from typing import Literal

    kind = f"peft:{tuner}"
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    made = cast("type[PeftTuner]", create_model(f"Peft_{tuner}", __base__=PeftTuner, **fields))
    made.tuner, made.exact, made.merges = tuner, tuner not in ROUNDED | NEAR, tuner != "lily"
    return made


IDEAS = tuple(
    Idea("adaptations", f"peft:{tuner}", f"{__name__}.layers:Tuned", _settings(tuner))
    for tuner in BEGINS
)
