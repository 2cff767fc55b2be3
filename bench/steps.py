"""What a training step costs, as ratios within one run: python bench/steps.py [THREADS].

Held to (issue "main job"): a LoRA step (rank 8, all linear layers, width 256, optimiser included)
≤ 1.15 × the ratio its FLOPs predict; a masked step at half the tokens ≤ 0.65 of the same network
with all tokens; matrix-product FLOPs of the shipped configuration's step ≥ 55 % of the best
matrix product. Contestants take turns, so that drift of the machine hits all alike; medians count.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from kurabe.adaptations import attach
from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.backbones import PatchTransformer

BATCH, ROUNDS = 32, 25


def step(width: int, choice: Full | LowRank, keep_share: float = 1.0) -> Callable[[], None]:
    """One optimiser step of the shipped shape at this width, on random images."""
    torch.manual_seed(0)
    network = PatchTransformer(32, 3, width=width, depth=6, heads=width // 32, decoder=1)
    attach(network, choice)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    x, t = torch.randn(BATCH, 3, 32, 32), torch.rand(BATCH)
    keep = None
    if keep_share < 1:
        kept = round(64 * keep_share)
        keep = torch.stack([torch.randperm(64)[:kept].sort().values for _ in range(BATCH)])

    def once() -> None:
        loss = (network(x, t, keep=keep).prediction - x).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return once


def product(n: int = 1536) -> Callable[[], None]:
    """A square matrix product, the yardstick: 2n³ FLOPs."""
    a, b = torch.randn(n, n), torch.randn(n, n)

    def once() -> None:
        torch.mm(a, b)

    return once


def forward_flops(width: int, depth: int = 6, tokens: int = 64, patch: int = 4) -> float:
    """Matrix-product FLOPs of one image's forward pass: linear layers and attention."""
    linear = depth * tokens * 2 * 12 * width**2
    attention = depth * 2 * 2 * tokens**2 * width
    ends = 2 * 2 * tokens * width * 3 * patch**2
    return linear + attention + ends


def lora_ratio(width: int, rank: int = 8, depth: int = 6, tokens: int = 64) -> float:
    """FLOPs of a LoRA step over those of a full one.

    Full: forward, gradients of activations, gradients of weights (3 units of linear work; the
    attention itself has no weights). LoRA: no gradients of the big weights; three units of
    2 · rank · (in + out) for the small ones.
    """
    attention = depth * 2 * 2 * tokens**2 * width
    linear = forward_flops(width) - attention
    small = depth * tokens * 2 * rank * ((1 + 3) + (1 + 1) + (1 + 4) + (4 + 1)) * width
    return (2 * linear + 3 * attention + 3 * small) / (3 * linear + 3 * attention)


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    contestants = {
        "product": product(),
        "shipped": step(192, Full()),
        "masked": step(192, Full(), 0.5),
        "full-256": step(256, Full()),
        "lora-256": step(256, LowRank(rank=8)),
    }
    took: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, once in contestants.items():
            began = time.perf_counter()
            once()
            took[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values[3:]) for name, values in took.items()}
    best = 2 * 1536**3 / min(took["product"])
    reached = 3 * BATCH * forward_flops(192) / median["shipped"]
    lora, predicted = median["lora-256"] / median["full-256"], lora_ratio(256)
    masked = median["masked"] / median["shipped"]
    print(f"threads {threads}; medians of {ROUNDS - 3} turns, batch {BATCH}")
    print(f"best matrix product      {best / 1e9:6.1f} GFLOP/s")
    print(f"shipped step             {BATCH / median['shipped']:6.1f} images/s")
    print(f"  of the best product    {reached / best:6.1%}   (at least 55 %)")
    print(
        f"LoRA / full, width 256   {lora:6.3f}   (at most {1.15 * predicted:.3f}: "
        f"1.15 × {predicted:.3f})"
    )
    print(f"masked / all tokens      {masked:6.3f}   (at most 0.65)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
