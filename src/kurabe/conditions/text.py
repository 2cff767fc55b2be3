"""Text as a condition: what a base's own text encoder makes of a prompt.

Tokens are filled up to the tokenizer's full length, as Stable Diffusion was trained with (Rombach
et al. 2022, section 4.3); the encoder's last hidden state is the condition.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from kurabe.bases.folder import INDEX, weight_files
from kurabe.errors import UserError

_ENCODERS = ("CLIPTextModel", "T5EncoderModel")


class TextEncoder:
    """Text encoder and tokenizer of a folder that diffusers wrote; frozen, in float32.

    UserError where one of them is missing, of an unknown class, or lacks weights.
    """

    def __init__(self, folder: Path) -> None:
        import transformers

        index = json.loads((folder / INDEX).read_bytes())
        name = (index.get("text_encoder") or [None, None])[1]
        if name not in _ENCODERS:
            raise UserError(
                f"{folder / INDEX}: text_encoder is a {name}; Kurabe can use "
                f"{' and '.join(_ENCODERS)}."
            )
        part = folder / "text_encoder"
        weight_files(part, "model")
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder / "tokenizer", local_files_only=True
            )
            with _silent():
                found: Any = getattr(transformers, name).from_pretrained(
                    part, local_files_only=True, use_safetensors=True, output_loading_info=True,
                    dtype=torch.float32,
                )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200].rstrip(".")
            raise UserError(f"{folder}: its text encoder cannot be read ({said}).") from None
        self.network, told = cast(tuple[Any, dict[str, Any]], found)
        lacking = sorted(map(str, told.get("missing_keys") or ()))
        if lacking:
            raise UserError(
                f"{part}: the weights lack '{lacking[0]}', which its configuration asks for."
            )
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(texts, tokens, width) of the last hidden state, float32."""
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        masked = getattr(self.network.config, "use_attention_mask", False)
        mask = tokens.attention_mask if masked else None
        return self.network(tokens.input_ids, attention_mask=mask)[0].float()


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
