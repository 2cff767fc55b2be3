"""The exact denoiser of a mixture of Gaussians with one covariance, fitted to images.

If images were drawn as x₀ ~ Σ_k π_k N(μ_k, Σ), then of x_t = α x₀ + σ ε, with V = α² Σ + σ² I,

    x̂₀ = m + α Σ V⁻¹ (x_t − α m),    ε̂ = σ V⁻¹ (x_t − α m),                                (1)
    m = Σ_k r_k μ_k,    r_k ∝ π_k exp(−½ (x_t − α μ_k)ᵀ V⁻¹ (x_t − α μ_k)).

Of one component it is the best linear denoiser; with Σ = σ_data² I that is the skip connection of
Karras et al. (2022), "Elucidating the design space of diffusion-based generative models", equation
7 and appendix B.6. With the images' own covariance it is most of what a network learns at high
noise (Wang & Vastola 2024, "The unreasonable effectiveness of Gaussian score approximation for
diffusion models and its applications"); a network in front of which it stands learns the rest.

Σ is estimated in the basis of the discrete cosine transform, in which that of natural images is
nearly diagonal: in full among the lowest frequencies, shrunk towards its diagonal as few images ask
(Schäfer & Strimmer 2005, "A shrinkage approach to large-scale covariance matrix estimation"), and
as its diagonal beyond, where components do not differ. So V⁻¹ is a division in a fixed basis, for
images of any size. Components are k-means clusters.
"""

import math
import warnings

import torch
from torch import Tensor, nn
from typing_extensions import override

# Lowest frequencies, of all channels together, whose covariance is estimated in full.
MODES = 1024
# Directions of most variance in which images are clustered, and the fewest images a cluster has on
# average: with fewer, an image in training would be told its own place by its cluster.
CLUSTERED, FEWEST = 64, 32
# Of more images so many, evenly among them, are searched for clusters; the rest are then placed.
SEARCHED = 10_000
# Rounding to steps of 2/255 alone gives pixels this variance; no direction has less.
LEAST_VARIANCE = (2 / 255) ** 2 / 12
# The log weight of a component that there is not: no logit of one that there is comes near. Not −∞,
# of which an average of weights over time would make NaN.
NO_WEIGHT = -1e30


