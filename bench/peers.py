"""How soon as good as a peer: python bench/peers.py [SECONDS [BLOCKS [SET ...]]]

The peer is diffusers as its own example of unconditional training uses it (UNet2DModel, DDPM with
1,000 steps and ε as the target, AdamW with betas .95 and .999 and weight decay 1e-6, batch 16,
clipping at 1, cosine decay, the average with power .75), with a small U-Net (32, 64, 128) and two
things in its favour: its learning rate is the best of as many trials as ours has, judged by its
feature distance, and it warms up over a twentieth of the run, where the example's 500 updates would
outlast it. It trains for SECONDS (240); the better of its weights and their average is what counts.
Ours is the method `ddpm` behind a mixture (decision 26), trained from scratch for 1/64, 1/32, ...
of SECONDS: the first that is as near to real test images as the peer at its end says how many times
as fast it was. Both have the same training images, one thread, float32, and draw as many samples
with as many evaluations of their networks by DPM-Solver++ at Karras's times. Seconds are those of
the processor, not of the clock, so that other work counts little; fetching the images and drawing
samples are not among them, fitting what stands in front of our network is.

A table for each set (emoji-base, fashion-mnist), then the ratio's geometric mean over blocks with
its 95 % interval. Bound: 10 on the worst set. The command ends with code 1 below it.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.training_utils import EMAModel
from scipy.stats import t as students_t

from kurabe import data
from kurabe.encoders import Encoder, load_encoder
from kurabe.evaluation.distances import feature_distance, kid
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

SETS = {"emoji-base": (32, 3), "fashion-mnist": (28, 1)}
BOUND, BATCH, EVALUATIONS, SAMPLES, FEW = 10, 16, 20, 256, 64
# Trials of either: a quarter of the run that they are for, judged on FEW images.
TRIAL = 0.25
THEIR_RATES, OUR_RATES = (3e-4, 1e-3, 3e-3), (5e-4, 1.5e-3, 4.5e-3)
LADDER = (64, 45, 32, 23, 16, 11, 8, 4, 2, 1)
# Samples alone are drawn in the narrow format, where the processor multiplies it: of either.
NARROW = torch.ops.mkldnn._is_mkldnn_bf16_supported()
# Images of a number, drawn.
Draw = Callable[[int], np.ndarray]


@dataclass
class Setting:
    """A data set's images, uint8 (N, H, W, C), and how far drawn ones are from its test images."""

    name: str
    images: data.ImageSet
    split: data.Split
    encoder: Encoder
    real: np.ndarray

    def distances(self, drawn: np.ndarray) -> tuple[float, float]:
        """Feature distance and KID × 10³."""
        features = self.encoder.encode(drawn)
        return feature_distance(features, self.real), 1000 * kid(features, self.real)


def setting(name: str) -> Setting:
    """At most 12,000 images of a set; the test part is the reference of every distance."""
    size, channels = SETS[name]
    images = data.load(name, size=size, channels=channels, limit=12000).by_content()
    split = data.split(images, 0, fractions=(0.8, 0.1, 0.1))
    encoder = load_encoder("efficientnet-lite0", size=size, channels=channels)
    return Setting(name, images, split, encoder, encoder.encode(images.pixels[split.test][:1024]))


