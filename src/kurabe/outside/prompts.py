"""What each image of a folder was drawn for: a prompt and a seed.

Read from where tools write it: metadata.jsonl, .csv or .parquet (`file_name`, `text`) and a text
beside the image (`kurabe.data.captions`), or the PNG's own text: `parameters` (AUTOMATIC1111 and
those after it, "prompt\\nNegative prompt: …\\nSteps: 20, Seed: 5, …"), `prompt` (ComfyUI, its graph
as JSON), `invokeai_metadata`, `Dream` (InvokeAI). A seed may also stand in the name, "seed-5".
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from kurabe import data

Asked = tuple[str, int]
"""A prompt and a seed, −1 where none is known."""

_SEED = re.compile(r"(?<![a-z])seed[-_ :=]*(\d+)", re.IGNORECASE)


def asked_of(
    folder: Path, names: Sequence[str], notes: Sequence[dict[str, str]]
) -> tuple[Asked, ...] | None:
    """What each image was drawn for, in the order of `names`; None where any has no prompt.

    notes: the texts inside each image. Where one prompt and seed stand several times they are
    counted, in the order of names.
    """
    told = data.captions(str(folder), names)
    inside = [of_png(texts) for texts in notes]
    found: list[Asked] = []
    for place, name in enumerate(names):
        own = inside[place]
        prompt = told[place] if told is not None else own[0] if own else None
        if prompt is None:
            return None
        in_name = _SEED.search(name)
        found.append((prompt, int(in_name[1]) if in_name else own[1] if own else -1))
    return tuple(found)


def of_png(texts: dict[str, str]) -> Asked | None:
    """Prompt and seed from a PNG's texts; None where none of the known tools wrote them."""
    if "parameters" in texts:
        return _automatic(texts["parameters"])
    if "prompt" in texts:
        return _comfy(texts["prompt"])
    if "invokeai_metadata" in texts:
        graph = _json(texts["invokeai_metadata"])
        if isinstance(graph, dict) and isinstance(graph.get("positive_prompt"), str):
            return graph["positive_prompt"], _whole(graph.get("seed"))
    if "Dream" in texts:
        quoted = re.match(r'"(.*?)"', texts["Dream"])
        seed = re.search(r"-S\s*(\d+)", texts["Dream"])
        return (quoted[1], int(seed[1]) if seed else -1) if quoted else None
    return None


def _automatic(text: str) -> Asked:
    seed = re.search(r"\bSeed: (\d+)", text)
    prompt = re.split(r"\nNegative prompt: |\nSteps: ", text, maxsplit=1)[0]
    return prompt.strip(), int(seed[1]) if seed else -1


def _comfy(text: str) -> Asked | None:
    """The positive text and the seed of the first sampler in a graph of ComfyUI."""
    graph = _json(text)
    if not isinstance(graph, dict):
        return None
    nodes = {key: node for key, node in graph.items() if isinstance(node, dict)}
    for node in nodes.values():
        inputs = node.get("inputs")
        if not isinstance(inputs, dict) or "positive" not in inputs:
            continue
        seed = _whole(inputs.get("seed", inputs.get("noise_seed")))
        at = inputs["positive"]
        # What a sampler takes may have passed through other nodes on its way from the text.
        for _ in range(8):
            source = nodes.get(str(at[0])) if isinstance(at, list) and at else None
            given: Any = source.get("inputs") if source else None
            if not isinstance(given, dict):
                break
            if isinstance(given.get("text"), str):
                return given["text"], seed
            at = next((v for k, v in given.items() if k in ("conditioning", "positive")), None)
    return None


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
