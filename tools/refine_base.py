"""Give a base a refinement behind its head: python tools/refine_base.py BASE OUT.

The new weights start as a new network's would, so OUT draws what BASE draws, and training can go
on from there. BASE is a shipped base's name or a base's folder.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from kurabe import bases
from kurabe.recipe import Network
from kurabe.training.model import WEIGHTS, make_denoiser


def main(name: str, out: Path) -> None:
    """Write OUT with base.json and weights; nothing of BASE changes."""
    base = bases.find(name)
    info = dict(base.info)
    info["network"] = {**info["network"], "refine": Network().refine}
    torch.manual_seed(0)
    grown = make_denoiser(Network(**info["network"]), base.image_size, base.channels).backbone
    state = grown.state_dict()
    for key, old in load_file(base.path / WEIGHTS).items():
        state[key][: len(old)] = old.to(state[key].dtype)
    out.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in state.items()}, out / WEIGHTS)
    kept = ("image_size", "channels", "network", "data", "images_seen", "seconds")
    (out / "base.json").write_text(json.dumps({k: info[k] for k in kept}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
