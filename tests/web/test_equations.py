"""Every method's page shows its equation, and TeX becomes the MathML that it says."""

from xml.etree import ElementTree

import pytest

from kurabe.adaptations.lora import LowRank
from kurabe.methods import catalogue
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.masked import Masked
from kurabe.web.tex import mathml

BLOCK = '<math display="block"><mrow>{}</mrow></math>'


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("x_t^2", "<msubsup><mi>x</mi><mi>t</mi><mn>2</mn></msubsup>"),
        ("x^2_t", "<msubsup><mi>x</mi><mi>t</mi><mn>2</mn></msubsup>"),
        (r"-\alpha < 0.5", "<mo>−</mo><mi>α</mi><mo>&lt;</mo><mn>0.5</mn>"),
        (r"\frac{1}{1 + s}",
         "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>1</mn><mo>+</mo><mi>s</mi></mrow></mfrac>"),
        (r"\sum_i \hat{x}_i",
         "<munder><mo>∑</mo><mi>i</mi></munder>"
         '<msub><mover accent="true"><mrow><mi>x</mi></mrow><mo>^</mo></mover><mi>i</mi></msub>'),
        (r"(\left(x\right)",
         '<mo stretchy="false">(</mo><mo>(</mo><mi>x</mi><mo>)</mo>'),
        (r"\mathbb{E} \mathrm{sim}",
         '<mi mathvariant="normal">𝔼</mi><mi mathvariant="normal">sim</mi>'),
    ],
)  # fmt: skip
def test_tex_becomes_mathml(tex, expected):
    assert mathml(tex) == BLOCK.format(expected)


@pytest.mark.parametrize(
    "tex", [r"\undefined", "x_", "{x", "x}", "x_1_2", r"\mathrm", r"\mathrm{", r"\frac{1}"]
)
def test_what_is_no_known_tex_is_refused(tex):
    with pytest.raises(ValueError, match=r"known here|too early|brace|two scripts|letters"):
        mathml(tex)


def test_markup_in_a_formula_stays_text():
    [root] = ElementTree.fromstring(mathml("<script>"))
    assert "".join(root.itertext()) == "<script>"
    assert {element.tag for element in root.iter()} == {"mrow", "mo", "mi"}


# What the formulas of the first terms looked like when each was written in MathML by hand.
BY_HAND = {
    "denoising": "𝔼t,ε[w(λt)‖D(xt,t)−x0‖2]",
    "contrastive": "−0.3·log\u2061esij/0.2∑k≠iesik/0.2",
    "noised": "0.1·𝔼tm‖m⊙(g((1−m)⊙xt,t)−xt)‖2",
    "gradients": "0.1·𝔼tm‖m⊙(g((1−m)⊙xt,t)−h(x0))‖2",
    "all": "0.1·𝔼tm‖g((1−m)⊙xt,t)−h(x0)‖2",
    "lora": "W+αrBA",
}


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("denoising", Denoising()),
        ("contrastive", Contrastive()),
        ("noised", Masked()),
        ("gradients", Masked(target="gradients")),
        ("all", Masked(target="gradients", over="all")),
        ("lora", LowRank()),
    ],
)
def test_formulas_in_tex_are_those_that_stood_in_mathml(name, choice):
    root = ElementTree.fromstring(mathml(choice.formula().tex))
    assert "".join(root.itertext()) == BY_HAND[name]


def test_a_weight_stands_before_its_term_unless_it_is_one():
    assert mathml(Denoising(weight=2).formula().tex).startswith(
        '<math display="block"><mrow><mn>2</mn><mo>·</mo>'
    )
    small = "".join(ElementTree.fromstring(mathml(Masked(weight=1e-5).formula().tex)).itertext())
    assert small.startswith("1e-05·𝔼")


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_method_shows_its_equation(client, lang):
    for key, method in catalogue().items():
        page = client.get(f"/{lang}/methods/{key}").text
        assert page.count('<math display="block">') >= 1, key
        if formula := method.card.equation:
            assert mathml(formula.tex) in page


def test_simclrs_equation_is_nt_xent():
    # Chen et al. 2020, equation 1.
    root = ElementTree.fromstring(mathml(catalogue()["simclr"].card.equation.tex))
    above, below = root.find(".//mfrac")
    assert "".join(root.itertext()).startswith("−log\u2061")
    assert "".join(above.itertext()) == "exp(sij/τ)"
    assert "".join(below.itertext()) == "∑k≠iexp(sik/τ)"
