"""The scattering transform: what two rounds of fixed wavelets and moduli tell of an image.

Bruna & Mallat (2013), "Invariant scattering convolution networks", with J = 2 octaves and L = 8
angles: S₀ = x ⋆ φ, S₁ = |x ⋆ ψ_jθ| ⋆ φ, S₂ = ||x ⋆ ψ_0θ| ⋆ ψ_1θ′| ⋆ φ, every fourth value, so
1 + 16 + 64 maps. ψ_jθ are Morlet wavelets at ξ = ¾π / 2^j of width σ = 0.8 · 2^j and slant 4 / L,
less as much of their envelope as makes their mean zero; φ is a Gaussian of width 0.8 · 2^{J−1}.
Nothing is learned. Filters are written down in frequency, where all of them are Gaussians.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

OCTAVES, ANGLES = 2, 8
STRIDE = 2**OCTAVES
MAPS = 1 + OCTAVES * ANGLES + ANGLES**2
# Values around an image, mirrored, that keep one border from reaching the other.
MARGIN = 2 * STRIDE


def scattering(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) → (B, 81, ⌈H / 4⌉, ⌈W / 4⌉), S₀ first, then S₁ by (j, θ), then S₂."""
    height, width = images.shape[2:]
    # Rows and columns that make every stride whole.
    more = (-width % STRIDE + MARGIN, -height % STRIDE + MARGIN)
    mode = "reflect" if min(height, width) > max(more) else "replicate"
    x = F.pad(images.float(), (MARGIN, more[0], MARGIN, more[1]), mode)[:, 0]
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    low, waves = filters((x.shape[1], x.shape[2]), x.device)
    fine, coarse = waves[0], waves[1]

    def smoothed(maps: Tensor) -> Tensor:
        spectrum = (torch.fft.fft2(maps) * low).unflatten(-1, (STRIDE, -1))
        # Every fourth value alone is asked for: frequencies that are one there are joined before.
        folded = spectrum.unflatten(-3, (STRIDE, -1)).mean((-4, -2))
        found, first = torch.fft.ifft2(folded).real, MARGIN // STRIDE
        return found[..., first : first + rows, first : first + columns]

    spectrum = torch.fft.fft2(x).unsqueeze(1)
    found = [smoothed(x).unsqueeze(1)]
    moduli = [torch.fft.ifft2(spectrum * of).abs() for of in (fine, coarse)]
    found += [smoothed(of) for of in moduli]
    again = torch.fft.fft2(moduli[0])
    for angle in range(ANGLES):
        found.append(smoothed(torch.fft.ifft2(again[:, angle, None] * coarse).abs()))
    return torch.cat(found, 1)


@lru_cache(maxsize=4)
def filters(sides: tuple[int, int], device: torch.device) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """φ̂ (H, W) and for each octave ψ̂ (L, H, W) over the frequencies of `torch.fft.fft2`."""
    low = _gaussian(sides, 0.8 * 2 ** (OCTAVES - 1), 1.0, 0.0, 0.0)
    octaves = []
    for j in range(OCTAVES):
        own = []
        for k in range(ANGLES):
            shape = (0.8 * 2**j, 4 / ANGLES, k * math.pi / ANGLES)
            wave = _gaussian(sides, *shape, 0.75 * math.pi / 2**j)
            envelope = _gaussian(sides, *shape, 0.0)
            own.append(wave - wave[0, 0] / envelope[0, 0] * envelope)
        octaves.append(torch.stack(own).to(device))
    return low.to(device), (octaves[0], octaves[1])


def _gaussian(
    sides: tuple[int, int], sigma: float, slant: float, angle: float, xi: float
) -> Tensor:
    """exp(−½ σ² (u² + v² / slant²)), u along and v across the angle from ξ, over one period."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) * 2 * math.pi for n in sides)
    total = torch.zeros(sides, dtype=torch.float64)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            y, x = rows[:, None] + 2 * math.pi * down, columns[None] + 2 * math.pi * across
            u = x * math.cos(angle) + y * math.sin(angle) - xi
            v = y * math.cos(angle) - x * math.sin(angle)
            total += torch.exp(-0.5 * sigma**2 * (u**2 + (v / slant) ** 2))
    return total.float()
