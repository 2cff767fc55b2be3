"""Text as a condition: what a base's own text encoders make of a prompt.

Tokens are filled up to the tokenizer's full length, as Stable Diffusion was trained with (Rombach
et al. 2022, section 4.3). Which of what the encoders give is told is said by the modules beside
this one.

A condition is one tensor, whatever it is made of: a pooled vector is one more row behind the
tokens', either filled up with zeros to the width of the other.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kurabe import registry
from kurabe.bases.diffusers_folder import INDEX, weight_files
from kurabe.bases.texts import parts_of
from kurabe.errors import UserError

_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")


class Said(NamedTuple):
    """Hidden states (texts, tokens, width) and, where a network is told it, (texts, pooled)."""

    states: Tensor
    pooled: Tensor | None = None


Rule: TypeAlias = Callable[
    [Mapping[str, "Tower"], Sequence[str], Mapping[str, Any]],
    Said,
]
"""What a condition is made by: of (encoders by mark, texts, the denoiser's configuration)."""


class Tower:
    """One text encoder and its tokenizer, in a folder that diffusers wrote; frozen, in float32.

    mark: what the names of its parts end in, "", "_2" or "_3". UserError where one of them is
    missing, of an unknown class, or lacks weights.
    """

    def __init__(self, folder: Path, index: dict[str, Any], mark: str) -> None:
        import transformers

        name = (index.get(f"text_encoder{mark}") or [None, None])[1]
        if name not in _ENCODERS:
            raise UserError(
                f"{folder / INDEX}: text_encoder{mark} is a {name}; Kurabe can use "
                f"{', '.join(_ENCODERS)}."
            )
        part, tokenizer = folder / f"text_encoder{mark}", folder / f"tokenizer{mark}"
        stored = re.search(r"\.(fp16|bf16)[.-]", weight_files(part, "model")[0].name)
        if not tokenizer.is_dir():
            raise UserError(f"{tokenizer} is missing, though {INDEX} names it.")
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                tokenizer, local_files_only=True
            )
            with _silent():
                found: Any = getattr(transformers, name).from_pretrained(
                    part, local_files_only=True, use_safetensors=True, output_loading_info=True,
                    dtype=torch.float32, variant=stored and stored[1],
                )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200].rstrip(".")
            raise UserError(f"{part} cannot be read ({said}).") from None
        self.network, told = cast(tuple[Any, dict[str, Any]], found)
        lacking = sorted(map(str, told.get("missing_keys") or ()))
        if lacking:
            raise UserError(
                f"{part}: the weights lack '{lacking[0]}', which its configuration asks for."
            )
        self.network.eval().requires_grad_(False)

    @property
    def length(self) -> int:
        """The most tokens of a text."""
        return self.tokenizer.model_max_length

    def tokens(self, texts: Sequence[str], length: int) -> Any:
        """input_ids and attention_mask (texts, length), filled up or cut to that length."""
        return self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        )

    def __call__(self, texts: Sequence[str], length: int | None = None) -> Any:
        """What the encoder gives of texts of `length` tokens, all its hidden states among it."""
        tokens = self.tokens(texts, length or self.length)
        masked = getattr(self.network.config, "use_attention_mask", False)
        mask = tokens.attention_mask if masked else None
        return self.network(tokens.input_ids, attention_mask=mask, output_hidden_states=True)


class TextEncoder:
    """All text encoders of a folder that diffusers wrote, and what is made of what they give.

    condition: the name of that, in the group "conditions". config: of the denoiser.
    width, pooled: numbers of a token's state, and of the pooled vector, 0 where there is none.
    UserError as for `Tower`.
    """

    def __init__(self, folder: Path, condition: str, config: Mapping[str, Any]) -> None:
        index = json.loads((folder / INDEX).read_bytes())
        parts = parts_of(condition)
        self.rule: Rule = registry.load("conditions", condition)
        self.config = config
        self.towers = {mark: Tower(folder, index, mark) for mark in parts.present(index)}
        # Of an index that leaves it out, as diffusers' pipelines do.
        self.silent = parts.silent and index.get("force_zeros_for_empty_prompt", True)
        states, pooled = self._said([""])
        self.width, self.pooled = states.shape[-1], 0 if pooled is None else pooled.shape[-1]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """The condition of each text, float32 (texts, tokens, width).

        Where there is a pooled vector it is the last row, and the width that of the wider of both.
        """
        states, pooled = self._said(texts)
        said = states if pooled is None else _with_row(states, pooled)
        if self.silent:
            said[[place for place, text in enumerate(texts) if not text]] = 0
        return said

    @torch.no_grad()
    def _said(self, texts: Sequence[str]) -> Said:
        states, pooled = self.rule(self.towers, texts, self.config)
        return Said(states.float(), None if pooled is None else pooled.float())


def _with_row(states: Tensor, row: Tensor) -> Tensor:
    """(B, L, D) and (B, P) → (B, L + 1, max(D, P))."""
    width = max(states.shape[-1], row.shape[-1])
    parts = (F.pad(x, (0, width - x.shape[-1])) for x in (states, row.unsqueeze(1)))
    return torch.cat(list(parts), dim=1)


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, transformers says nothing below an error and shows no progress."""
    from transformers.utils import logging

    before, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()
