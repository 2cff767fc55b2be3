"""The sentences that the command line says, in Japanese and English, in one table.

`say(key, lang, **values)` fills one in. The words follow the page's: the spread of runs is
ばらつき, never ノイズ; a study is 比較実験.
"""

import locale
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence

LANGUAGES = ("ja", "en")

_WORDS: dict[str, dict[str, str]] = {
    "plan.files": {
        "ja": "{files} ファイル: {kept} 枚を使用{dropped}",
        "en": "{files} {files|file|files}: {kept} kept{dropped}",
    },
    "plan.duplicate": {"ja": "重複 {n}", "en": "{n} {n|duplicate|duplicates}"},
    "plan.unreadable": {"ja": "読めないもの {n}", "en": "{n} unreadable"},
    "plan.near": {
        "ja": "よく似たもの {n}（分割をまたがない）",
        "en": "{n} {n|near-duplicate|near-duplicates} kept together",
    },
    "plan.images": {"ja": "画像", "en": "images"},
    "plan.images.text": {
        "ja": "{sizes} px, {colour} → {size}×{size}, 中央を切り出し",
        "en": "{sizes} px, {colour} → {size}×{size}, centre crop",
    },
    "plan.images.flag": {"ja": "大きくするには --size 64", "en": "--size 64 for larger"},
    "plan.split": {"ja": "分割", "en": "split"},
    "plan.seen": {
        "ja": "テスト画像のうち {n} 枚は {base} の訓練に使われた (ほぼ同じ画像を含む) ため除外",
        "en": "{n} test {n|image|images} left out: {base} was trained on {n|it|them}, "
        "or on near-copies",
    },
    "plan.split.text": {
        "ja": "訓練 {train} · 検証 {validation} · テスト {test}, ブロックごとに引き直し",
        "en": "{train} train · {validation} validation · {test} test, new draw per block",
    },
    "plan.base": {"ja": "ベース", "en": "base"},
    "plan.base.text": {
        "ja": "{name}（{colour}, {size}×{size}; {parameters} M パラメータ）",
        "en": "{name} ({colour}, {size}×{size}; {parameters} M parameters)",
    },
    "plan.base.none": {
        "ja": "なし: どの手法もゼロから",
        "en": "none: every method starts from scratch",
    },
    "plan.own": {"ja": "手法の設定", "en": "its own"},
    "plan.plan": {"ja": "計画", "en": "plan"},
    "plan.plan.text": {
        "ja": "{methods} 手法 × {blocks} ブロック × {budget}{trials}  ≈ {minutes}（{where}）",
        "en": "{methods} {methods|method|methods} × {blocks} {blocks|block|blocks} × "
        "{budget}{trials}  ≈ {minutes} on {where}",
    },
    "plan.marks": {"ja": "判定", "en": "marks"},
    "plan.marks.text": {
        "ja": "{first} ブロックから付けます。{blocks} ブロックの表に ≠ と ≈ はありません",
        "en": "from {first} blocks on; a table of {blocks} has neither ≠ nor ≈",
    },
    "plan.disk": {"ja": "ディスク", "en": "disk"},
    "plan.disk.text": {
        "ja": "約 {need} を使用（空き {free}）",
        "en": "about {need} of {free} free",
    },
    "plan.plan.flag": {
        "ja": "Ctrl-C で中断可: 同じコマンドで再開",
        "en": "Ctrl-C is safe: the same command continues",
    },
    "plan.trials": {
        "ja": " + 学習率の試行 {n}–{most} 回",
        "en": " + {n} to {most} learning-rate {most|trial|trials}",
    },
    "plan.cores": {"ja": "{n} コア", "en": "{n} cores"},
    "plan.core": {"ja": "1 コア", "en": "1 core"},
    "plan.done": {
        "ja": "{done}/{total} 実行が終了済み",
        "en": "{done} of {total} {total|run|runs} {done|is|are} finished already",
    },
    "plan.written": {"ja": "保存先", "en": "written to"},
    "plan.start": {
        "ja": "{path} — 編集するか、今すぐ始めますか？ [Y/n] ",
        "en": "{path} — edit it, or start now? [Y/n] ",
    },
    "plan.later": {"ja": "始めるには:  {command}", "en": "To start:  {command}"},
    "plan.dry": {
        "ja": "{path}（--dry-run: 何も始めません）",
        "en": "{path} (--dry-run: nothing was started)",
    },
    "calibrating": {
        "ja": "速度を測っています（約 {seconds} 秒、最初の一度だけ）",
        "en": "measuring speed, about {seconds} s, only this once",
    },
    "colour.1": {"ja": "グレースケール", "en": "grey"},
    "colour.3": {"ja": "カラー", "en": "colour"},
    "time.seconds": {"ja": "{n} 秒", "en": "{n} s"},
    "time.minutes": {"ja": "{n} 分", "en": "{n} min"},
    "time.hours": {"ja": "{n} 時間", "en": "{n} h"},
    "images": {"ja": "{n} 枚", "en": "{n} {n|image|images}"},
    "run": {"ja": "実行", "en": "run"},
    "run.block": {"ja": "ブロック {n}", "en": "block {n}"},
    "run.blocks": {"ja": "ブロック {n}", "en": "blocks {n}"},
    "run.trial": {"ja": "学習率 {lr:g} の試行", "en": "trial at learning rate {lr:g}"},
    "run.loss": {"ja": "損失 {loss}", "en": "loss {loss}"},
    "run.rate": {"ja": "{rate} 枚/秒", "en": "{rate} images/s"},
    "run.left": {"ja": "残り約 {time}", "en": "{time} left"},
    "run.preparing": {"ja": "準備中", "en": "getting ready"},
    "run.evaluating": {"ja": "評価中", "en": "measuring"},
    "run.finished": {"ja": "終了（{time}）", "en": "finished in {time}"},
    "run.failed": {"ja": "失敗: {error}", "en": "failed: {error}"},
    "compare.facts": {
        "ja": "手法の基本情報も見るには:  --facts",
        "en": "the methods' facts, too:  --facts",
    },
    "run.busy": {
        "ja": "ほかのプロセスが {path} に書き込み中のため、手を付けませんでした",
        "en": "left alone: another process is writing {path}",
    },
    "samples": {"ja": "生成例", "en": "samples"},
    "samples.growing": {"ja": "{path}（学習中に更新）", "en": "{path} (growing)"},
    "samples.title": {"ja": "{name}: 生成例", "en": "{name}: samples"},
    "samples.none": {"ja": "まだありません", "en": "none yet"},
    "samples.seen": {"ja": "学習 {n} 枚", "en": "{n} {n|image|images} seen"},
    "samples.note": {
        "ja": "どの列も同じ初期ノイズから描いています。学習中は 10 秒ごとに更新されます。",
        "en": "Every column draws from the same starting noise. While runs last, this page "
        "reloads every ten seconds.",
    },
    "samples.short": {
        "ja": "ゼロからの学習は、数十秒ではぼんやりした塊しか描けないのが普通です。",
        "en": "Training from scratch usually draws no more than blobs after some "
        "ten seconds: that is what so little can buy.",
    },
    "interrupted": {
        "ja": "中断しました。状態は保存済みです。続けるには:  {command}",
        "en": "Interrupted; everything is saved. To go on:  {command}",
    },
    "end.page": {"ja": "ページ", "en": "page"},
    "end.samples": {"ja": "生成例", "en": "samples"},
    "end.serve": {"ja": "すべてをブラウザで", "en": "all in a browser"},
    "end.more": {"ja": "列を追加", "en": "more columns"},
    "end.own": {"ja": "自分の画像で", "en": "your own images"},
    "end.marks": {"ja": "記号の読み方", "en": "what the marks mean"},
    "end.failed": {
        "ja": "{column}（{blocks}）は失敗しました（表では —）: {why}",
        "en": "{column}, {blocks}, failed and stands as — in the table: {why}",
    },
    "end.failed.all": {
        "ja": "{column} はどのブロックでも失敗し、列に測定値がありません: {why}",
        "en": "{column} failed in every block, so its column holds no measurement: {why}",
    },
    "end.failed.trial": {
        "ja": "{column}・学習率 {rates} の試行は失敗し、最も悪いものとして扱われました: {why}",
        "en": "{column}, trial at learning rate {rates}, failed and counts as the worst: {why}",
    },
    "end.failed.silent": {
        "ja": "理由の記録がありません。{path}/worker.log を見てください",
        "en": "it left no reason; {path}/worker.log may hold one",
    },
    "end.failed.rest": {"ja": "ほか {n} 件も失敗しました", "en": "and {n} more"},
    "end.failed.again": {
        "ja": "原因を除いてから {command} で、失敗した実行だけを再試行します",
        "en": "once the reason is mended, {command} tries these again, and only these",
    },
    "end.edge": {
        "ja": "{column}: 最良の学習率 {lr:g} が範囲の端にあり、その外がさらに良い可能性があります",
        "en": "{column}: the best learning rate, {lr:g}, lies on the edge of its grid; "
        "a better one may lie outside",
    },
    "end.added": {
        "ja": "{total} ブロックのうち {n} は結果を見た後に追加されました",
        "en": "{n} of {total} blocks {n|was|were} added after a look at the results",
    },
    "demo.digits": {
        "ja": "画像を取得できないため、付属の手書き数字で代用します（{why}）",
        "en": "Nothing could be fetched, so the embedded digits stand in ({why})",
    },
    "runs.none": {
        "ja": "{path} には実行がありません。始めるには:  kurabe demo",
        "en": "There are no runs in {path}. To begin:  kurabe demo",
    },
    "done.samples": {
        "ja": "{n} 枚を {path} に保存しました",
        "en": "{n} {n|image|images} drawn into {path}",
    },
    "done.export": {
        "ja": "{format} の形式で {path} に書き出しました",
        "en": "written for {format} into {path}",
    },
    "done.embed": {
        "ja": "{n} 枚 × {dim} 次元を {path} に保存しました（{where}）",
        "en": "{n} {n|image|images} × {dim} {dim|feature|features} in {path} ({where})",
    },
    "done.embed.left": {
        "ja": "読めない {n} ファイルは含まれません: {which}",
        "en": "{n} unreadable and not among them: {which}",
    },
    "data.licence": {"ja": "ライセンス", "en": "licence"},
    "short.transfer-learning-with-diffusion-models": {"ja": "転移学習", "en": "transfer learning"},
    "short.self-supervised-diffusion-model": {"ja": "自己教師あり", "en": "self-supervised"},
    "methods.run": {
        "ja": "ここで実行できます:  kurabe fit ID --data FOLDER",
        "en": "runs here:  kurabe fit ID --data FOLDER",
    },
    "short.ddpm": {"ja": "ゼロから", "en": "from scratch"},
    "short.base": {"ja": "ベースのまま", "en": "base, untouched"},
    "status.planned": {"ja": "予定", "en": "planned"},
    "status.running": {"ja": "実行中", "en": "running"},
    "status.finished": {"ja": "終了", "en": "finished"},
    "status.failed": {"ja": "失敗", "en": "failed"},
    "status.interrupted": {"ja": "中断", "en": "interrupted"},
}


def say(key: str, lang: str, **values: object) -> str:
    """The sentence of that key in `lang` ("ja" or "en"), its places filled in."""
    return counted(_WORDS[key][lang], values).format(**values)


def counted(text: str, values: Mapping[str, object]) -> str:
    """The text with each {name|one|many} settled by whether that value is one."""
    chosen = re.compile(r"\{(\w+)\|([^|{}]*)\|([^|{}]*)\}")
    return chosen.sub(lambda m: m[2] if str(values[m[1]]) == "1" else m[3], text)


def language(given: str | None = None) -> str:
    """`given`, or the locale's: Japanese where the locale is Japanese, else English."""
    if given is not None:
        return given
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "ja" if value.startswith("ja") else "en"
    system = locale.getlocale()[0] or ""
    return "ja" if system.lower().startswith("ja") else "en"


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
