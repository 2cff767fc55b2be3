"""The sentences that the command line says, in Japanese and English, in one table.

`say(key, lang, **values)` fills one in. The words follow the page's: the spread of runs is
ばらつき, never ノイズ; a study is 比較実験.
"""

import unicodedata
from collections.abc import Sequence

from kurabe.words import Texts, text_of

_WORDS: dict[str, Texts] = {
    "plan.files": (
        "{files} ファイル: {kept} 枚を使用{dropped}",
        "{files} {files|file|files}: {kept} kept{dropped}",
    ),
    "plan.duplicate": ("重複 {n}", "{n} {n|duplicate|duplicates}"),
    "plan.unreadable": ("読めないもの {n}", "{n} unreadable"),
    "plan.near": (
        "よく似たもの {n}（分割をまたがない）",
        "{n} {n|near-duplicate|near-duplicates} kept together",
    ),
    "plan.images": ("画像", "images"),
    "plan.images.text": (
        "{sizes} px, {colour} → {size}, 中央を切り出し",
        "{sizes} px, {colour} → {size}, centre crop",
    ),
    "plan.images.flag": ("大きくするには --size 64", "--size 64 for larger"),
    "plan.buckets": ("縦横比", "aspects"),
    "plan.buckets.text": (
        "学習は {counts} 枚で、評価は上の大きさで",
        "trained in {counts}; measured in the size above",
    ),
    "plan.split": ("分割", "split"),
    "plan.seen": (
        "テスト画像のうち {n} 枚は {base} の訓練に使われた (ほぼ同じ画像を含む) ため除外",
        "{n} test {n|image|images} left out: {base} was trained on {n|it|them}, or on near-copies",
    ),
    "plan.split.text": (
        "訓練 {train} · 検証 {validation} · テスト {test}, ブロックごとに引き直し",
        "{train} train · {validation} validation · {test} test, new draw per block",
    ),
    "plan.base": ("ベース", "base"),
    "plan.base.text": (
        "{name}（{colour}, {size}; {parameters} M パラメータ）",
        "{name} ({colour}, {size}; {parameters} M parameters)",
    ),
    "plan.base.none": ("なし: どの手法もゼロから", "none: every method starts from scratch"),
    "plan.own": ("手法の設定", "its own"),
    "plan.plan": ("計画", "plan"),
    "plan.plan.text": (
        "{methods} 手法 × {blocks} ブロック × {budget}{trials}  ≈ {minutes}（{where}）",
        "{methods} {methods|method|methods} × {blocks} {blocks|block|blocks} × {budget}"
        "{trials}  ≈ {minutes} on {where}",
    ),
    "plan.marks": ("判定", "marks"),
    "plan.marks.text": (
        "{first} ブロックから付けます。{blocks} ブロックの表に ≠ と ≈ はありません",
        "from {first} blocks on; a table of {blocks} has neither ≠ nor ≈",
    ),
    "plan.disk": ("ディスク", "disk"),
    "plan.disk.text": ("約 {need} を使用（空き {free}）", "about {need} of {free} free"),
    "plan.plan.flag": (
        "Ctrl-C で中断可: 同じコマンドで再開",
        "Ctrl-C is safe: the same command continues",
    ),
    "plan.trials": (
        " + 学習率の試行 {n}–{most} 回",
        " + {n} to {most} learning-rate {most|trial|trials}",
    ),
    "plan.machines": (
        "{machines} 台のマシンの {n} コア",
        "{n} {n|core|cores} of {machines} machines",
    ),
    "plan.cores": ("{n} コア", "{n} cores"),
    "plan.core": ("1 コア", "1 core"),
    "plan.done": (
        "{done}/{total} 実行が終了済み",
        "{done} of {total} {total|run|runs} {done|is|are} finished already",
    ),
    "plan.written": ("保存先", "written to"),
    "plan.start": (
        "{path} — 編集するか、今すぐ始めますか？ [Y/n] ",
        "{path} — edit it, or start now? [Y/n] ",
    ),
    "plan.later": ("始めるには:  {command}", "To start:  {command}"),
    "plan.dry": ("{path}（--dry-run: 何も始めません）", "{path} (--dry-run: nothing was started)"),
    "calibrating": (
        "速度を測っています（約 {seconds} 秒、最初の一度だけ）",
        "measuring speed, about {seconds} s, only this once",
    ),
    "colour.1": ("グレースケール", "grey"),
    "colour.3": ("カラー", "colour"),
    "time.seconds": ("{n} 秒", "{n} s"),
    "time.minutes": ("{n} 分", "{n} min"),
    "time.hours": ("{n} 時間", "{n} h"),
    "images": ("{n} 枚", "{n} {n|image|images}"),
    "run": ("実行", "run"),
    "run.block": ("ブロック {n}", "block {n}"),
    "run.blocks": ("ブロック {n}", "blocks {n}"),
    "run.trial": ("学習率 {lr:g} の試行", "trial at learning rate {lr:g}"),
    "run.loss": ("損失 {loss}", "loss {loss}"),
    "run.rate": ("{rate} 枚/秒", "{rate} images/s"),
    "run.left": ("残り約 {time}", "{time} left"),
    "run.preparing": ("準備中", "getting ready"),
    "run.evaluating": ("評価中", "measuring"),
    "run.finished": ("終了（{time}）", "finished in {time}"),
    "run.failed": ("失敗: {error}", "failed: {error}"),
    "compare.facts": ("手法の基本情報も見るには:  --facts", "the methods' facts, too:  --facts"),
    "run.busy": (
        "ほかのプロセスが {path} に書き込み中のため、手を付けませんでした",
        "left alone: another process is writing {path}",
    ),
    "samples": ("生成例", "samples"),
    "samples.growing": ("{path}（学習中に更新）", "{path} (growing)"),
    "samples.title": ("{name}: 生成例", "{name}: samples"),
    "samples.none": ("まだありません", "none yet"),
    "samples.seen": ("学習 {n} 枚", "{n} {n|image|images} seen"),
    "samples.note": (
        "どの列も同じ初期ノイズから描いています。学習中は 10 秒ごとに更新されます。",
        "Every column draws from the same starting noise. While runs last, this page reloads"
        " every ten seconds.",
    ),
    "samples.short": (
        "ゼロからの学習は、数十秒ではぼんやりした塊しか描けないのが普通です。",
        "Training from scratch usually draws no more than blobs after some ten seconds: that is"
        " what so little can buy.",
    ),
    "interrupted": (
        "中断しました。状態は保存済みです。続けるには:  {command}",
        "Interrupted; everything is saved. To go on:  {command}",
    ),
    "end.page": ("ページ", "page"),
    "end.samples": ("生成例", "samples"),
    "end.serve": ("すべてをブラウザで", "all in a browser"),
    "end.more": ("列を追加", "more columns"),
    "end.own": ("自分の画像で", "your own images"),
    "end.marks": ("記号の読み方", "what the marks mean"),
    "end.failed": (
        "{column}（{blocks}）は失敗しました（表では —）: {why}",
        "{column}, {blocks}, failed and stands as — in the table: {why}",
    ),
    "end.failed.all": (
        "{column} はどのブロックでも失敗し、列に測定値がありません: {why}",
        "{column} failed in every block, so its column holds no measurement: {why}",
    ),
    "end.failed.trial": (
        "{column}・学習率 {rates} の試行は失敗し、最も悪いものとして扱われました: {why}",
        "{column}, trial at learning rate {rates}, failed and counts as the worst: {why}",
    ),
    "end.failed.silent": (
        "理由の記録がありません。{path}/worker.log を見てください",
        "it left no reason; {path}/worker.log may hold one",
    ),
    "end.failed.rest": ("ほか {n} 件も失敗しました", "and {n} more"),
    "end.failed.again": (
        "原因を除いてから {command} で、失敗した実行だけを再試行します",
        "once the reason is mended, {command} tries these again, and only these",
    ),
    "end.edge": (
        "{column}: 最良の学習率 {lr:g} が範囲の端にあり、その外がさらに良い可能性があります",
        "{column}: the best learning rate, {lr:g}, lies on the edge of its grid; a better one"
        " may lie outside",
    ),
    "end.added": (
        "{total} ブロックのうち {n} は結果を見た後に追加されました",
        "{n} of {total} blocks {n|was|were} added after a look at the results",
    ),
    "demo.digits": (
        "画像を取得できないため、付属の手書き数字で代用します（{why}）",
        "Nothing could be fetched, so the embedded digits stand in ({why})",
    ),
    "runs.none": (
        "{path} には実行がありません。始めるには:  kurabe demo",
        "There are no runs in {path}. To begin:  kurabe demo",
    ),
    "done.samples": ("{n} 枚を {path} に保存しました", "{n} {n|image|images} drawn into {path}"),
    "done.export": (
        "{format} の形式で {path} に書き出しました",
        "written for {format} into {path}",
    ),
    "adapter.fits": (
        "{of} 個のテンソルのうち {n} 個が {base} に合います",
        "{n} of {of} {of|tensor|tensors} {n|fits|fit} {base}",
    ),
    "adapter.changes": (
        "{n} 枚の生成画像の画素値が平均 {mean}、最大 {largest}（0–255）変わります",
        "{n} drawn {n|image|images} {n|changes|change} by {mean} on average, {largest} at most "
        "(of 255)",
    ),
    "adapter.same": (
        "{n} 枚の生成画像は少しも変わりません",
        "{n} drawn {n|image|images} {n|does|do} not change at all",
    ),
    "done.embed": (
        "{n} 枚 × {dim} 次元を {path} に保存しました（{where}）",
        "{n} {n|image|images} × {dim} {dim|feature|features} in {path} ({where})",
    ),
    "done.embed.left": (
        "読めない {n} 件は含まれません: {which}",
        "{n} unreadable and not among them: {which}",
    ),
    "done.label": (
        "与えられた {given} 枚のラベル（{classes} クラス）から {n} 枚を分類し、{table} と {page} に"
        "保存しました（{where}）",
        "{n} {n|image|images} labelled from {given} that {given|was|were} given, of {classes} "
        "classes: {table}, and to correct them {page} ({where})",
    ),
    "done.near": (
        "{n} 枚それぞれに近い画像と、よく似た画像 {groups} 組を {table} と {page} に"
        "保存しました（{where}）",
        "the nearest images of {n} and {groups} {groups|group|groups} of near-duplicates: {table}, "
        "with thumbnails {page} ({where})",
    ),
    "near.title": ("{name}：近い画像とよく似た画像", "{name}: nearest images and near-duplicates"),
    "near.alike": ("よく似た画像 {n} 組", "{n} {n|group|groups} of near-duplicates"),
    "near.nearest": (
        "近い画像（全 {total} 枚のうち {n} 枚）",
        "Nearest images, of {n} of all {total}",
    ),
    "label.title": ("{name}：ラベルの確認", "{name}: labels to check"),
    "label.how": (
        "ラベルのない {n} 枚を、確信の低い順に並べています。直すか「正しい」を選び、保存した"
        " labels.csv を --labels に渡すと続きができます。",
        "{n} {n|image|images} without a label, the least sure first. Correct a label or tick it as "
        "right, save, and give labels.csv to --labels to go on.",
    ),
    "label.left": ("このほか {n} 枚は表にあります。", "{n} more {n|is|are} in the table."),
    "label.save": ("labels.csv を保存", "Save labels.csv"),
    "label.sure": ("正しい", "right"),
    "data.licence": ("ライセンス", "licence"),
    "short.transfer-learning-with-diffusion-models": ("転移学習", "transfer learning"),
    "short.self-supervised-diffusion-model": ("自己教師あり", "self-supervised"),
    "methods.run": (
        "ここで実行できます:  kurabe fit ID --data FOLDER",
        "runs here:  kurabe fit ID --data FOLDER",
    ),
    "methods.own": ("自作のカード", "a card of your own"),
    "short.ddpm": ("ゼロから", "from scratch"),
    "short.base": ("ベースのまま", "base, untouched"),
    "status.planned": ("予定", "planned"),
    "status.running": ("実行中", "running"),
    "status.finished": ("終了", "finished"),
    "status.failed": ("失敗", "failed"),
    "status.interrupted": ("中断", "interrupted"),
}


def say(key: str, lang: str, **values: object) -> str:
    """The sentence of that key in `lang` ("ja" or "en"), its places filled in."""
    return text_of(_WORDS[key], lang, values)


def duration(seconds: float, lang: str) -> str:
    """A time as people say it: 42 s, 7 min, 1.5 h."""
    if seconds < 90:
        return say("time.seconds", lang, n=max(1, round(seconds)))
    if seconds < 5400:
        return say("time.minutes", lang, n=round(seconds / 60))
    return say("time.hours", lang, n=f"{seconds / 3600:.1f}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below one another, wide characters counted as two."""
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    padded = [
        [text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=True)]
        for row in rows
    ]
    return ["  ".join(row).rstrip() for row in padded]


def cells(text: str) -> int:
    """Columns that the text takes in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def short_name(method: str, name: str, factor: float, lang: str) -> str:
    """A column's name where room is short: the method's everyday name, and its larger budget."""
    key = f"short.{method}"
    short = say(key, lang) if key in _WORDS else name
    return short if factor == 1 else f"{short} ×{factor:g}"
