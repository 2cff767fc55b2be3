"""Folders that plain diffusers writes, of real classes and tiny random weights."""

from pathlib import Path

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn


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
