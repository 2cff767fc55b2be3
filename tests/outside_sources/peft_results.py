"""Write results of the form of PEFT's method_comparison, a JSON file an experiment.

    python peft_results.py OUT

Test DINOv2 similarity of the image generation benchmark, huggingface/peft,
method_comparison/image-gen/results (June 2026): FLUX.2-klein, one subject, one seed, 750 steps
(full fine-tuning: 300), typed in to three digits.
"""

import json
import sys
from pathlib import Path

SIMILARITY = {
    "lora/flux2-klein-rank64": 0.743,
    "oft/flux2-klein-default": 0.708,
    "shira/flux2-klein-default": 0.704,
    "lora/flux2-klein-default": 0.697,
    "lokr/flux2-klein-default": 0.697,
    "dora/flux2-klein-rank64": 0.668,
    "vera/flux2-klein-default": 0.663,
    "loha/flux2-klein-default": 0.662,
    "ia3/flux2-klein-default": 0.648,
    "boft/flux2-klein-default": 0.645,
    "hra/flux2-klein-default": 0.644,
    "full-finetuning/flux2-klein-default": 0.577,
}


def main(out: str) -> None:
    folder = Path(out)
    folder.mkdir(parents=True)
    for name, similarity in SIMILARITY.items():
        record = {
            "run_info": {
                "created_at": "2026-06-09T09:44:03+00:00",
                "total_time": 900.0,
                "experiment_name": name,
                "train_config": {"seed": 0, "max_steps": 750},
                "peft_config": None,
                "error_msg": "",
            },
            "train_info": {
                "train_time": 759.2,
                "file_size": 153_377_056,
                "status": "success",
                "metrics": [
                    {"step": 100, "valid dino_similarity": 0.72, "train loss": 0.77},
                    {"step": 750, "test dino_similarity": similarity, "train loss": 0.73},
                ],
            },
            "meta_info": {"package_info": {"peft-version": "0.19.2.dev0"}},
        }
        file = folder / f"{name.replace('/', '--')}.json"
        file.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
