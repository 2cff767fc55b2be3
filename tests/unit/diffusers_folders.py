"""Folders that plain diffusers writes, of real classes and tiny random weights; what they draw,
by diffusers and by Kurabe."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from kurabe.diffusion.solvers import ddim as by_ddim
from kurabe.errors import UserError
from kurabe.spaces.latents import Latents
from kurabe.training import Model, load_model

STEPS = 8


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with every weight that starts at zero drawn, so that nothing is silent."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.detach().any():
            parameter.data.normal_(0, 0.05, generator=generator)
    return module


def unet(channels: int = 1, size: int = 8) -> UNet2DModel:
    torch.manual_seed(0)
    return shaken(
        UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=8,
        )
    ).eval()


def ddim(folder: Path, **scheduler: object) -> Path:
    """A DDIMPipeline on 8×8 grey images."""
    settings = {"clip_sample": False, **scheduler}
    DDIMPipeline(unet(), DDIMScheduler(**settings)).save_pretrained(folder)
    return folder


def ddpm(folder: Path, **scheduler: object) -> Path:
    """A DDPMPipeline on 8×8 grey images, whose scheduler clips as it does unless told not to."""
    DDPMPipeline(unet(), DDPMScheduler(**scheduler)).save_pretrained(folder)
    return folder


def vae(channels: int = 4, **settings: object) -> AutoencoderKL:
    """An autoencoder of half the size, 3 colours to so many channels."""
    torch.manual_seed(1)
    return shaken(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=channels,
            norm_num_groups=4,
            **{"scaling_factor": 0.7, **settings},
        )
    ).eval()


def dit(folder: Path, *, learns_sigma: bool = True, **scheduler: object) -> Path:
    """A DiTPipeline on 16×16 colour images, 8×8 latents, 1,000 classes."""
    torch.manual_seed(2)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8 if learns_sigma else 4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    settings = {"clip_sample": False, **scheduler}
    DiTPipeline(shaken(transformer).eval(), vae(), DDIMScheduler(**settings)).save_pretrained(
        folder
    )
    return folder


LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]


def clip_tokenizer() -> CLIPTokenizer:
    """Letters alone, 12 of them."""
    return CLIPTokenizer({word: k for k, word in enumerate(WORDS)}, [], model_max_length=12)


def clip(kind: type, width: int, seed: int, **settings: object) -> nn.Module:
    """A CLIP text model of that class and width, two layers."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=len(WORDS) - 2,
        eos_token_id=len(WORDS) - 1,
        **settings,
    )
    return kind(config).eval()


def text_unet(**settings: object) -> nn.Module:
    """A UNet2DConditionModel on 4×8×8 latents."""
    return shaken(
        UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=2,
            norm_num_groups=4,
            **settings,
        )
    ).eval()


STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def stable_diffusion(folder: Path, **scheduler: object) -> Path:
    """A StableDiffusionPipeline on 16×16 colour images, 8×8 latents, prompts of 12 letters."""
    text_encoder = clip(CLIPTextModel, 16, 3)
    settings = {
        **STABLE, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, **scheduler,
    }  # fmt: skip
    StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer(),
        unet=text_unet(cross_attention_dim=16),
        scheduler=DDIMScheduler(**settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def stable_diffusion_xl(
    folder: Path, *, one_encoder: bool = False, zeros: bool = True, **scheduler: object
) -> Path:
    """A StableDiffusionXLPipeline on 16×16 colour images: encoders 16 and 24 wide, 20 pooled."""
    second = clip(CLIPTextModelWithProjection, 24, 4, projection_dim=20)
    unet = text_unet(
        cross_attention_dim=24 if one_encoder else 40,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 20,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.4, force_upcast=True),
        text_encoder=None if one_encoder else clip(CLIPTextModel, 16, 3),
        text_encoder_2=second,
        tokenizer=None if one_encoder else clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            **{**STABLE, "timestep_spacing": "leading", "steps_offset": 1, **scheduler}
        ),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def t5_tokenizer() -> T5TokenizerFast:
    """Letters alone."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581", -1.0)]
    return T5TokenizerFast([*words, *((letter, -2.0) for letter in LETTERS)], extra_ids=0)


def t5(width: int = 40) -> nn.Module:
    """A T5 encoder of that width, two layers."""
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=32, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0
    )
    return T5EncoderModel(config).eval()


def stable_diffusion_3(folder: Path, *, with_t5: bool = True, **scheduler: object) -> Path:
    """A StableDiffusion3Pipeline on 16×16 colour images: 16 channels of latents, scaled, shifted.

    Encoders 16, 20 and 40 wide, 14 + 20 pooled; the second block has two attentions, as 3.5 has.
    """
    encoders = [
        clip(CLIPTextModelWithProjection, width, width, projection_dim=pooled)
        for width, pooled in ((16, 14), (20, 20))
    ]
    torch.manual_seed(6)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=40,
        caption_projection_dim=16,
        pooled_projection_dim=34,
        pos_embed_max_size=12,
        dual_attention_layers=(1,),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        vae=vae(
            16,
            scaling_factor=1.5,
            shift_factor=0.06,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        text_encoder_3=t5() if with_t5 else None,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5_tokenizer() if with_t5 else None,
        transformer=shaken(transformer).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
    ).save_pretrained(folder)
    return folder


def pixart(folder: Path, *, told_sizes: bool = False, **scheduler: object) -> Path:
    """A PixArtAlphaPipeline on 16×16 colour images; told_sizes as of 1,024 pixels."""
    torch.manual_seed(7)
    transformer = PixArtTransformer2DModel(
        # A third of the width for each of the three numbers of the sizes.
        num_attention_heads=3,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        cross_attention_dim=24,
        caption_channels=40,
        use_additional_conditions=told_sizes,
    )
    PixArtAlphaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=shaken(transformer).eval(),
        scheduler=DDIMScheduler(**{"clip_sample": False, **scheduler}),
    ).save_pretrained(folder)
    return folder


class Sort(NamedTuple):
    """What writes a folder, size and channels of the images that it draws, what it is told."""

    write: Callable[[Path], Path]
    size: int
    channels: int
    prompt: str | None = None


# Each class of diffusers that is a backbone, by its name up to a comma.
SORTS = {
    "UNet2DModel": Sort(ddim, 8, 1),
    "DiTTransformer2DModel": Sort(dit, 16, 3),
    "UNet2DConditionModel": Sort(stable_diffusion, 16, 3, "a plant"),
    "UNet2DConditionModel, XL": Sort(stable_diffusion_xl, 16, 3, "a plant"),
    "PixArtTransformer2DModel": Sort(pixart, 16, 3, "a plant"),
    "SD3Transformer2DModel": Sort(stable_diffusion_3, 16, 3, "a plant"),
}


def as_array(images: torch.Tensor) -> np.ndarray:
    """(N, C, H, W) in [−1, 1] as a pipeline's "np" output, (N, H, W, C) in [0, 1]."""
    return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def drawn(model: Model) -> np.ndarray:
    """Two images (2, H, W, C) in [0, 1], drawn as a pipeline does from a generator of seed 1."""
    space = model.space
    noise = torch.randn(2, *space.shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        x = by_ddim(model.denoiser, noise, model.denoiser.schedule.own_times(STEPS))
        if isinstance(space, Latents):
            x = space.vae.decode(x / space.scaling + space.shift).sample
    return as_array(x)


def drawn_by_diffusers(of: Path | DiffusionPipeline, text: str = "", **said: object) -> np.ndarray:
    """The same by the folder's own pipeline, told the text, else what is said, without guidance."""
    pipeline = DiffusionPipeline.from_pretrained(of) if isinstance(of, Path) else of
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(pipeline, DDIMPipeline):
        told = {"batch_size": 2}
    elif isinstance(pipeline, DiTPipeline):
        # The class behind the last, which says nothing.
        told = {"class_labels": [1000, 1000], "guidance_scale": 1.0}
    else:
        told = {"guidance_scale": 1.0, **(said or {"prompt": [text, text]})}
    if isinstance(pipeline, PixArtAlphaPipeline):
        told["use_resolution_binning"] = False
    generator = torch.Generator().manual_seed(1)
    return pipeline(num_inference_steps=STEPS, output_type="np", generator=generator, **told).images


Fault: TypeAlias = Callable[[Path], None]
"""What breaks a folder."""


def edited(path: str, **changes: object) -> Fault:
    """Settings of one of its configurations changed."""

    def break_it(folder: Path) -> None:
        config = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps({**config, **changes}))

    return break_it


def without(*names: str) -> Fault:
    """Files or whole folders gone."""

    def break_it(folder: Path) -> None:
        for name in names:
            part = folder / name
            shutil.rmtree(part) if part.is_dir() else part.unlink()

    return break_it


def check_refused(folder: Path, fault: Fault, said: str) -> None:
    """A folder broken so is refused in one sentence in which that stands."""
    fault(folder)
    with pytest.raises(UserError) as raised:
        load_model(folder)
    assert said in str(raised.value), str(raised.value)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
