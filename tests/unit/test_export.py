"""What is exported, loaded by diffusers itself: the same pictures. What a command exports:
`test_diffusers_commands`."""

import diffusers_folders
import numpy as np
import pytest
from diffusers_folders import drawn, drawn_by_diffusers
from test_diffusers import recipe, torch_as_it_was, trained

from kurabe.errors import UserError
from kurabe.exports.diffusers import export
from kurabe.records import RunFolder
from kurabe.training import load_model

__all__ = ["torch_as_it_was"]


def test_a_run_of_a_run_is_exported_too(tmp_path):
    base = diffusers_folders.ddim(tmp_path / "base")
    trained(tmp_path / "one", recipe("lora", base))
    settings = recipe("full-fine-tuning", base).model_copy(update={"base": str(tmp_path / "one")})
    trained(tmp_path / "two", settings)
    export(RunFolder(tmp_path / "two"), tmp_path / "out")
    theirs = drawn_by_diffusers(tmp_path / "out")
    assert np.abs(drawn(load_model(tmp_path / "two")) - theirs).max() < 1e-4
    # And it is a base again.
    assert np.abs(drawn(load_model(tmp_path / "out")) - theirs).max() < 1e-4
    assert np.abs(drawn_by_diffusers(base) - theirs).max() > 1e-2


def test_what_cannot_be_exported_is_one_sentence(tmp_path):
    base = diffusers_folders.ddim(tmp_path / "base")
    trained(tmp_path / "run", recipe("lora", base))
    with pytest.raises(UserError, match="base is there already; give another --out"):
        export(RunFolder(tmp_path / "run"), base)
    settings = recipe("base", base).model_copy(update={"base": "emoji-32"})
    own = RunFolder(tmp_path / "own").create(settings.to_toml(), {"id": "own"})
    with pytest.raises(UserError, match="did not begin from a folder of diffusers"):
        export(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()
