"""What a method minimises and how it changes its weights, as MathML made from its choices.

Every formula is the one that the code computes, in the notation of kurabe.methods.choices:
x_t = α_t x₀ + σ_t ε and D the denoiser.
"""

from dataclasses import dataclass

from markupsafe import Markup

from kurabe.methods import Choices, Contrastive, Denoising, LowRank, Masked, Term
from kurabe.methods.card import Formula
from kurabe.web.tex import mathml


@dataclass(frozen=True)
class Equation:
    """A formula, the words' key of what it is, and the same in plain text for a reader's ear.

    where: what its own symbols are.
    """

    key: str | None
    mathml: Markup
    spoken: str
    where: str | None = None


def equation_of(formula: Formula, lang: str) -> Equation:
    """The equation that a card gives, of a method that does not run here."""
    return Equation(None, mathml(formula.tex), formula.tex, formula.of(lang))


def equations_of(choices: Choices) -> tuple[Equation, ...]:
    """The objective's terms, then the update that an adaptation makes."""
    found = [_term(term) for term in choices.objective]
    if isinstance(choices.adaptation, LowRank):
        found.append(_LOW_RANK)
    return tuple(found)


def _i(*names: str) -> str:
    return "".join(f"<mi>{name}</mi>" for name in names)


def _o(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _sub(base: str, below: str) -> str:
    return f"<msub>{base}<mrow>{below}</mrow></msub>"


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _n(value: float) -> str:
    return f"<mn>{value:g}</mn>"


def _squared_norm(inner: str) -> str:
    return _row(_o("‖"), inner, f"<msup>{_o('‖')}<mn>2</mn></msup>")


def _math(body: str) -> Markup:
    # Made of our own marks and of numbers from choices that were checked.
    return Markup(f'<math display="block">{_row(body)}</math>')


_X0 = _sub(_i("x"), "<mn>0</mn>")
_XT = _sub(_i("x"), _i("t"))
_MEAN = _sub(_i("𝔼"), _i("t") + _o(",") + _i("ε"))
_ERROR = _squared_norm(_row(_i("D"), _o("("), _XT, _o(","), _i("t"), _o(")"), _o("−"), _X0))


def _term(term: Term) -> Equation:
    if isinstance(term, Denoising):
        return _denoising(term)
    if isinstance(term, Contrastive):
        return _contrastive(term)
    return _masked(term)


def _weight(weight: float) -> str:
    return "" if weight == 1 else _n(weight) + _o("·")


def _denoising(term: Denoising) -> Equation:
    w = _row(_i("w"), _o("("), _sub(_i("λ"), _i("t")), _o(")"))
    body = _row(_weight(term.weight), _MEAN, _o("["), w, _ERROR, _o("]"))
    return Equation(
        "equation.denoising", _math(body), "E over t and ε of w(log SNR) times ‖D(x_t, t) − x₀‖²"
    )


def _contrastive(term: Contrastive) -> Equation:
    def exponential(first: str, second: str) -> str:
        similarity = _sub(_i("s"), first + second)
        return f"<msup>{_i('e')}{_row(similarity, _o('/'), _n(term.temperature))}</msup>"

    total = f"<munder>{_o('∑')}{_row(_i('k'), _o('≠'), _i('i'))}</munder>"
    above = exponential(_i("i"), _i("j"))
    below = _row(total, exponential(_i("i"), _i("k")))
    fraction = f"<mfrac>{above}{below}</mfrac>"
    body = _row(_o("−"), _n(term.weight), _o("·"), _i("log"), fraction)
    return Equation(
        "equation.contrastive",
        _math(body),
        f"−{term.weight:g} log of e^(s_ij/{term.temperature:g}) over the sum over k ≠ i "
        f"of e^(s_ik/{term.temperature:g})",
    )


def _masked(term: Masked) -> Equation:
    gradients = term.target == "gradients"
    target, plain = (_row(_i("h"), _o("("), _X0, _o(")")), "h(x₀)") if gradients else (_XT, "x_t")
    seen = _row(_o("("), _n(1), _o("−"), _i("m"), _o(")"), _o("⊙"), _XT)
    output = _row(_i("g"), _o("("), seen, _o(","), _i("t"), _o(")"))
    error, text = _row(output, _o("−"), target), f"g((1 − m) ⊙ x_t, t) − {plain}"
    if term.over == "hidden":
        error, text = _row(_i("m"), _o("⊙"), _o("("), error, _o(")")), f"m ⊙ ({text})"
    body = _row(_n(term.weight), _o("·"), _sub(_i("𝔼"), _i("t", "m")), _squared_norm(error))
    return Equation(
        "equation.gradients" if gradients else "equation.masked",
        _math(body),
        f"{term.weight:g} E of ‖{text}‖², m the hidden tokens",
    )


_LOW_RANK = Equation(
    "equation.lora",
    _math(_row(_i("W"), _o("+"), f"<mfrac>{_i('α')}{_i('r')}</mfrac>", _i("B", "A"))),
    "W + (α / r) B A, with W frozen",
)