def theirs(of: Setting, seconds: float, rate: float, seed: int) -> tuple[list[Draw], float, int]:
    """The U-Net of diffusers after so many seconds: drawing by its average and by its weights,
    seconds spent, images seen."""
    torch.manual_seed(seed)
    size, channels = SETS[of.name]
    unet = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    noising: Any = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    optimiser = torch.optim.AdamW(unet.parameters(), rate, (0.95, 0.999), weight_decay=1e-6)
    average = EMAModel(unet.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
    pixels = torch.from_numpy(of.images.pixels[of.split.train]).permute(0, 3, 1, 2)
    began, seen = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        share = spent / seconds
        for group in optimiser.param_groups:
            group["lr"] = rate * min(share / 0.05, 0.5 + 0.5 * math.cos(math.pi * share))
        x0 = pixels[torch.randint(len(pixels), (BATCH,))].float() / 127.5 - 1
        noise, steps = torch.randn_like(x0), torch.randint(1000, (BATCH,))
        found = unet(noising.add_noise(x0, noise, steps), steps).sample
        torch.nn.functional.mse_loss(found, noise).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.step(unet.parameters())
        seen += BATCH
    own = partial(their_samples, unet, noising, seed)
    return [partial(averaged, average, unet, own), own], time.process_time() - began, seen


def averaged(average: EMAModel, unet: UNet2DModel, draw: Draw, count: int) -> np.ndarray:
    """What is drawn while the average stands in the network's place."""
    average.store(unet.parameters())
    average.copy_to(unet.parameters())
    drawn = draw(count)
    average.restore(unet.parameters())
    return drawn


@torch.inference_mode()
def their_samples(unet: UNet2DModel, noising: Any, seed: int, count: int) -> np.ndarray:
    """Images of a U-Net, by diffusers' own solver."""
    # Of any class, since from_config's annotation is of a pair.
    solver: Any = DPMSolverMultistepScheduler.from_config(noising.config, use_karras_sigmas=True)
    generator, drawn = torch.Generator().manual_seed(seed), []
    side, channels = int(unet.config["sample_size"]), int(unet.config["in_channels"])
    for _ in range(count // FEW):
        x = torch.randn(FEW, channels, side, side, generator=generator)
        solver.set_timesteps(EVALUATIONS)
        for step in solver.timesteps:
            with torch.autocast("cpu", torch.bfloat16, NARROW):
                found = unet(x, step).sample
            x = solver.step(found.float(), step, x).prev_sample
        drawn.append(x)
    pixels = (torch.cat(drawn).clamp(-1, 1) + 1) * 127.5
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def ours(of: Setting, seconds: float, rate: float, seed: int) -> tuple[list[Draw], float, int]:
    """The same of our own, behind a mixture."""
    with tempfile.TemporaryDirectory() as place:
        # The plan is in images: a short run beforehand says how many the seconds hold.
        first, fitted, stepped = trained(our_recipe(of, BATCH * 8, rate, seed), of, place)
        updates = max(1, int((seconds - fitted) / (stepped / first.plan.updates)))
        run, fitted, stepped = trained(our_recipe(of, BATCH * updates, rate, seed), of, place)
    run.model.adaptation.load(run.training.ema.average)
    start, drawing = seed * SAMPLES, replace(run.model, dtype="bfloat16" if NARROW else "float32")
    draw = [lambda count: drawing.sample(range(start, start + count), EVALUATIONS)]
    return draw, fitted + stepped, run.plan.images


def trained(recipe: Recipe, of: Setting, place: str) -> tuple[Run, float, float]:
    """A run at its end, and the seconds of what was fitted before it and of its updates."""
    model = start_model(recipe, of.images.size, of.images.channels)
    folder = RunFolder(Path(place) / str(recipe.budget.images))
    began = time.process_time()
    run = prepare(recipe, model, of.images, of.split, folder, lambda line: None)
    fitted = time.process_time() - began
    model.denoiser.train()
    while run.training.progress.updates < run.plan.updates:
        update(run)
    return run, fitted, time.process_time() - began - fitted


def our_recipe(of: Setting, images: int, rate: float, seed: int) -> Recipe:
    """`ddpm` behind a mixture, as `kurabe fit` would train it."""
    size, channels = SETS[of.name]
    return Recipe.model_validate(
        {
            "method": "ddpm",
            "seed": seed,
            "choices": {
                "start": "random",
                "adaptation": {"kind": "full"},
                "objective": [{"term": "denoising", "weighting": "v"}],
            },
            "data": {"source": of.name, "size": size, "channels": channels},
            "network": {"precondition": "mixture"},
            "budget": {"images": images},
            "optimiser": {"lr": rate, "batch": BATCH},
            "where": {"device": "cpu", "threads": 1, "dtype": "float32"},
        }
    )


Train = Callable[[Setting, float, float, int], tuple[list[Draw], float, int]]


def best(
    train: Train, of: Setting, seconds: float, rate: float, seed: int, count: int = SAMPLES
) -> tuple[float, float, float, int]:
    """The least feature distance that is drawn, its KID, seconds spent and images seen."""
    draws, spent, seen = train(of, seconds, rate, seed)
    return (*min(of.distances(draw(count)) for draw in draws), spent, seen)


def tuned(train: Train, of: Setting, seconds: float, rates: tuple[float, ...]) -> float:
    """The learning rate of the best trial, of seeds that no block has."""
    found = {rate: best(train, of, TRIAL * seconds, rate, 1000, FEW)[0] for rate in rates}
    told = ", ".join(f"{rate:g}: {value:.3f}" for rate, value in found.items())
    print(f"  {train.__name__}, trials of {TRIAL * seconds:.1f} s: {told}", flush=True)
    return min(found, key=lambda rate: found[rate])


def compare(of: Setting, seconds: float, blocks: int) -> list[float]:
    """How many times as fast ours was, in each block."""
    print(f"{of.name}: {len(of.split.train)} training images, {len(of.real)} test images")
    their_rate = tuned(theirs, of, seconds, THEIR_RATES)
    our_rate = tuned(ours, of, seconds / BOUND, OUR_RATES)
    ratios: list[float] = []
    for block in range(blocks):
        bar, their_kid, their_seconds, seen = best(theirs, of, seconds, their_rate, block)
        print(
            f"  block {block}: theirs {their_seconds:.0f} s, {seen} images, {bar:.3f}"
            f" (KID {their_kid:.0f})",
            flush=True,
        )
        ratio = 0.0
        for part in LADDER:
            near, our_kid, spent, seen = best(ours, of, seconds / part, our_rate, block)
            print(
                f"    ours {spent:.1f} s, {seen} images, {near:.3f} (KID {our_kid:.0f})", flush=True
            )
            if near <= bar:
                ratio = their_seconds / spent
                break
        ratios.append(ratio)
    return ratios


def main(seconds: float, blocks: int, sets: list[str]) -> int:
    """Returns: 0 where the worst set reaches BOUND, else 1: the exit code."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    means: list[float] = []
    for name in sets:
        ratios = compare(setting(name), seconds, blocks)
        if min(ratios) == 0:
            print(f"{name}: not reached within {seconds:.0f} s")
            means.append(0.0)
            continue
        logs = [math.log(ratio) for ratio in ratios]
        mean, half = statistics.mean(logs), math.inf
        if blocks > 1:
            half = students_t.ppf(0.975, blocks - 1) * statistics.stdev(logs) / math.sqrt(blocks)
        low, high = math.exp(mean - half), math.exp(mean + half)
        print(f"{name}: {math.exp(mean):.1f} times as fast, 95 % interval {low:.1f} to {high:.1f}")
        means.append(math.exp(mean))
    print(f"worst: {min(means):.1f} (at least {BOUND})")
    return int(min(means) < BOUND)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(
        main(
            float(arguments[0]) if arguments else 240.0,
            int(arguments[1]) if len(arguments) > 1 else 3,
            arguments[2:] or list(SETS),
        )
    )