class MixtureDenoiser(nn.Module):
    """Equation (1) of images (C, H, W); until `fit` has seen some, with μ = 0 and Σ = I.

    components: the most there may be.

    Buffers: `mean` and `variances` (C, H, W), along the axes of the basis; `axes` (L, L), the
    eigenvectors, as columns, among the L lowest frequencies; `centres` (K, L), how far each
    component's mean lies from `mean` along them; `log_weights` (K,), NO_WEIGHT where there is none.
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor
    centres: Tensor
    log_weights: Tensor
    by_rows: Tensor
    by_columns: Tensor

    def __init__(
        self, channels: int, sides: tuple[int, int], components: int = 1, modes: int = MODES
    ) -> None:
        super().__init__()
        height, width = sides
        self.low = lowest(channels, sides, modes)
        count = channels * self.low[0] * self.low[1]
        weights = torch.full((components,), NO_WEIGHT)
        weights[0] = 0.0
        self.register_buffer("mean", torch.zeros(channels, height, width))
        self.register_buffer("variances", torch.ones(channels, height, width))
        self.register_buffer("axes", torch.eye(count))
        self.register_buffer("centres", torch.zeros(components, count))
        self.register_buffer("log_weights", weights)
        self.register_buffer("by_rows", cosines(height), persistent=False)
        self.register_buffer("by_columns", cosines(width), persistent=False)

    @override
    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x̂₀ and ε̂ of x_t (B, C, H, W), float32 like it, at α and σ (B, 1, 1, 1)."""
        with torch.autocast(x_t.device.type, enabled=False):
            apart = self._turned(self._to_modes(x_t)) - alpha * self.mean
            total = alpha.square() * self.variances + sigma.square()
            mean = self.mean
            if len(self.centres) > 1:
                centre = self._centre(self._low(apart), self._low(total), alpha.flatten(1))
                apart = self._with_low(apart, self._low(apart) - alpha.flatten(1) * centre)
                mean = mean.expand_as(apart)
                mean = self._with_low(mean, self._low(mean) + centre)
            apart = apart / total
            x0 = torch.addcmul(mean, alpha * self.variances, apart)
            return self._to_images(x0), self._to_images(sigma * apart)

    def _centre(self, apart: Tensor, total: Tensor, alpha: Tensor) -> Tensor:
        """m − μ of x_t − α μ (B, L), of variance `total` along the axes, at α (B, 1): (B, L)."""
        # (x − α c)ᵀ V⁻¹ (x − α c) without the square of x, which all components share.
        near = (alpha * apart / total) @ self.centres.T
        own = (alpha.square() / total) @ self.centres.square().T
        return (near - own / 2 + self.log_weights).softmax(1) @ self.centres

    def mean_image(self) -> Tensor:
        """μ of all components together as an image, (C, H, W)."""
        return self._to_images(self.mean.unsqueeze(0))[0]

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Estimate all from images (N, C, H, W); ValueError for fewer than two."""
        if len(images) < 2:
            raise ValueError("a covariance takes at least two images")
        z = self._to_modes(images.to(self.mean))
        mean = z.mean(0)
        self._covariance(z - mean, 1)
        places = self._clusters(self._low(z - mean) @ self.axes)
        count = int(places.max()) + 1
        if count > 1:
            sizes = torch.bincount(places, minlength=count).to(z)
            low = self._low(z - mean)
            centres = torch.zeros(count, low.shape[1]).to(z).index_add_(0, places, low)
            centres = centres / sizes.unsqueeze(1)
            self._covariance(self._with_low(z - mean, low - centres[places]), count)
            self.centres.zero_()[:count] = centres @ self.axes
            self.log_weights.fill_(NO_WEIGHT)[:count] = (sizes / len(z)).log()
        self.mean.copy_(self._turned(mean.unsqueeze(0))[0])

    def _covariance(self, z: Tensor, components: int) -> None:
        """Estimate Σ from coefficients (N, C, H, W) less the means of so many components."""
        kept = (len(z) - 1) / (len(z) - components)
        variances = (z.var(0) * kept).clamp(min=LEAST_VARIANCE)
        spread = self._low(variances.sqrt().unsqueeze(0))[0]
        correlations = shrunk_correlations(self._low(z) / spread * kept**0.5)
        among, axes = torch.linalg.eigh(spread.outer(spread) * correlations)
        self.axes.copy_(axes)
        self.variances.copy_(self._with_low(variances.unsqueeze(0), among.unsqueeze(0))[0])
        self.variances.clamp_(min=LEAST_VARIANCE)

    def _clusters(self, low: Tensor) -> Tensor:
        """The cluster of each image, (N,), from its place along the axes, (N, L)."""
        count = max(1, min(len(self.centres), len(low) // FEWEST))
        # Eigenvalues rise, so the last axes are those of most variance.
        return clusters(low[:, -CLUSTERED:], count, -(-len(low) // SEARCHED))

    def _to_modes(self, x: Tensor) -> Tensor:
        """Images → coefficients of the cosine transform, (B, C, H, W) both."""
        return self.by_rows @ x @ self.by_columns.T

    def _to_images(self, modes: Tensor) -> Tensor:
        """Coefficients along the axes → images."""
        return self.by_rows.T @ self._turned(modes, back=True) @ self.by_columns

    def _turned(self, modes: Tensor, back: bool = False) -> Tensor:
        """The lowest frequencies from their own directions to those of the axes, or back."""
        return self._with_low(modes, self._low(modes) @ (self.axes.T if back else self.axes))

    def _low(self, modes: Tensor) -> Tensor:
        rows, columns = self.low
        return modes[:, :, :rows, :columns].flatten(1)

    def _with_low(self, modes: Tensor, low: Tensor) -> Tensor:
        rows, columns = self.low
        modes = modes.clone()
        modes[:, :, :rows, :columns] = low.view(len(modes), -1, rows, columns)
        return modes


def clusters(points: Tensor, count: int, every: int = 1) -> Tensor:
    """The k-means cluster of each point (N, D), found among one in `every` of them: (N,)."""
    if count == 1:
        return torch.zeros(len(points), dtype=torch.long, device=points.device)
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    seen = points.cpu().numpy()
    # Of points that are alike there are fewer, which it would say on the run's own lines.
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        found = KMeans(count, random_state=0).fit(seen[::every]).predict(seen)
    return torch.from_numpy(found).long().to(points.device)


def cosines(count: int) -> Tensor:
    """The orthonormal cosine transform of `count` values (DCT-II), (count, count): y = T x."""
    at = torch.arange(count, dtype=torch.float64)
    waves = torch.cos(math.pi / count * (at + 0.5) * at.unsqueeze(1)) * (2 / count) ** 0.5
    waves[0] /= 2**0.5
    return waves.float()


def lowest(channels: int, sides: tuple[int, int], modes: int) -> tuple[int, int]:
    """Rows and columns of lowest frequencies, as many of both as there are for `modes` in all."""
    most = max(1, math.isqrt(modes // channels))
    return min(most, sides[0]), min(most, sides[1])


def shrunk_correlations(z: Tensor) -> Tensor:
    """The correlations (K, K) of z (N, K), of mean 0 and variance 1, shrunk towards none.

    Off the diagonal they are (1 − λ) r_ij with λ = Σ Var(r_ij) / Σ r_ij², the sums over i ≠ j
    (Schäfer & Strimmer 2005, table 1, target "D", on the scale of correlations), in [0, 1].
    """
    n = len(z)
    products, squares = z.T @ z / n, z.square().T @ z.square() / n
    off = ~torch.eye(len(products), dtype=torch.bool, device=z.device)
    r = products * n / (n - 1)
    variance = (squares - products.square()) * n**2 / (n - 1) ** 3
    strongest = r[off].square().sum().clamp(min=torch.finfo(z.dtype).tiny)
    kept = 1 - (variance[off].sum() / strongest).clamp(0, 1)
    return torch.where(off, kept * r, torch.ones_like(r))
