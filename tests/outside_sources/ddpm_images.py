"""Train diffusers' DDPM on a folder of PNGs for a few steps, and write samples as PNGs.

    python ddpm_images.py IMAGES OUT COUNT SEED STEPS

The unconditional training example of the diffusers library, cut down to what a test can afford.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image


def main(images: str, out: str, count: int, seed: int, steps: int) -> None:
    torch.manual_seed(seed)
    files = sorted(Path(images).glob("*.png"))
    data = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    data = torch.from_numpy(data).permute(0, 3, 1, 2).float() / 127.5 - 1
    unet = UNet2DModel(
        sample_size=data.shape[-1], block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=8,
    )  # fmt: skip
    noise = DDPMScheduler(1000)
    optimiser = torch.optim.AdamW(unet.parameters(), 2e-3)
    for _ in range(steps):
        clean = data[torch.randint(len(data), (16,))]
        epsilon, t = torch.randn_like(clean), torch.randint(1000, (16,))
        loss = torch.nn.functional.mse_loss(
            unet(noise.add_noise(clean, epsilon, t), t).sample, epsilon
        )
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    pipeline = DDPMPipeline(unet, DDIMScheduler.from_config(noise.config))
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(count, num_inference_steps=8, generator=torch.Generator().manual_seed(seed))
    Path(out).mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(drawn.images):
        image.save(Path(out) / f"{k:05d}.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:6]))
