"""What Kurabe itself has of those groups whose rooms need torch: names, labels, where the code is.

Nothing here is imported before it is used. Adaptations and terms declare themselves, in modules
of their own.
"""

from kurabe.registry import Idea

IDEAS = (
    Idea("backbones", "patch", "kurabe.backbones.patch:PatchTransformer"),
    Idea("encoders", "base", "kurabe.training.base_encoder:of_base"),
    Idea("encoders", "efficientnet-lite0", "kurabe.encoders.networks:efficientnet_lite0"),
    Idea("encoders", "pixels", "kurabe.encoders:of_pixels"),
    Idea("encoders", "transformers", "kurabe.encoders.networks:of_transformers"),
    Idea("engines", "local", "kurabe.execution.local:Processes"),
    Idea("engines", "ray", "kurabe.execution.on_ray:Ray"),
    Idea("exports", "comfy", "kurabe.exports.comfy:export"),
    Idea("exports", "diffusers", "kurabe.exports.diffusers:export"),
    Idea("exports", "diffusers-lora", "kurabe.exports.diffusers_lora:export"),
    Idea("exports", "kohya", "kurabe.exports.kohya:export"),
    Idea("exports", "peft", "kurabe.exports.peft:export"),
    Idea("exports", "safetensors", "kurabe.exports.plain:export"),
    Idea("spaces", "AutoencoderKL", "kurabe.spaces.latents:latents_of"),
    Idea("spaces", "pixels", "kurabe.spaces:Pixels"),
    Idea("optimisers", "adamw", "kurabe.training.optimisers:adamw", label="AdamW"),
    Idea("optimisers", "muon", "kurabe.training.muon:muon", label="Muon"),
    Idea(
        "optimisers",
        "schedule-free",
        "kurabe.training.optimisers:schedule_free",
        label="Schedule-Free AdamW",
    ),
    Idea("optimisers", "adamw-8bit", "kurabe.training.optimisers:adamw_8bit", label="8-bit AdamW"),
    Idea("optimisers", "sgd", "kurabe.training.optimisers:sgd", label="SGD"),
    Idea("solvers", "ddpm", "kurabe.diffusion.solvers:ddpm", label="DDPM"),
    Idea("solvers", "ddim", "kurabe.diffusion.solvers:ddim", label="DDIM"),
    Idea("solvers", "heun", "kurabe.diffusion.solvers:heun", label="Heun"),
    Idea("solvers", "dpmpp-2m", "kurabe.diffusion.solvers:dpmpp_2m", label="DPM-Solver++(2M)"),
    Idea(
        "solvers",
        "dpmpp-2m-sde",
        "kurabe.diffusion.solvers:dpmpp_2m_sde",
        label="SDE-DPM-Solver++(2M)",
    ),
)
