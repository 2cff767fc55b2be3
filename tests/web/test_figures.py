"""The plots as pictures: every run's dot where its value says, the same in SVG and PNG."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
SVG = "{http://www.w3.org/2000/svg}"
ADDRESS = f"compare/export/{{}}?slugs={PAIR},ddpm&study=scans"


@pytest.fixture(scope="module")
def drawn(client):
    """The SVG's dots by row of dots (y), from top to bottom, and its texts."""
    answer = client.get("/en/" + ADDRESS.format("svg"))
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ElementTree.fromstring(answer.text)
    dots = {}
    for dot in root.iter(f"{SVG}circle"):
        x, y = float(dot.get("cx")), float(dot.get("cy"))
        dots.setdefault((x > 450, y), []).append(x)
    return root, dots, [text.text for text in root.iter(f"{SVG}text")]


def kid(client):
    table = client.get(f"/api/compare?slugs={PAIR},ddpm&study=scans").json()
    row = next(row for row in table["rows"] if row["key"] == "kid")
    return [[b["value"] for b in cell["estimate"]["blocks"]] for cell in row["cells"]]


def test_dots_lie_where_the_runs_values_are(client, drawn):
    _, dots, _ = drawn
    # The first panel's three axes share one scale: a straight line from value to place.
    axes = sorted(place for place in dots if not place[0])[:3]
    places = [x for axis in axes for x in dots[axis]]
    values = [value for column in kid(client) for value in column]
    slope, start = np.polyfit(values, places, 1)
    assert slope > 0
    # Places are written to a tenth.
    assert places == pytest.approx([start + slope * value for value in values], abs=0.06)


def test_texts_are_the_pages_in_its_language(client, drawn):
    _, _, texts = drawn
    assert texts[:4] == [
        "KID (efficientnet-lite0)",
        "lower is better",
        "Transfer learning with diffusion models",
        ".021 ± .004",
    ]
    assert any("real against real .001" in text for text in texts)
    japanese = client.get("/ja/" + ADDRESS.format("svg")).text
    assert "拡散モデルを用いた転移学習" in japanese


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_png_is_the_svg_at_twice_its_size(client, drawn, lang):
    root, dots, _ = drawn
    answer = client.get(f"/{lang}/" + ADDRESS.format("png"))
    assert answer.headers["content-type"] == "image/png"
    image = np.asarray(Image.open(io.BytesIO(answer.content)))
    size = (float(root.get("height")), float(root.get("width")))
    assert image.shape == (round(2 * size[0]), round(2 * size[1]), 3)
    for (_, y), xs in dots.items():
        for x in xs:
            assert tuple(image[round(2 * y), round(2 * x)]) == (0x1C, 0x5D, 0x86)


@pytest.mark.parametrize("form", ["svg", "png"])
def test_without_measured_rows_there_is_nothing_to_draw(client, form):
    answer = client.get(f"/ja/compare/export/{form}?slugs={PAIR}")
    assert answer.status_code == 404
    assert "図にする測定結果がありません" in answer.text
    assert f"export/{form}" not in client.get(f"/ja/compare?slugs={PAIR}").text
    assert f"export/{form}" in client.get("/ja/studies/scans").text
    assert client.get(f"/ja/studies/scans/export/{form}").status_code == 200


def test_a_browser_saves_the_pictures(open_page, drawn):
    page = open_page("/en/" + ADDRESS.format("").replace("/export/", ""))
    for name in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename == f"kurabe-compare.{name.lower()}"
        saved = download.value.path().read_bytes()
        if name == "SVG":
            assert saved.decode().count("<circle") == sum(map(len, drawn[1].values()))
        else:
            assert saved.startswith(b"\x89PNG")
