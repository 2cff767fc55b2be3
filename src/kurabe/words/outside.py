"""What commands, tables and pages say of columns that were made elsewhere, in both languages."""

from kurabe.words import Texts, text_of

_WORDS: dict[str, Texts] = {
    "no-card": ("この列のカードはありません", "There is no card for this column"),
    "plan.outside": ("外部の列", "outside"),
    "plan.column": (
        "{places} × {n} 枚（{size} px）",
        "{places} {places|folder|folders} of {n} images, {size} px",
    ),
    "plan.features": ("特徴ファイル {places} 件", "{places} {places|file|files} of features"),
    "plan.checkpoints": (
        "チェックポイント {places} 件、各 {n} 枚を {evaluations} 回の評価で生成",
        "{places} {places|checkpoint|checkpoints}, {n} images each, {evaluations} evaluations an "
        "image",
    ),
    "drawn": ("{column}・ブロック {block} の画像を生成", "{column}, block {block}: images drawn"),
    "plan.paired": ("プロンプトで対応", "paired by prompt"),
    "measured": ("{column}・ブロック {block} を測定", "{column}, block {block}: measured"),
    "introduction.checkpoints": (
        "測定行の ≠ は、描かれた画像のばらつきを超える差です。答えるのは「このチェックポイント"
        "どうしが異なるか」であり、手法が異なるかではありません。",
        "In measured rows, ≠ is a difference beyond what the images drawn leave open. It answers "
        "whether these checkpoints differ, one run each, not whether the methods do.",
    ),
    "question.checkpoints": (
        "これらのチェックポイントは異なるか（各 1 実行、画像 {n} 枚ずつの {groups} 組）",
        "Do these checkpoints differ? (One run each, {groups} groups of {n} images.)",
    ),
    "question.methods": (
        "これらの手法は異なるか（シードごとの実行を 1 ブロックとする）",
        "Do these methods differ? (Runs repeated, a block for each seed.)",
    ),
    "groups": (
        "ブロックは実行ではなく、1 つのチェックポイントが描いた画像を {groups} 組に分けた"
        "ものです。結論はこのチェックポイントにのみ当てはまります。",
        "Blocks are not runs: the images of one checkpoint were dealt into {groups} groups. What "
        "is concluded holds for these checkpoints; another run of a method may do otherwise.",
    ),
    "seen": (
        "外部の列のモデルが何で訓練されたかは、Kurabe には分からない。テスト画像を見たモデルは、"
        "実際より良く見える。",
        "What the models of outside columns were trained on is not known here; one that has seen "
        "the test images looks better than it is.",
    ),
    "samples.note": (
        "外部の列の画像は、名前またはプロンプトの順（ブロック {block}）。",
        "Images of outside columns are in the order of their names or prompts (block {block}).",
    ),
    "question.copied": ("複製された画像", "copied images"),
    "copied": (
        "訓練画像の複製が見つかった：{columns}",
        "training images found again: {columns}",
    ),
    "copied.column": ("{column}の {samples} 枚中 {n} 枚", "{n} of {samples} ({column})"),
    "settle.images": (
        "この画像数で見える最小の差は {smallest}。判定には、より多くの画像が必要",
        "these images show gaps of {smallest}; more images would show smaller ones",
    ),
    "settle.runs": (
        "{n} ブロックから判定する。各列に {n} 個のシードの実行が必要",
        "marks are made from {n} blocks on: give each column the runs of {n} seeds",
    ),
}


def say(key: str, lang: str, **values: object) -> str:
    """The text of that key in "ja" or "en", its places filled in."""
    return text_of(_WORDS[key], lang, values)
