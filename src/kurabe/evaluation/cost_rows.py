"""What a run cost: measured while it trained and sampled, or counted from the network.

FLOPs are of matrix products and convolutions, two for each multiply-add, counted by torch during
one real pass.
"""

import torch

from kurabe.evaluation.model_features import Model
from kurabe.evaluation.references import Rows
from kurabe.evaluation.samples import Samples
from kurabe.recipe import Evaluation
from kurabe.records import Info
from kurabe.training.flops import counter

# Row → the key of run.json that training wrote it under.
_RECORDED = {
    "seconds": "seconds",
    "images": "images_seen",
    "peak-memory": "peak_memory",
    "flops-per-image": "flops_per_image",
}


@torch.no_grad()
def evaluation_flops(model: Model) -> int:
    """FLOPs of one denoiser call for one image."""
    x_t = torch.zeros(1, *model.space.shape, device=model.device)
    with counter() as counted:
        model.denoiser(x_t, torch.full((1,), 0.5, device=model.device))
    return counted.get_total_flops()


def cost_rows(model: Model, samples: Samples, settings: Evaluation, info: Info) -> Rows:
    """Cost rows; what `info`, the run's record, does not know is left out."""
    rows: Rows = {row: {"value": info[key]} for row, key in _RECORDED.items() if key in info}
    if (seconds := info.get("seconds")) and (seen := info.get("images_seen")):
        trained = seconds - (info.get("prepared_seconds") or 0)
        rows["images-per-second"] = {"value": seen / trained}
    total = sum(p.numel() for p in model.denoiser.parameters())
    stored = sum(w.numel() * w.element_size() for w in model.adaptation.state().values())
    rows["trainable-parameters"] = {"value": model.trainable_count}
    rows["total-parameters"] = {"value": total}
    rows["stored-bytes"] = {"value": stored}
    rows["seconds-per-sample"] = {
        "value": samples.seconds / len(samples.pixels),
        "n": len(samples.pixels),
        "detail": {
            "evaluations": settings.evaluations,
            "solver": model.solver,
            "flops": settings.evaluations * evaluation_flops(model),
        },
    }
    return rows
