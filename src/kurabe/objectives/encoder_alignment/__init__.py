"""The encoder-alignment term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Count, Positive, TermChoice, times
from kurabe.registry import Idea


class EncoderAlignment(TermChoice):
    """An early layer follows what a frozen encoder sees at the same place of the clean image.

    Attributes:
        weight: λ of the term; the paper's.
        encoder: its name in the registry. It must not be the one that measures: a pupil would be
            marked by its own teacher. The usual one learned without labels, from drawings; the
            paper's is transformers:FOLDER with DINOv2 in the folder.
        depth: where the features are taken, as a share of the backbone's named feature layers.
        projection: width of the hidden layers of the head that is thrown away.
    """

    says = Text(
        ja="{weight:g} × 表現整合（深さ {depth:.0%} の層を、固定した符号化器 {encoder} の特徴へ）",
        en="{weight:g} × alignment (the layer at {depth:.0%} of the depth follows the frozen "
        "encoder {encoder})",
    )
    compares_places = True

    term: Literal["encoder-alignment"] = "encoder-alignment"
    weight: Positive = 0.5
    encoder: Annotated[str, Field(min_length=1)] = "base:emoji-32"
    depth: Annotated[float, Field(gt=0, le=1)] = 0.33
    projection: Count = 512

    def formula(self) -> Formula:
        similar = r"\mathrm{sim}\left(y_{n},h\left(z_{n}\right)\right)"
        return Formula(
            tex=rf"−{times(self.weight, always=True)}𝔼_{{t,ε}}"
            rf"\left[\frac{{1}}{{N}}\sum_n{similar}\right]",
            ja="表現整合（y は固定した符号化器が元の画像から得た特徴、z は浅い層の特徴、n は N 個の"
            "場所、h はヘッド、sim はコサイン類似度）",
            en="Alignment (y: a frozen encoder's features of the clean image, z: an early layer's, "
            "n: one of N places; h: a head; sim: the cosine)",
        )

    @property
    def follows(self) -> str:
        return self.encoder


IDEAS = (
    Idea("terms", "encoder-alignment", f"{__name__}.term:EncoderAlignmentTerm", EncoderAlignment),
)
