"""A column from a file of features: its rows are scikit-learn's on the same file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kurabe.cli import answer
from kurabe.comparison import study_table
from kurabe.data.images import UNLABELLED
from kurabe.evaluation.subsets import gather
from kurabe.records import StudyFolder
from kurabe.runs.images import load_images, split_images
from kurabe.studies.study import Study

N = 240


@pytest.fixture
def vectors(tmp_path, monkeypatch):
    """Digits in folders by label, and by id a projection of each: what a network might give."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    project = np.random.default_rng(0).normal(size=(64, 24))
    found = {}
    for k in range(N):
        image = np.kron(digits.images[k] * (255 / 16), np.ones((2, 2))).astype(np.uint8)
        name = f"{digits.target[k]}/{k:04d}.png"
        Path("real", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(Path("real", name))
        found[name] = (digits.data[k] @ project / 40).astype(np.float32)
    return found


def study(*words, out="study"):
    words = ("--encoder", "pixels", "--grey", "--size", "16", "--out", out, *words)
    return answer(["study", "real", *words]), StudyFolder(out)


def write_parquet(path, vectors):
    table = pa.table({"id": list(vectors), "embedding": [v.tolist() for v in vectors.values()]})
    parquet.write_table(table, path)


def test_rows_are_those_of_scikit_learn_and_the_same_of_every_format(vectors):
    write_parquet("a.parquet", vectors)
    ids, stacked = list(vectors), np.stack(list(vectors.values()))
    np.savez("b.npz", ids=np.array(ids[::-1]), features=stacked[::-1])
    save_file({"features": stacked * np.float32(1)}, "c.safetensors", {"ids": json.dumps(ids)})
    values = []
    for k, file in enumerate(("a.parquet", "b.npz", "c.safetensors")):
        code, folder = study("--column", f"mine={file}", out=f"s{k}")
        assert code == 0
        values.append(folder.run("mine", 1).score("scores")["metrics"])
    assert values[0] == values[1] == values[2]
    found = values[0]
    settings = Study.from_toml(Path("s0/study.toml"))
    images = load_images(settings.data)
    assert images.labels is not None
    assert UNLABELLED not in images.labels
    labels = gather(images, split_images(images, settings.data, 0), settings.evaluation).labels
    x = np.stack([vectors[name] for name in images.ids])
    parts = {role: getattr(labels, role) for role in ("train", "test")}
    at = {role: of.pictures.positions for role, of in parts.items()}
    scale = StandardScaler().fit(x[at["train"]])
    strength = found["linear-probe"]["detail"]["strength"]
    probe = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
    probe.fit(scale.transform(x[at["train"]]), parts["train"].labels)
    right = probe.score(scale.transform(x[at["test"]]), parts["test"].labels)
    assert found["linear-probe"]["value"] == pytest.approx(right, abs=1e-5)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit[at["test"]] @ unit[at["train"]].T
    votes = np.zeros((len(cosine), 10))
    for row, near in enumerate(np.argsort(-cosine, axis=1)[:, :20]):
        np.add.at(votes[row], parts["train"].labels[near], np.exp(cosine[row, near] / 0.07))
    assert found["knn"]["value"] == pytest.approx(
        (votes.argmax(1) == parts["test"].labels).mean(), abs=1e-5
    )
    assert found["few-shot-5"]["value"] > 0.3
    assert {"pixels", "pca"} <= found["linear-probe"]["references"].keys()
    assert "own-view-recall" not in found
    shown = study_table(StudyFolder("s0"), "en").row("linear-probe")
    assert shown.values == (found["linear-probe"]["value"],)


@pytest.mark.parametrize("fault", ["twice", "unknown", "missing", "nan"])
def test_bad_features_are_refused_in_one_sentence(vectors, fault, capsys):
    ids, stacked = list(vectors), np.stack(list(vectors.values()))
    says = {"twice": "twice", "unknown": "of no image", "missing": "has no features of 1 of",
            "nan": "not finite"}[fault]  # fmt: skip
    if fault == "twice":
        ids, stacked = [*ids, ids[0]], np.concatenate([stacked, stacked[:1]])
    elif fault == "unknown":
        ids, stacked = [*ids, "9/other.png"], np.concatenate([stacked, stacked[:1]])
    elif fault == "missing":
        ids, stacked = ids[1:], stacked[1:]
    else:
        stacked[5, 3] = np.nan
    np.savez("f.npz", ids=np.array(ids), features=stacked)
    code, _ = study("--column", "mine=f.npz")
    said = capsys.readouterr().err
    assert code == 2
    assert says in said
    assert said.count("\n") == 1
