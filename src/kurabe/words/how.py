"""The words of how methods work: the rows of their choices, and of what a study set for each."""

from kurabe.words import Texts

HOW: dict[str, Texts] = {
    "start.base": ("ベースモデル", "A base"),
    "start.refit": (
        "ベースモデル（閉形式の部分は手元の画像に合わせ直す）",
        "A base, its closed form fitted anew to the images",
    ),
    "start.random": ("ゼロから（乱数の重み）", "Random weights"),
    "space": ("拡散を行う空間", "Space"),
    "space.pixels": ("画素", "Pixels"),
    "condition": ("条件（ネットワークに伝えること）", "Condition (what the network is told)"),
    "condition.base": (
        "なし（文を読むベースモデルでは文）",
        "None (text, where a base reads it)",
    ),
    "adaptation": ("適応方法（更新するパラメータ）", "Adaptation (what trains)"),
    "objective": ("目的関数", "Objective"),
    "objective.none": ("なし", "None"),
    "sampling": ("サンプリング方法", "Sampling"),
    "sampling.text": (
        "{solver}（関数評価の回数は全手法で共通）",
        "{solver} (as many function evaluations for every method)",
    ),
    "sampling.guided": ("{text}、{guidance}", "{text}, {guidance}"),
    "trainable": ("学習対象パラメータ数", "Trainable parameters"),
    "trainable.head": (
        "{text}と、学習後に捨てる射影ヘッド（幅 {width}）",
        "{text}, and a projection head {width} wide that is thrown away",
    ),
    "settings": ("列ごとに変えた設定", "Settings of its own"),
    "learning-rate": ("学習率（試した個数）", "Learning rate (rates tried)"),
    "rate.given": ("{rate}（探索なし）", "{rate} (none tried)"),
    "rate.tried": ("{rate}（{n} 個から選択）", "{rate} (best of {n})"),
    "rate.edge": (
        "{rate}（{n} 個から選択、範囲の端）",
        "{rate} (best of {n}, at the end of those tried)",
    ),
}
