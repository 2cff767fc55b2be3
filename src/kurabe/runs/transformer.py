"""A run or a base as a scikit-learn transformer: images in, features out.

Images are samples, so X has three or four dimensions or is a list, and checks of estimators that
give tables of numbers do not apply; those that do hold (`tests/unit/test_transformer.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from kurabe.data import ImageSet
from kurabe.runs.embedding import Wanted, embed_images
from kurabe.runs.loaded import load_run
from kurabe.runs.pictures import as_pixels


class DiffusionFeatures(TransformerMixin, BaseEstimator):
    """Features of images by a run or a base, float32 (N, dim); nothing is learned from X.

    Parameters
    ----------
    run: a run's folder or id, "latest", or a base. layer, log_snr, grid: where features are taken;
    None takes what the run's own search found, else the place declared beforehand. draws: of noise
    to average over. device: "auto", "cpu" or another.

    X may be all that `kurabe.load(run).embed` takes; UserError says what else was given. An image's
    noise depends on its place in X, so the same X has the same features.

    >>> from kurabe.runs.transformer import DiffusionFeatures
    >>> DiffusionFeatures("emoji-32").get_params()["draws"]
    4
    """

    def __init__(
        self,
        run: str = "latest",
        *,
        layer: str | None = None,
        log_snr: float | None = None,
        grid: int | None = None,
        draws: int = 4,
        device: str = "auto",
    ) -> None:
        self.run = run
        self.layer = layer
        self.log_snr = log_snr
        self.grid = grid
        self.draws = draws
        self.device = device

    def fit(self, X: Any, y: Any = None) -> DiffusionFeatures:
        """Load the run; X is looked at only for whether it is images."""
        self.loaded_ = load_run(self.run, self.device)
        self.n_features_out_ = self._features(X[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of the images, float32 (N, dim), a row an image."""
        check_is_fitted(self)
        return self._features(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the features, by their place in a row."""
        check_is_fitted(self)
        names = [f"diffusionfeatures{k}" for k in range(self.n_features_out_)]
        return np.asarray(names, object)

    def _features(self, X: Any) -> np.ndarray:
        model = self.loaded_.model
        pixels = as_pixels(X, model.image_size, model.channels)
        ids = tuple(str(k) for k in range(len(pixels)))
        images = ImageSet("given", pixels, ids, np.arange(len(pixels), dtype=np.int64))
        wanted = Wanted(self.layer, self.log_snr, self.grid, self.draws)
        return embed_images(model, images, wanted, self.loaded_.folder).vectors

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags
