"""The words of the table in Japanese and English.

Never ノイズ for the spread of runs (it is the noise of diffusion): ばらつき.
"""

from kurabe.words import Texts, text_of
from kurabe.words.how import HOW

_WORDS: dict[str, Texts] = HOW | {
    "title": ("手法を比較", "Compare methods"),
    "introduction": (
        "選択した手法を並べて確認できます。異なる行はハイライト表示されます。",
        "The selected methods stand side by side. Rows that differ are highlighted.",
    ),
    "introduction.measured": (
        "測定行の ≠ は、実行ごとのばらつきを超える差です。",
        "In measured rows, ≠ is a difference beyond the spread of the runs.",
    ),
    "pick": ("もう1つ選ぶと比較できます", "Pick one more to compare"),
    "column.times": ("{name}（学習予算 {factor} 倍）", "{name}, {factor} × the budget"),
    "group.facts": ("基本情報", "Facts"),
    "group.how": ("仕組み", "How it works"),
    "group.measured": ("測定結果", "Measured"),
    "group.samples": ("生成例", "Samples"),
    "section.generation": ("画像生成", "Generation"),
    "section.memorisation": ("訓練画像の記憶（複製）", "Memorisation"),
    "section.representation": ("特徴表現", "Representation"),
    "section.forgetting": ("元ドメインの忘却", "Forgetting"),
    "section.cost": ("コスト", "Cost"),
    "card": ("カード", "Card"),
    "card.own": ("自作（Kurabe は未確認）", "one's own, not checked by Kurabe"),
    "card.shipped": ("同梱", "shipped"),
    "field": ("分野", "Field"),
    "family": ("系統", "Family"),
    "proposed_year": ("提唱年", "Proposed"),
    "proposed_by": ("提唱者", "Proposed by"),
    "kind": ("種類", "Kind"),
    "source": ("原典", "Original source"),
    "aliases": ("別名", "Aliases"),
    "related": ("関連", "Related"),
    "summary": ("概要", "Summary"),
    "related.count": ("{n}（共通 {shared}）", "{n} ({shared} shared)"),
    "link": ("link ↗", "link ↗"),
    "start": ("出発点", "Start"),
    "tested": (
        "判定はこのデータセットのテスト画像 {n} 枚にもとづく。",
        "The marks stand on {n} test images of this data set.",
    ),
    "openings": (
        "テスト画像は {checkpoints} 個のチェックポイントに対して {openings} 回開かれた"
        "（再測定を含む）。",
        "The test images were opened {openings} times for {checkpoints} checkpoints: some were "
        "measured again.",
    ),
    "earlier": (
        "以前の規則による測定：特徴距離はまだなく、分割はファイル名によって決まり、"
        "近い複製の判定も以前のもの。判定の規則は現在のもの。",
        "Measured by the rules of before: there was no feature distance, names decided the split, "
        "and near-copies were found as they were then. The marks are by today's rule.",
    ),
    "earlier.bases": (
        "ここで出発点とした {names} は、学習し直す前のもの。",
        "{names} is meant as it was before it was trained anew.",
    ),
    "asked": ("指定は {n} 秒", "{n} s asked"),
    "asked.off": ("指定は {n} 秒、{names}", "{n} s asked; {names}"),
    "asked.column": ("{name} は {percent} %", "{name} {percent} %"),
    "does-not-run": ("ここでは実行できません", "Does not run here"),
    "samples": ("同じ初期ノイズからの生成例", "From the same starting noise"),
    "samples.note": (
        "どの列も、同じ位置の画像は同じ初期ノイズから描いています（ブロック {block}）。",
        "Images at the same place were drawn from the same starting noise (block {block}).",
    ),
    "nearest": ("最も近い訓練画像", "Nearest training image"),
    "not-measured": ("未測定", "Not measured"),
    "failed": ("実行失敗", "Run failed"),
    "unfinished": ("実行中", "Not finished yet"),
    "mark.facts": ("値が異なる", "Values differ"),
    "mark.≠": ("ばらつきを超える差", "Differs beyond run-to-run spread"),
    "mark.≈": ("実質同等", "Practically equal"),
    "mark.?": ("判定保留（差があるとも同等ともいえない）", "Cannot tell"),
    "mark.small": ("ばらつきを超えるが、実用上は小さい差", "Differs, but by less than matters"),
    "mark.—": ("未測定・実行失敗", "Not measured, or the run failed"),
    "better.up": ("大きいほど良い", "higher is better"),
    "better.down": ("小さいほど良い", "lower is better"),
    "baseline": ("基準", "Baseline"),
    "pairs": ("組ごとの判定", "Pair by pair"),
    "pair.difference": ("差", "difference"),
    "pair.ratio": ("比", "ratio"),
    "interval": ("95% 信頼区間", "95% confidence interval"),
    "margin": ("実用上無視できる差の幅", "Margin of relevance"),
    "smallest-gap": ("検出可能な最小差", "Smallest detectable gap"),
    "pair.p": (
        "p（表全体の補正後）",
        "p, corrected over the table",
    ),
    "headline": ("主要行", "headline row"),
    "gated": (
        "この行だけの差: 多くの行のなかでは偶然かもしれない"
        "（主要行の {headlines} では区別できない）",
        "differs by itself, which among so many rows may be chance: the headline rows "
        "({headlines}) cannot tell",
    ),
    "gated.open": (
        "この行だけを見れば差のある組も、表全体の補正では偶然と区別できない",
        "some pairs differ by this row alone, but among so many rows that may be chance",
    ),
    "gated.none": (
        "この行だけの差: 多くの行のなかでは偶然かもしれず、確かめる主要行は測定されていない",
        "differs by itself, which among so many rows may be chance; no headline row was measured",
    ),
    "pair.gated": (
        "この行だけを見れば差があるが、表全体の補正では偶然と区別できない",
        "differs by itself, but among so many rows that may be chance",
    ),
    "pair.settle": (
        "計画された {look} ブロックの時点で {gap} の差を判定できる見込み",
        "the planned look after {look} blocks is expected to see a gap of {gap}",
    ),
    "pair.never": (
        "計画された残りのブロックでも判定できない見込み",
        "no planned look is expected to tell",
    ),
    "pair.few": (
        "まだ検定していません（両方の値がそろうブロックが足りないか、差にばらつきがない）",
        "not tested: too few blocks have both values yet, or their difference never varies",
    ),
    "pair.exact": ("ばらつきのない値どうしの比較", "values without spread, compared as they are"),
    "pair.look": (
        "判定した時点",
        "mark made after",
    ),
    "pair.blocks": (
        "{n} ブロック",
        "{n} blocks",
    ),
    "pair.too-few": (
        "画像が少なすぎるため判定しません",
        "too few images for a mark",
    ),
    "too-few": (
        "画像 {n} 枚では判定しません（この行には {least} 枚以上が必要）",
        "no mark: {n} images are too few for this row, which needs at least {least}",
    ),
    "looks": (
        "判定は、計画どおり {at} ブロックの時点で行いました。",
        "Marks were made after {at} blocks, as planned.",
    ),
    "looks.skewed": (
        "値の分布が偏り、ばらつきの異なる列があるため、その組の有意水準を最大で {by} 分の 1 に"
        "しました。",
        "Because values are skewed and columns spread unlike, levels of such pairs were divided by "
        "up to {by}.",
    ),
    "looks.skewed.at": ("{at} ブロックでは {by}", "{by} after {at} blocks"),
    "looks.first": (
        "判定は、計画どおり {next} ブロックがそろった時点で始まります。",
        "Marks begin after {next} blocks, as planned.",
    ),
    "looks.next": (
        "次の判定は {next} ブロックの時点です。",
        "The next looks are after {next} blocks.",
    ),
    "looks.last": (
        "最後の判定は {next} ブロックの時点です。",
        "The last look is after {next} blocks.",
    ),
    "settle.images": (
        "画像 {n} 枚では判定しない",
        "{n} images are too few for a mark",
    ),
    "seeds": ("n = {n}", "n = {n}"),
    "runs.failed": ("{n} 件失敗", "{n} failed"),
    "added": (
        "ブロック {blocks} は、それまでの結果を見た後に、計画された時点まで追加されました。",
        "Blocks {blocks} were added after an earlier look, up to a planned one.",
    ),
    "added-columns": (
        "結果を見た後に追加された列: {columns}。",
        "Added after a look at the other columns' results: {columns}.",
    ),
    "untested": ("手法の間では比較しません", "not compared between methods"),
    "exact": ("ばらつきのない値", "no spread; compared exactly"),
    "reference.floor": ("実画像どうしの下限値", "real against real"),
    "reference.copier": ("訓練画像をそのまま出した場合", "training images as samples"),
    "reference.base": ("手を加えないベース", "the untouched base"),
    "reference.blank": ("背景色だけの画像", "blank pages"),
    "reference.noise": ("乱数だけの画像", "nothing but noise"),
    "reference.grain": (
        "訓練画像に標準偏差 .1 のノイズを加えた場合",
        "training images with noise of .1",
    ),
    "reference.held-out": ("未使用の実画像", "real held-out images"),
    "reference.chance": ("偶然", "chance"),
    "reference.pixels": ("画素そのもの", "raw pixels"),
    "reference.pca": ("主成分分析（PCA）", "principal components"),
    "reference.hog": ("勾配方向ヒストグラム（HOG）", "gradient histograms (HOG)"),
    "reference.scattering": ("散乱変換（J = 2）", "scattering (J = 2)"),
    "reference.patches": ("パッチの K-means", "K-means of patches"),
    "reference.random": ("学習前の同じネットワーク", "the same network, untrained"),
    "reference.encoder": ("学習済みエンコーダ", "the pretrained encoder"),
    "question": ("{given}で何が得られたか", "What came of {given}?"),
    "given.training": ("学習画像 {n} 枚", "{n} training images"),
    "given.seconds": ("実行ごとに {n} 秒の学習", "{n} s of training a run"),
    "given.images": ("実行ごとに {n} 枚の学習", "{n} images seen a run"),
    "question.images": ("画像", "images"),
    "question.features": ("特徴", "features"),
    "question.copies": ("複製", "copies"),
    "question.budget": ("予算", "budget"),
    "ahead": ("{leader}が優位", "{leader} is ahead"),
    "ahead.small": (
        "{leader}が優位。ただし差は実用上小さい",
        "{leader} is ahead, by less than matters",
    ),
    "equal": ("{names}は実質同等", "{names} are practically equal"),
    "unclear": ("{names}の優劣は判定保留", "cannot tell {names} apart"),
    "equal.to": ("{names}は{leader}と実質同等", "{names} are practically equal to {leader}"),
    "equal.too": ("（{names}とは実質同等）", ", to which {names} are practically equal"),
    "unclear.to": (
        "{leader}と{names}との優劣は判定保留",
        "cannot tell {leader} from {names}",
    ),
    "behind": ("（{names}は劣る）", "; {names} behind"),
    "against": (
        "{metric}: {first}、{name}は {second}",
        "{metric}: {first} against {second} ({name})",
    ),
    "settle": (
        "あと {more} ブロック{time}で {gap} の差を判定できる見込み",
        "{more} more blocks{time} would settle a gap of {gap}",
    ),
    "settle.one": (
        "あと 1 ブロック{time}で {gap} の差を判定できる見込み",
        "1 more block{time} would settle a gap of {gap}",
    ),
    "settle.never": (
        "これまでに見分けられた差は {smallest} 以上。計画された残りのブロックでは決着しない見込み",
        "only gaps above {smallest} could be seen; no planned look is expected to tell",
    ),
    "settle.few": (
        "判定は計画された最初の時点（{n} ブロック）から",
        "marks begin at the first planned look, after {n} blocks",
    ),
    "settle.lost": (
        "両方の値がそろうブロックが {least} 個に満たない",
        "fewer than {least} blocks have both values",
    ),
    "settle.spread": (
        "差がブロックごとに変わらず、検定できない",
        "the difference never varies from block to block, so there is nothing to test",
    ),
    "settle.time": ("（約 {minutes} 分）", " ({minutes} min)"),
    "below": (
        "{reference}（{value}）を下回り、特徴を学んだとはいえない",
        "below {reference} ({value}): these features have shown nothing",
    ),
    "copies.none": (
        "どの手法にも訓練画像の複製は見つからない",
        "no copy of a training image was seen",
    ),
    "copies.few": (
        "{names}の生成画像に、訓練画像の複製に近いものがわずかにある",
        "a few samples of {names} are near-copies of training images",
    ),
    "copies.nearest": (
        "。{names}は偶然より訓練画像に寄っている",
        "; {names} lies nearer to training images than chance",
    ),
    "copies.share": ("{name}（最も近い割合 {share}）", "{name} (share nearest {share})"),
    "copies.share.base": (
        "{name}（最も近い割合 {share}、ベースは {base}）",
        "{name} (share nearest {share}, the base {base})",
    ),
    "copies.count": ("{name} {samples} 枚中 {copies} 枚", "{copies} of {samples} ({name})"),
    "copies.some": ("{names}は訓練画像を複製している", "{names} draws copies of training images"),
    "copies.unclear": (
        "{names}が訓練画像を複製しないかは判定保留",
        "cannot tell whether {names} copies training images",
    ),
    "copies.detail": (
        "ブロックごとの複製に近い画像: {counts}、未使用の実画像 {images} 枚中 {real} 枚",
        "near-copies a block: {counts}; real held-out images: {real} of {images}",
    ),
    "reaches": (
        "{name}は{leader}に追いつく",
        "{name} draws level with {leader}",
    ),
    "may-reach": (
        "{name}が{leader}に及ばないかは判定保留",
        "cannot tell {name} from {leader}",
    ),
    "passes": ("{name}は{leader}を上回る", "{name} overtakes {leader}"),
    "never-reaches": (
        "{name}でも{leader}に届かない",
        "even {name} stays behind {leader}",
    ),
    "rule": (
        "判定の規則: 表全体で1つの規則を使います。"
        "主要行（{headlines}）に誤った ≠ が出る表は 5 % 以下、"
        "その他の行の ≠ と、≈ のうち誤りは平均 5 % 以下です。どこかの行や列に本当の差があっても、"
        "計画された判定をすべて行っても変わりません。値の分布が強く偏り、列のばらつきが"
        "大きく異なる場合は、10 % を超えることがあります。",
        "One rule for the whole table: at most 5 % of tables show a false ≠ in a headline row "
        "({headlines}), and of the ≠ in other rows and of the ≈ at most 5 % are false on average, "
        "wherever else there are true differences and over all planned looks together. Where "
        "values are strongly skewed and one column spreads far more than another, it can be more "
        "than a tenth.",
    ),
    "rule.none": (
        "判定の規則: 主要行が測定されていないため、誤った ≠ が1つでも出る表は 0.2 % 以下です。",
        "One rule for the whole table: no headline row was measured, so at most .2 % of tables "
        "show a false ≠ in any row.",
    ),
    "proof": (
        "判定の確かさ: 実際の学習 {runs} 回から、同じ手法どうしの表を {tables} 枚ずつ"
        "（{columns} 列、以下は最も悪い列数の値）作りました。"
        "≠ が1つでも出たのは {blocks} ブロックで {one}（95% 信頼上限 {one_upper}）、"
        "計画された判定をすべて行うと {all}（{all_upper}）。主要行の1つだけに差を加えると、"
        "ほかに誤った ≠ が出た表は {beside}（{beside_upper}）、半分の行に差を加えると、"
        "≠ のうち誤りは {marks}（{marks_upper}）。"
        "標準偏差の {gap} 倍の差は {blocks} ブロックで {found} 以上の表で検出。",
        "How far the marks can be trusted, from {runs} real runs of one method, {tables} tables "
        "each of {columns} columns, the worst of them: any ≠ in {one} of tables at {blocks} blocks "
        "(upper bound {one_upper}), in {all} ({all_upper}) when every planned look is taken. With "
        "a difference planted in one headline row, {beside} ({beside_upper}) show a false ≠ "
        "elsewhere; with one in half of the rows, {marks} ({marks_upper}) of the ≠ are false. A "
        "gap of {gap} standard deviations is found in at least {found} at {blocks} blocks.",
    ),
    "chosen": (
        "特徴距離を主要行とする理由: 既知のデータ {sets} 組で確かめました。"
        "粒状ノイズ・ぼけ・ずれ・欠け・混合が強いほど大きくなったのは {severity_all} 系列中 "
        "{severity}（KID は {severity_kid}）、白・黒・平均・乱数の画像が、学習のごく初めを除く"
        "どの時点の画像より悪かったのは {placeholders_all} 通り中 {placeholders}"
        "（KID は {placeholders_kid}）、学習とともに下がったのは {course_all} 回中 {course}"
        "（KID は {course_kid}）。",
        "Why the feature distance decides, from {sets} known data sets: it rises with grain, blur, "
        "shifts, missing parts and blending in {severity} of {severity_all} series (KID in "
        "{severity_kid}), puts white, black, mean and noise images behind all that is drawn after "
        "the first stretch of training in {placeholders} of {placeholders_all} cases (KID in "
        "{placeholders_kid}), and falls along {course} of {course_all} courses of training (KID "
        "along {course_kid}).",
    ),
    "only": ("異なる行だけ表示", "Only differing rows"),
    "theme": ("表示", "Theme"),
    "theme.auto": ("自動", "auto"),
    "theme.light": ("ライト", "light"),
    "theme.dark": ("ダーク", "dark"),
    "language": ("言語", "Language"),
    "plot.legend": (
        "点は1つの実行、縦線は平均、帯は 95% 信頼区間、破線は参照値です。"
        "白抜きの点は後から追加された実行です。",
        "A dot is one run, the upright line the mean, the band its 95% confidence interval, "
        "broken lines the references. Hollow dots are runs added later.",
    ),
    "dataset": ("Kurabeデータセット ↗", "Kurabe dataset ↗"),
    "shown-with": ("{study} の結果", "Results of {study}"),
}


def word(key: str, lang: str, **values: object) -> str:
    """The words of that key in `lang`, "ja" or "en", with its places filled in."""
    return text_of(_WORDS[key], lang, values)


def has_word(key: str) -> bool:
    """Whether there are words of that key."""
    return key in _WORDS


def in_sentence(name: str, lang: str) -> str:
    """A name as it stands inside a sentence: an English one begins small, unless it is a DDPM."""
    first, rest = name[:1], name.split(" ")[0][1:]
    return first.lower() + name[1:] if lang == "en" and rest.islower() else name


def joined(names: list[str], lang: str) -> str:
    """Names as a list in a sentence: AとB, A、B、C, "A and B", "A, B and C"."""
    if lang == "ja":
        return ("と" if len(names) < 3 else "、").join(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
