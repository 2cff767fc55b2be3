"""The words of the pages in Japanese and English; the table's own come from comparison."""

from kurabe.words import Texts, table, text_of

_WORDS: dict[str, Texts] = {
    "skip": ("本文へ移動", "Skip to content"),
    "site": ("サイト内の移動", "Site"),
    "nav.catalogue": ("カタログ", "Catalogue"),
    "nav.compare": ("手法を比較", "Compare"),
    "nav.studies": ("比較実験", "Studies"),
    "nav.data": ("データセット", "Dataset"),
    "copy": ("コマンドをコピー", "Copy command"),
    "copied": ("コピーしました", "Copied"),
    "tagline": (
        "拡散モデルの手法を並べて比べます。どのような手法か、どう動くか、自分の画像で何が得られるか。",
        "Diffusion methods side by side: what they are, how they work, what they do "
        "on your images.",
    ),
    "footer": (
        "カードの事実は各カードの原典によります。測定値はすべて実行記録から計算しています。",
        "A card's facts rest on the sources it names; every measured value is computed from runs.",
    ),
    # Catalogue
    "catalogue": ("手法カタログ", "Catalogue of methods"),
    "search": ("名前・別名で検索", "Search names and aliases"),
    "search.button": ("検索", "Search"),
    "filters": ("絞り込み", "Filters"),
    "filter.any": ("すべて", "Any"),
    "filter.part": ("手法の系列", "Branch"),
    "filter.runs": ("ここで実行できる", "Runs here"),
    "filter.measured": ("測定結果がある", "Has results"),
    "found": ("{n} 件", "{n} methods"),
    "found.one": ("1 件", "1 method"),
    "found.none": (
        "「{text}」に合う手法はありません。別の名前や読みでも検索できます。",
        "No method fits “{text}”. Other names and readings work as well.",
    ),
    "found.nothing": ("この条件に合う手法はありません。", "No method fits these filters."),
    "chosen": ("選択中の手法", "Chosen methods"),
    "chosen.none": ("手法にチェックを入れてください（8 つまで）", "Tick methods, up to eight"),
    "compare": ("比較する（{n}）", "Compare ({n})"),
    "unchoose": ("{name}の選択を外す", "Unselect {name}"),
    "choose": ("{name}を選択", "Select {name}"),
    "own-card": ("自作", "Your own"),
    "runs-here": ("実行可", "Runs"),
    "has-results": ("測定済み", "Measured"),
    "start.pair": (
        "まずはこの 2 つから：{first} と {second}",
        "Begin with these two: {first} and {second}",
    ),
    # Compare
    "remove": ("{name}を比較から外す", "Remove {name} from comparison"),
    "add": ("手法を追加", "Add a method"),
    "add.button": ("追加", "Add"),
    "add.full": ("比較できるのは 8 列までです", "Eight columns at most"),
    "pick.first": (
        "手法を選ぶと、ここに並びます。",
        "Methods that you choose will stand here side by side.",
    ),
    "all": ("すべての行を表示", "Show all rows"),
    "nothing-differs": ("異なる行はありません。", "No row differs."),
    "column": ("{name}の列", "Column {name}"),
    "set-baseline": ("基準にする", "Set as baseline"),
    "pin": ("固定する", "Pin"),
    "unpin": ("固定を解除", "Unpin"),
    "pinned": ("固定", "Pinned"),
    "left": ("左へ移動", "Move left"),
    "right": ("右へ移動", "Move right"),
    "sort": ("この行で並べ替え", "Sort columns by this row"),
    "pairs.show": ("組ごとの判定", "Pair by pair"),
    "pairs.hide": ("組ごとの判定を閉じる", "Close pair by pair"),
    "delta": ("基準との差", "Δ from baseline"),
    "study.choice": ("測定結果", "Measured in"),
    "study.none": ("なし", "None"),
    "export": ("エクスポート", "Export"),
    "dataset.note": (
        "事実の出典：ScholarGate（{names}）",
        "Facts from: ScholarGate ({names})",
    ),
    "curves": ("学習曲線", "Training curves"),
    "curves.note": (
        "ブロック {block} のホールドアウト損失（縦軸は対数、横軸は学習した枚数）",
        "Held-out loss in block {block} (log scale) against images seen",
    ),
    "curves.run": (
        "損失（縦軸は対数、横軸は学習した枚数）",
        "Losses (log scale) against images seen",
    ),
    "curve.loss": ("訓練損失", "Training loss"),
    "curve.held_out": ("ホールドアウト損失", "Held-out loss"),
    "legend.facts": ("値が異なる（基本情報・仕組み）", "Values differ (facts, how it works)"),
    "legend.measured": (
        "ばらつきを超える差（測定結果）",
        "Differs beyond run-to-run spread (measured)",
    ),
    # Method
    "facts-from": ("出典", "Facts from"),
    "readings": ("読み", "Reading"),
    "equation": ("式", "Equation"),
    "equation.nothing": (
        "学習しません。重みをそのまま使います。",
        "Nothing is minimised; the weights are used as they are.",
    ),
    "equation.where": (
        "x₀ は画像、ε は標準正規ノイズ、x_t = α_t x₀ + σ_t ε、D はデノイザ。",
        "x₀ is an image, ε noise, x_t = α_t x₀ + σ_t ε, and D the denoiser.",
    ),
    "equation.by-default": (
        "この系統の既定の手法「{name}」の式です。",
        "Of this family's default, {name}.",
    ),
    "recipe": ("レシピ（実験設定）", "Recipe"),
    "method.results": ("測定結果", "Measured"),
    "method.none": (
        "まだ測定結果がありません。次のコマンドで測定できます。",
        "Not measured yet. This command would measure it.",
    ),
    "method.described": (
        "この手法は解説のみで、ここでは実行できません。",
        "This method is described here; it does not run.",
    ),
    "neighbours": ("近い手法", "Neighbours"),
    "broader": ("上位の手法", "Broader"),
    "narrower": ("下位の手法", "Narrower"),
    "compare-with": ("{name}と比較", "Compare with {name}"),
    "sources": ("文献", "Sources"),
    "checked": ("確認方法：{text}", "Checked: {text}"),
    "card": ("カード", "Card"),
    # Studies and runs
    "studies": ("比較実験", "Studies"),
    "studies.none": (
        "まだ比較実験がありません。次のコマンドで自分の画像を比較できます。",
        "No study yet. This command compares methods on your own images.",
    ),
    "studies.own": ("このフォルダの比較実験", "In this folder"),
    "studies.shipped": ("同梱の比較実験", "Shipped with Kurabe"),
    "study": ("比較実験 {name}", "Study {name}"),
    "progress": ("進行状況", "Progress"),
    "progress.of": ("{total} 件中 {done} 件の実行が終了", "{done} of {total} runs finished"),
    "progress.runs": ("すべての実行", "All runs"),
    "progress.column": ("手法", "Method"),
    "block": ("ブロック {n}", "Block {n}"),
    "time-left": ("残り約{n}分", "About {n} min left"),
    "status.planned": ("待機中", "Waiting"),
    "status.running": ("実行中", "Running"),
    "status.finished": ("終了", "Finished"),
    "status.failed": ("実行失敗", "Failed"),
    "status.interrupted": ("中断（再開可）", "Interrupted; can resume"),
    "status.unreadable": ("読めない記録", "Unreadable"),
    "status.none": ("未開始", "Not begun"),
    "resume": ("再開", "Resume"),
    "question.blind": ("ブラインド比較", "Blind comparison"),
    "blind.link": (
        "手法名を伏せて、目で比べる",
        "Compare by eye, names hidden",
    ),
    "run": ("実行 {name}", "Run {name}"),
    "run.of": ("比較実験", "Study"),
    "run.method": ("手法", "Method"),
    "run.block": ("ブロック", "Block"),
    "run.seed": ("乱数シード", "Seed"),
    "run.status": ("状態", "Status"),
    "run.images": ("学習した枚数", "Images seen"),
    "run.seconds": ("学習時間（秒）", "Training, s"),
    "run.prepared": ("学習前にベースで描画", "Drawn by the base before training"),
    "run.paid": (
        "評価 {passes:,} 回、{seconds:,.0f} 秒（学習 {images:,} 枚分を予算から）",
        "{passes:,} passes in {seconds:,.0f} s (the price of {images:,} images, from the budget)",
    ),
    "run.started": ("開始（UTC）", "Started (UTC)"),
    "run.finished": ("終了（UTC）", "Finished (UTC)"),
    "run.hardware": ("実行環境", "Hardware"),
    "run.libraries": ("ライブラリ", "Libraries"),
    "run.version": ("バージョン", "Version"),
    "run.data": ("データのハッシュ値", "Data digest"),
    "run.error": ("エラー", "Error"),
    "run.scores": ("測定値", "Scores"),
    "run.scores.none": ("まだ測定されていません。", "Not measured yet."),
    "run.metric": ("項目", "Metric"),
    "run.value": ("値", "Value"),
    "run.references": ("参照値", "References"),
    "run.grids": ("生成例の移り変わり", "Samples as training went on"),
    "run.seen": ("{n} 枚の学習後", "after {n} images"),
    "run.record": ("記録", "Record"),
    # Blind
    "blind.intro": (
        "同じ初期ノイズから描いた 2 組の画像です。よいと思うほうを選んでください。"
        "手法名は最後に示します。",
        "Two sets of images from the same starting noise. Pick the better one; "
        "the names come at the end.",
    ),
    "blind.of": ("{n} / {total} 問目", "{n} of {total}"),
    "blind.a": ("左を選ぶ", "The left one"),
    "blind.b": ("右を選ぶ", "The right one"),
    "blind.left": ("左の画像", "Left images"),
    "blind.right": ("右の画像", "Right images"),
    "blind.result": (
        "{total} 問のうち {found} 問で「{name}」が選ばれました。",
        "{name} was picked in {found} of {total} questions.",
    ),
    "blind.share": (
        "割合 {share}（95% 信頼区間 {low}–{high}、偶然は .50）",
        "Share {share} (95% confidence interval {low}–{high}; .50 by chance)",
    ),
    "blind.again": ("別の並びでもう一度", "Once more, in another order"),
    "blind.stop": ("ここで結果を見る", "Show the result now"),
    "blind.choose": ("比べる 2 つを選ぶ", "Choose the two to compare"),
    "blind.first": ("1 つ目", "First"),
    "blind.second": ("2 つ目", "Second"),
    "blind.start": ("始める", "Begin"),
    # Data
    "data": ("Kurabeデータセット", "The Kurabe dataset"),
    "data.intro": (
        "このカタログのすべてのカード（日本語と英語）を、次の形式で配布しています。"
        "ライセンスは Apache-2.0 です。",
        "Every card of this catalogue, in Japanese and English, in these forms. "
        "Licence: Apache-2.0.",
    ),
    "data.json": ("すべての項目（JSON）", "Everything, as JSON"),
    "data.csv": ("表計算ソフト向け（CSV、UTF-8）", "For spreadsheets (CSV, UTF-8)"),
    "data.skos": ("語彙（JSON-LD、SKOS）", "As a vocabulary (JSON-LD, SKOS)"),
    "data.terms": (
        "検索エンジン向け（JSON-LD、schema.org DefinedTermSet）",
        "For search engines (JSON-LD, schema.org DefinedTermSet)",
    ),
    "data.bibtex": ("文献（BibTeX）", "The sources (BibTeX)"),
    "data.croissant": ("メタデータ（Croissant）", "Metadata (Croissant)"),
    "data.credit": (
        "「拡散モデルを用いた転移学習」と「自己教師あり拡散モデル」のカードの事実は "
        "ScholarGate の比較ページによります。要約は独自に書いたものです。",
        "The facts of the cards “Transfer learning with diffusion models” and “Self-supervised "
        "diffusion model” come from ScholarGate's comparison page; the summaries are our own.",
    ),
    "data.studies": ("比較実験の測定値", "Measured values of studies"),
    "data.runs-csv": ("実行ごとの値（CSV）", "One line a run and metric (CSV)"),
    "data.api": ("JSON API の記述（OpenAPI）", "The JSON API, described (OpenAPI)"),
    "obtained-from": ("入手元", "Obtained from"),
    # Problems
    "problem.title": ("ページを表示できません", "This page cannot be shown"),
    "problem.method": ("手法「{slug}」は見つかりません", "No method “{slug}”"),
    "problem.near": ("もしかして：", "Did you mean:"),
    "problem.columns": (
        "{n} 列は並べられません。比較できるのは {most} 列までです。",
        "{n} columns are too many; a comparison holds up to {most}.",
    ),
    "bring": ("自分の結果を持ち込む", "Bring your own"),
    "bring.example": ("study", "study"),
    "bring.button": ("開く", "Open"),
    "bring.note": (
        "--runs のフォルダーの中にある比較実験のフォルダー。作成は kurabe study FOLDER "
        "--column NAME=PATH または kurabe numbers",
        "A study's folder inside the folder of --runs, as kurabe study FOLDER --column NAME=PATH "
        "or kurabe numbers makes it",
    ),
    "problem.outside": (
        "「{name}」は結果のフォルダーの中にはないため、開けません",
        "“{name}” is not inside the folder of runs that is served, so it is not opened",
    ),
    "problem.no-study": (
        "「{name}」に比較実験はありません。kurabe study FOLDER --column NAME=PATH または "
        "kurabe numbers で作成してください",
        "There is no study in “{name}”; kurabe study FOLDER --column NAME=PATH or kurabe numbers "
        "makes one",
    ),
    "problem.study": ("比較実験「{name}」は見つかりません", "No study “{name}”"),
    "problem.run": ("実行「{name}」は見つかりません", "No run “{name}”"),
    "problem.image": ("この画像は見つかりません", "No such image"),
    "problem.page": ("ページ「{path}」は見つかりません", "No page “{path}”"),
    "problem.language": (
        "言語「{name}」はありません。日本語（ja）と英語（en）があります。",
        "No language “{name}”; there are Japanese (ja) and English (en).",
    ),
    "problem.baseline": (
        "基準「{name}」は比較中の列にありません",
        "The baseline “{name}” is not among the columns",
    ),
    "problem.no-plots": (
        "図にする測定結果がありません。比較実験を選んでください。",
        "There is nothing measured to draw; choose a study.",
    ),
    "problem.format": ("形式「{name}」では書き出せません", "No export format “{name}”"),
    "problem.value": ("{name}：{why}", "{name}: {why}"),
    "problem.long": ("アドレスが長すぎます。", "The address is too long."),
    "problem.unreadable": ("記録を読めません：{reason}", "A record cannot be read: {reason}"),
    "problem.answers": (
        "回答は L と R の並びで、{most} 問までです。",
        "Answers are a row of L and R, {most} at most.",
    ),
    "problem.grids": (
        "この 2 列には同じ初期ノイズからの生成例がありません",
        "These two columns have no samples from the same starting noise",
    ),
    "problem.method-not-allowed": (
        "このアドレスは読み取り専用です。",
        "This address can only be read.",
    ),
    "problem.inside": (
        "表示の途中で問題が起きました。サーバーのログを確認してください。",
        "Something went wrong on our side; the server's log says what.",
    ),
    "problem.way-out": ("カタログへ戻る", "Back to the catalogue"),
    "problem.not-in-study": (
        "手法「{slug}」は比較実験「{name}」にありません",
        "The method “{slug}” is not in the study “{name}”",
    ),
}


def word(key: str, lang: str, **values: object) -> str:
    """The words of that key in "ja" or "en", with its places filled in."""
    if key not in _WORDS:
        return table.word(key, lang, **values)
    return text_of(_WORDS[key], lang, values)
