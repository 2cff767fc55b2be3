r"""TeX's notation of a formula as MathML: the part of it that the cards' equations use.

Letters, numbers, signs, the names of `_SYMBOLS`, groups in braces, `^` and `_` in either order,
\frac{}{}, \hat{}, \bar{}, \mathbb{}, \mathcal{}, \mathrm{} for upright words, and \left and \right
before brackets that grow with what they hold.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from markupsafe import Markup, escape

_SYMBOLS = {
    **{name: f"<mi>{sign}</mi>" for name, sign in {
        "alpha": "α", "beta": "β", "gamma": "γ", "epsilon": "ε", "theta": "θ", "lambda": "λ",
        "mu": "μ", "xi": "ξ", "pi": "π", "sigma": "σ", "tau": "τ", "phi": "φ", "psi": "ψ",
        "Theta": "Θ", "Delta": "Δ", "nabla": "∇", "emptyset": "∅", "exp": "exp", "cos": "cos",
    }.items()},
    # With the sign for "applied to", which leaves a little room.
    **{
        name: f"<mrow><mi>{name}</mi><mo rspace='0.17em'>\u2061</mo></mrow>"
        for name in ("log", "arg")
    },
    **{name: f"<mo>{sign}</mo>" for name, sign in {
        "cdot": "·", "odot": "⊙", "sum": "∑", "int": "∫", "neq": "≠", "in": "∈", "min": "min",
        "ast": "∗", "propto": "∝", "prime": "′",
    }.items()},
    "Vert": '<mo stretchy="false">‖</mo>',
    "mid": '<mo stretchy="false" lspace="0.2em" rspace="0.2em">|</mo>',
}  # fmt: skip
# Those under and over which limits stand.
_LIMITS = {_SYMBOLS[name] for name in ("sum", "min")}
_ACCENTS = {"hat": "^", "bar": "¯"}
_ALPHABETS = {"mathbb": {"E": "𝔼"}, "mathcal": {"E": "ℰ", "F": "ℱ", "Z": "𝒵"}}
_FENCES = "()[]|"
# A number may be written as Python writes small ones, 1e-05.
_TOKEN = re.compile(r"\\[A-Za-z]+|\d+(?:\.\d+)?(?:e[-+]\d+)?|\S")


@lru_cache(maxsize=256)
def mathml(tex: str) -> Markup:
    """The formula as a block of MathML; ValueError where it is not of the known part of TeX."""
    tokens = _TOKEN.findall(tex)[::-1]
    body = "".join(_sequence(tokens, tex))
    if tokens:
        raise ValueError(f"a brace too many in {tex}")
    # Signs and letters were escaped one by one.
    return Markup(f'<math display="block"><mrow>{body}</mrow></math>')


def _sequence(tokens: list[str], tex: str) -> Iterator[str]:
    """Everything up to the end or to the group's closing brace, which is left."""
    while tokens and tokens[-1] != "}":
        base = _atom(tokens, tex)
        scripts: dict[str, str] = {}
        while tokens and tokens[-1] in "^_":
            kind = tokens.pop()
            if kind in scripts:
                raise ValueError(f"two scripts of a kind in {tex}")
            scripts[kind] = _atom(tokens, tex)
        yield _scripted(base, scripts.get("_"), scripts.get("^"))


def _scripted(base: str, below: str | None, above: str | None) -> str:
    under, over = ("under", "over") if base in _LIMITS else ("sub", "sup")
    if below and above:
        return f"<m{under}{over}>{base}{below}{above}</m{under}{over}>"
    if below:
        return f"<m{under}>{base}{below}</m{under}>"
    return f"<m{over}>{base}{above}</m{over}>" if above else base


def _atom(tokens: list[str], tex: str) -> str:
    if not tokens:
        raise ValueError(f"{tex} ends too early")
    token = tokens.pop()
    if token == "{":
        inner = "".join(_sequence(tokens, tex))
        if not tokens:
            raise ValueError(f"a brace is not closed in {tex}")
        tokens.pop()
        return f"<mrow>{inner}</mrow>"
    if token.startswith("\\"):
        return _command(token[1:], tokens, tex)
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token.isalpha():
        return f"<mi>{escape(token)}</mi>"
    if token in _FENCES:
        return f'<mo stretchy="false">{token}</mo>'
    return f"<mo>{escape('−' if token == '-' else token)}</mo>"


def _command(name: str, tokens: list[str], tex: str) -> str:
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    if name == "frac":
        return f"<mfrac>{_atom(tokens, tex)}{_atom(tokens, tex)}</mfrac>"
    if name in ("left", "right") and tokens and tokens[-1] in _FENCES:
        return f"<mo>{tokens.pop()}</mo>"
    if name in _ACCENTS:
        # As an accent Chromium draws the bar through the letter; a hat needs to be one.
        accent = ' accent="true"' if name == "hat" else ""
        return f"<mover{accent}>{_atom(tokens, tex)}<mo>{_ACCENTS[name]}</mo></mover>"
    if name == "mathrm" or name in _ALPHABETS:
        letters = _letters(tokens, tex)
        signs = "".join(_ALPHABETS.get(name, {}).get(letter, letter) for letter in letters)
        return f'<mi mathvariant="normal">{escape(signs)}</mi>'
    raise ValueError(f"\\{name} in {tex} is not known here")


def _letters(tokens: list[str], tex: str) -> str:
    """The letters in a group of nothing else."""
    found: list[str] = []
    if tokens and tokens.pop() == "{":
        while tokens and tokens[-1] != "}":
            found.append(tokens.pop())
    if not tokens or not found:
        raise ValueError(f"letters in braces are missing in {tex}")
    tokens.pop()
    return "".join(found)
