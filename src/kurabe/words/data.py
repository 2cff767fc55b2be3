"""What a preflight's report says, in Japanese and English."""

from typing import Any

from kurabe.words import Texts, text_of

_WORDS: dict[str, Texts] = {
    "report.kept": (
        "{source}: {found} 枚のうち {kept} 枚を使用",
        "{source}: {kept} of {found} images kept",
    ),
    "report.file": ("{n} ファイル", "{n} file"),
    "report.more": ("… ほか {n} 件", "… and {n} more"),
    "report.files": ("{n} ファイル", "{n} files"),
    "report.dropped": ("{n}を除外", "{n} dropped"),
    "report.duplicates": ("{n}を完全な重複として除外", "{n} left out as exact duplicates"),
    "report.near": (
        "よく似た画像のグループ (分割をまたがない): {n}",
        "groups of near-duplicates, each kept on one side: {n}",
    ),
    "report.sizes": ("大きさ  ", "sizes  "),
    "report.modes": ("色形式  ", "modes  "),
    "report.treated": ("処理    ", "treated"),
    "report.labels": ("ラベル  ", "labels "),
    "report.note": ("注      ", "note   "),
    "report.none": ("なし", "none"),
    "report.range": ("{small} から {large} ピクセル", "{small} to {large} pixels"),
    "left.ending": ("画像の拡張子がない{n}", "{n} without an image's ending ignored"),
    "left.hidden": ("隠しファイル: {n}", "{n} hidden, not read"),
    "left.table": ("表として読んだ{n}", "{n} taken for tables of labels"),
    "left.record": (
        "学習や比較実験のフォルダー内の{n} (画像として扱わない)",
        "{n} in the folders of runs and studies, whose pictures are what was drawn",
    ),
    "left.link": (
        "フォルダーへのリンク (たどらない): {n}",
        "{n} that are links to folders, not followed: name the folder itself",
    ),
    "left.twice": (
        "アーカイブに同名で二度あり、後のものだけを読んだ{n}",
        "{n} that the archive holds twice under one name; the last is read",
    ),
    "left.closed": ("開けないフォルダー", "folders that may not be read"),
    "left.container": ("中の画像を読んだ{n}", "{n} read for the images inside"),
    "crop": (
        "正方形でない {n} 枚は中央の正方形だけを使用 (最小は {name} の面積の {share} %)",
        "of {n} {n|image that is|images that are} not square only the middle square is kept: "
        "at the least {share} % "
        "of the area, of {name}",
    ),
    "crop.to": (
        "{n} 枚は {size} と縦横比が違い、中央だけを使用 (最小は {name} の面積の {share} %)",
        "of {n} {n|image that has|images that have} not the ratio of {size} only the middle is "
        "kept: at the least {share} % of the area, of {name}",
    ),
    "buckets": (
        "縦横比ごとの枚数: {counts} (学習時は、ネットワークの単位に丸めた大きさになる)",
        "images of each ratio: {counts} (sides are rounded to what a network takes)",
    ),
    "scale.whole": (
        "8 ビットを超える整数の画像では {value} を白とする",
        "in images of whole numbers beyond 8 bits, {value} is white",
    ),
    "scale.floating": (
        "浮動小数点の画像では {value} を白とする",
        "in images of floating point, {value} is white",
    ),
    "names.decoded": (
        "アーカイブ内のファイル名を {encoding} として読んだ",
        "names in the archive say no encoding and are read as {encoding}",
    ),
    "table.taken": (
        "{table}: 「{file}」列をファイル名、「{label}」列をラベルとして読んだ",
        '{table}: "{file}" is taken for the file, "{label}" for the label',
    ),
    "table.columns": ("{table}: 使わない列: {names}", "{table}: columns not used: {names}"),
    "table.unfit": (
        "{table}: {n} 行はどの画像にも合わない: {names}",
        "{table}: {n} {n|row fits|rows fit} no image: {names}",
    ),
    "table.several": (
        "{table}: {n} 行は複数の画像に合うか、互いに食い違うため使わない: {names}",
        "{table}: {n} {n|row fits|rows fit} several images, or {n|disagrees|disagree} about one, "
        "and {n|is|are} not used: {names}",
    ),
    "table.without": (
        "{table}: {n} 行のラベルは空か −1 (ラベルなし)",
        "{table}: {n} {n|row has|rows have} an empty label or −1, which is none",
    ),
    "table.missing": (
        "{table}: {of} 枚のうち {n} 枚にラベルがない: {names}",
        "{table} gives no label for {n} of {of} {of|image|images}: {names}",
    ),
    "table.captions": (
        "{table} には画像の説明文があり、ラベルはない",
        "{table} has captions and no labels",
    ),
    "table.unused": ("{table} は使わない: {why}", "{table} is not used: {why}"),
    "folders.taken": (
        "{n} 個のフォルダーの名前をラベルとした",
        "the names of {n} {n|folder|folders} are taken for labels",
    ),
    "folders.split": (
        "フォルダー {names} は分割の名前なので、ラベルとしない",
        "the folders {names} are called as parts of a split and are not taken for labels",
    ),
    "folders.stray": (
        "{n} 枚はラベルのフォルダーの外にあり、ラベルがない: {names}",
        "{n} {n|image lies|images lie} beside the folders of labels and {n|has|have} none: {names}",
    ),
    "folders.none": (
        "{of} 枚のうち {n} 枚がフォルダー ({names}) の外にあるため、フォルダー名をラベルとしない",
        "folders ({names}) are not taken for labels: {n} of {of} images {n|lies|lie} beside them",
    ),
    "source.without": (
        "{n} 枚のラベルは空か −1 (ラベルなし)",
        "{n} {n|image has|images have} an empty label or −1, which is none",
    ),
    "source.columns": (
        "「{image}」列を画像、「{label}」列をラベルとして読んだ; 使わない列: {names}",
        'column "{image}" is taken for the image, "{label}" for the label; not used: {names}',
    ),
    "labels.two": (
        "同じ画像に異なるラベルが二つある {n} 枚はラベルなし: {names}",
        "{n} {n|picture has|pictures have} copies with different labels and {n|is|are} left "
        "without: {names}",
    ),
    "set.digits": ("scikit-learn の手書き数字", "hand-written digits of scikit-learn"),
    "set.fashion-mnist": ("衣類 10 種", "clothes, ten kinds"),
    "set.animal-mnist": ("動物 10 種のシルエット", "silhouettes of ten animals"),
    "set.openmoji": (
        "絵文字の輪郭つきの絵のうち、ここのベースが見ていないもの",
        "outlined drawings of the emoji that no base here has seen",
    ),
    "set.openmoji-all": ("絵文字の輪郭つきの絵すべて", "all outlined drawings of emoji"),
    "set.emoji-base": (
        "5 社の絵文字から、比較に使うものを除いたもの: emoji-32 の訓練画像",
        "five vendors' emoji without those kept for targets: what emoji-32 was trained on",
    ),
    "set.emoji-fluent3d-target": (
        "絵文字の立体的な絵のうち、ここのベースが見ていないもの",
        "three-dimensional drawings of the emoji that no base here has seen",
    ),
    "set.vendor": ("1 社の絵文字すべて", "all emoji of one vendor"),
}
_TREATMENTS = {
    "first of several frames": "複数フレームの最初",
    "turned as its EXIF says": "EXIF に従って回転",
    "enlarged": "拡大",
    "more than 8 bits": "8 ビット超",
    "palette": "パレット",
    "alpha on white": "透明部分を白に",
    "colour profile converted to sRGB": "カラープロファイルを sRGB に変換",
    "colour profile that cannot be used, colours as stored": (
        "使えないカラープロファイル (色は保存のまま)"
    ),
    "a few pixels no finite number (NaN, infinite) made black": (
        "数値でない (NaN・無限大) 少数の画素を黒に"
    ),
    "a few pixels below 0 made black": "負の少数の画素を黒に",
}


def say(key: str, lang: str, **values: Any) -> str:
    """The sentence of a key in "ja" or "en"; its values filled in."""
    return text_of(_WORDS[key], lang, values)


def about(name: str) -> Texts:
    """What a known set is, in each language."""
    return _WORDS[f"set.{name}"]


def treatment(text: str, lang: str) -> str:
    """What was done to a file, or a name that has no other word, in that language."""
    return _TREATMENTS.get(text, text) if lang == "ja" else text
