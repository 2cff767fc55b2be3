"""What patches of an image look like, as a mixture of Gaussians, and its denoiser in closed form.

At low noise an image is denoised from its neighbourhood alone, and there a covariance that all
places share is far from enough: a flat patch has next to none, an edge has much of it in a few
directions. So patches p ~ Σ_k π_k N(μ_k, Σ_k) (Zoran & Weiss 2011, "From learning models of natural
image patches to whole image restoration"), each Σ_k = U_k diag(λ_k − τ_k) U_kᵀ + τ_k I with few
columns in U_k (Tipping & Bishop 1999, "Mixtures of probabilistic principal component analysers").
Of p_t = α p + σ ε, with u_k = p_t − α μ_k, q_k = U_kᵀ u_k and variances V(λ) = α² λ + σ²,

    p̂ = Σ_k r_k [ μ_k + (α τ_k / V(τ_k)) u_k + U_k (α λ_k / V(λ_k) − α τ_k / V(τ_k)) q_k ],    (1)
    log r_k = log π_k − ½ Σ log V − ½ |u_k|² / V(τ_k) − ½ Σ (1 / V(λ_k) − 1 / V(τ_k)) q_k² + const.

A pixel is the mean over the patches that hold it, as every patch's own estimate of it would be.

`PatchedDenoiser` takes an image's own mixture (`kurabe.diffusion.mixture`), which knows shapes, and
this one, which knows strokes: x̂₀ = x̂₀ᵐ + b (x̂₀ᵖ − x̂₀ᵐ), where b, a function of the noise level, is
the least squares on images that neither was fitted to.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from kurabe.diffusion.mixture import LEAST_VARIANCE, NO_WEIGHT, MixtureDenoiser, clusters
from kurabe.randomness import generator

# Pixels a side of a patch, pixels between two of them, components, and directions of each that
# have a variance of their own.
SIDE, STRIDE, COMPONENTS, DIRECTIONS = 6, 2, 64, 16
# The most components of the mixture of images.
OF_IMAGES = 128
# Patches that a fit sees, its passes over them, and the fewest for a value of a component's mean.
SEEN, PASSES, FEWEST = 20_000, 6, 2
# A component's share of a patch below which it has none.
LEAST_SHARE = 1e-6
# Log-SNRs between which b is interpolated; beyond them it stays.
LEVELS = (-6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
# Images that b is judged on, and the share of all that they may be without a fit to all of them.
JUDGED, SPARED = 64, 0.05


class PatchMixture(nn.Module):
    """Equation (1) for images (C, H, W); until `fit` has seen some, with one component N(0, I).

    Buffers, with d = C · side² and r directions: `centres` (K, d), `axes` (K, d, r), `variances`
    (K, r) along them, `tails` (K,) beyond them, `log_weights` (K,), NO_WEIGHT where there is none.
    """

    centres: Tensor
    axes: Tensor
    variances: Tensor
    tails: Tensor
    log_weights: Tensor

    def __init__(self, channels: int, sides: tuple[int, int], components: int = COMPONENTS) -> None:
        super().__init__()
        self.side = min(SIDE, *sides)
        # Where steps of two would leave the last row or column out, one is taken.
        self.steps = tuple(STRIDE if (s - self.side) % STRIDE == 0 else 1 for s in sides)
        size = channels * self.side**2
        directions = min(DIRECTIONS, size)
        weights = torch.full((components,), NO_WEIGHT)
        weights[0] = 0.0
        eye = torch.eye(size)[:, :directions]
        self.register_buffer("centres", torch.zeros(components, size))
        self.register_buffer("axes", eye.repeat(components, 1, 1))
        self.register_buffer("variances", torch.ones(components, directions))
        self.register_buffer("tails", torch.ones(components))
        self.register_buffer("log_weights", weights)

    @override
    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x̂₀ of x_t (B, C, H, W), float32 like it, at α and σ (B, 1, 1, 1)."""
        with torch.autocast(x_t.device.type, enabled=False):
            patches = self._cut(x_t)
            found = self._denoised(patches, alpha.flatten(1), sigma.flatten(1))
            sides = x_t.shape[2:]
            sums = F.fold(found.mT, sides, self.side, stride=self.steps)
            seen = F.fold(torch.ones_like(found[:1]).mT, sides, self.side, stride=self.steps)
            return sums / seen

    def _cut(self, images: Tensor, steps: tuple[int, ...] | None = None) -> Tensor:
        """Images → patches (B, N, d)."""
        return F.unfold(images, self.side, stride=steps or self.steps).mT.contiguous()

    def _denoised(self, patches: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Equation (1) of patches (B, N, d) at α and σ (B, 1)."""
        shares, along = self._shares(patches, alpha, sigma)
        tail = alpha * self.tails / self._total(self.tails, alpha, sigma)
        own = self._total(self.variances, alpha.unsqueeze(2), sigma.unsqueeze(2))
        gain = alpha.unsqueeze(2) * self.variances / own - tail.unsqueeze(2)
        # Σ r_k U_k g_k q_k in one product: g_k goes into the axes, r_k into q_k.
        back = (self.axes * gain.unsqueeze(2)).permute(0, 1, 3, 2).flatten(1, 2)
        moved = (along * shares.unsqueeze(3)).flatten(2) @ back
        kept = shares * tail.unsqueeze(1)
        middles = (shares - kept * alpha.unsqueeze(2)) @ self.centres
        return middles + kept.sum(2, keepdim=True) * patches + moved

    def _shares(self, patches: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """r (B, N, K) and q (B, N, K, r) of patches (B, N, d)."""
        count, size, directions = self.axes.shape
        flat = self.axes.permute(1, 0, 2).reshape(size, -1)
        middles = (self.centres.unsqueeze(1) @ self.axes).flatten()
        along = patches @ flat - alpha.unsqueeze(2) * middles
        along = along.unflatten(2, (count, directions))
        wide = self._total(self.variances, alpha.unsqueeze(2), sigma.unsqueeze(2))
        tail = self._total(self.tails, alpha, sigma)
        narrow = 1 / wide - 1 / tail.unsqueeze(2)
        # |p_t − α μ_k|² without the products of patches with patches of more than their own length.
        length = patches.square().sum(2, keepdim=True) - 2 * alpha.unsqueeze(2) * (
            patches @ self.centres.T
        )
        length = length + (alpha.square() * self.centres.square().sum(1)).unsqueeze(1)
        inside = torch.einsum("bnkr,bkr->bnk", along.square(), narrow)
        spread = wide.log().sum(2) + (size - directions) * tail.log()
        scores = self.log_weights - (spread / 2).unsqueeze(1)
        scores = scores - (length / tail.unsqueeze(1) + inside) / 2
        shares = scores.softmax(2)
        # Numbers too small to count would be too small for fast products, too.
        return shares * (shares > LEAST_SHARE), along

    @staticmethod
    def _total(variances: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha.square() * variances + sigma.square()

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Estimate all from patches of images (N, C, H, W), by expectation and maximisation."""
        patches = self._some(images.to(self.centres))
        count, size = self.centres.shape
        count = max(1, min(count, len(patches) // (FEWEST * size)))
        shares = F.one_hot(clusters(patches, count), count).to(patches)
        # Where nothing is known of the noise, the grey level's own rounding is there.
        one, least = torch.ones(1, 1).to(patches), torch.full((1, 1), LEAST_VARIANCE**0.5)
        for _ in range(PASSES):
            self._maximise(patches, shares)
            found = self._shares(patches.unsqueeze(0), one, least.to(patches))[0]
            shares = found[0, :, :count]
        self._maximise(patches, shares)

    def _some(self, images: Tensor) -> Tensor:
        """At most SEEN patches (M, d), from everywhere in the images alike."""
        draw = generator(0, "patches")
        each = min(len(images), SEEN)
        chosen = images[torch.from_numpy(draw.permutation(len(images))[:each])]
        rows, columns = (s - self.side + 1 for s in images.shape[2:])
        per_image = min(rows * columns, -(-SEEN // each))
        places = torch.from_numpy(draw.permuted(
            torch.arange(rows * columns).repeat(each, 1).numpy(), axis=1
        )[:, :per_image])  # fmt: skip
        rows_of, columns_of = places // columns, places % columns
        near = torch.arange(self.side)
        found = chosen[
            torch.arange(each).view(-1, 1, 1, 1),
            :,
            rows_of[..., None, None] + near.view(-1, 1),
            columns_of[..., None, None] + near,
        ]
        return found.movedim(-1, 2).flatten(0, 1).flatten(1)

    def _maximise(self, patches: Tensor, shares: Tensor) -> None:
        """The parameters that shares (M, K) of patches (M, d) ask for (Tipping & Bishop 1999,
        equations 22 to 25)."""
        directions = self.variances.shape[1]
        self.log_weights.fill_(NO_WEIGHT)
        for k, share in enumerate(shares.T):
            size = share.sum()
            if size < 1:
                continue
            # Of most patches a component has no share: they need not be looked at.
            among = share > 0
            own, share = patches[among], share[among] / size
            centre = share @ own
            apart = (own - centre) * share.sqrt().unsqueeze(1)
            found, axes = torch.linalg.eigh(apart.T @ apart)
            found = found.clamp(min=LEAST_VARIANCE)
            self.centres[k], self.log_weights[k] = centre, (size / len(patches)).log()
            self.axes[k], self.variances[k] = axes[:, -directions:], found[-directions:]
            rest = found[:-directions]
            self.tails[k] = rest.mean() if len(rest) else LEAST_VARIANCE


class PatchedDenoiser(nn.Module):
    """A mixture of images and one of their patches; see the module's text.

    `shares` (levels,): b at LEVELS.
    """

    shares: Tensor
    levels: Tensor

    def __init__(self, channels: int, sides: tuple[int, int], components: int) -> None:
        super().__init__()
        self.whole = MixtureDenoiser(channels, sides, components)
        self.patches = PatchMixture(channels, sides)
        self.register_buffer("shares", torch.zeros(len(LEVELS)))
        self.register_buffer("levels", torch.tensor(LEVELS), persistent=False)

    @property
    def mean(self) -> Tensor:
        """Of the images, (C, H, W), in the basis of `whole`."""
        return self.whole.mean

    def mean_image(self) -> Tensor:
        """The mean of the images, (C, H, W)."""
        return self.whole.mean_image()

    @override
    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x̂₀ and ε̂ of x_t (B, C, H, W), float32 like it, at α and σ (B, 1, 1, 1)."""
        x0, eps = self.whole(x_t, alpha, sigma)
        apart = self.patches(x_t, alpha, sigma) - x0
        apart = self._share(alpha, sigma) * apart
        # Both add up to x_t: what is added to the one is taken from the other.
        least = LEAST_VARIANCE**0.5
        return x0 + apart, eps - apart * alpha / sigma.clamp(min=least)

    def _share(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """b at α and σ (B, 1, 1, 1), of their shape."""
        least = torch.finfo(alpha.dtype).tiny
        log_snr = 2 * (alpha.clamp(min=least).log() - sigma.clamp(min=least).log())
        log_snr = log_snr.clamp(LEVELS[0], LEVELS[-1])
        above = torch.searchsorted(self.levels, log_snr, right=True).clamp(1, len(LEVELS) - 1)
        low, high = self.levels[above - 1], self.levels[above]
        return torch.lerp(
            self.shares[above - 1], self.shares[above], (log_snr - low) / (high - low)
        )

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Fit both to images (N, C, H, W), and b on some apart; ValueError for fewer than two."""
        count = len(images)
        order = torch.from_numpy(generator(0, "patches, judged").permutation(count))
        judged = order[: min(JUDGED, count // 4)]
        first = images[order[len(judged) :]]
        self._fit_both(first)
        if len(judged):
            self._judge(images[judged].to(self.shares))
        if len(judged) > SPARED * count:
            self._fit_both(images)

    def _fit_both(self, images: Tensor) -> None:
        self.whole.fit(images)
        self.patches.fit(images)

    def _judge(self, images: Tensor) -> None:
        """b = Σ (x₀ − x̂₀ᵐ)(x̂₀ᵖ − x̂₀ᵐ) / Σ (x̂₀ᵖ − x̂₀ᵐ)², from 0 to 1, at each level."""
        for i, level in enumerate(LEVELS):
            snr = torch.full((len(images), 1, 1, 1), level).to(images)
            alpha, sigma = snr.sigmoid().sqrt(), (-snr).sigmoid().sqrt()
            draw = generator(0, "patches, noise", i)
            noise = torch.from_numpy(draw.standard_normal(images.shape)).to(images)
            x_t = alpha * images + sigma * noise
            whole = self.whole(x_t, alpha, sigma)[0]
            apart = self.patches(x_t, alpha, sigma) - whole
            power = apart.square().sum().clamp(min=torch.finfo(apart.dtype).tiny)
            self.shares[i] = (((images - whole) * apart).sum() / power).clamp(0, 1)


ClosedForm: TypeAlias = MixtureDenoiser | PatchedDenoiser
CLOSED_FORMS: dict[str, Callable[[int, tuple[int, int]], ClosedForm]] = {
    "covariance": MixtureDenoiser,
    "mixture": partial(MixtureDenoiser, components=OF_IMAGES),
    "patches": partial(PatchedDenoiser, components=OF_IMAGES),
}
