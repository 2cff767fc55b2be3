"""What PEFT's tuners train, in a phrase each."""

from kurabe.methods.card import Text

WORDS = {
    "adamss": (
        "AdaMSS",
        Text(
            ja="重みの部分空間ごとの低ランク差分",
            en="low-rank updates within subspaces of a weight",
        ),
    ),
    "beft": ("BEFT", Text(ja="線形層に足すバイアス", en="a bias added to each layer")),
    "boft": (
        "BOFT",
        Text(ja="蝶形に分解した直交変換と倍率", en="orthogonal butterfly factors and scales"),
    ),
    "c3a": ("C³A", Text(ja="ブロックごとの巡回行列", en="circulant matrices, block by block")),
    "deft": (
        "DEFT",
        Text(
            ja="射影で除いた低ランク成分への書き込み",
            en="a low-rank part projected out and written anew",
        ),
    ),
    "delora": (
        "DeLoRA",
        Text(
            ja="正規化した低ランク差分とその強さ",
            en="normalised low-rank updates and their strength",
        ),
    ),
    "fourierft": (
        "FourierFT",
        Text(ja="差分のフーリエ係数の一部", en="some Fourier coefficients of the update"),
    ),
    "frod": (
        "FRoD",
        Text(
            ja="共通の基底に対する疎な係数", en="sparse coefficients in a basis that layers share"
        ),
    ),
    "glora": (
        "GLoRA",
        Text(ja="重みとバイアスの倍率と差分", en="factors and updates of weights and biases"),
    ),
    "gralora": (
        "GraLoRA",
        Text(ja="重みの区画ごとの低ランク差分", en="low-rank updates of a weight's tiles"),
    ),
    "hira": (
        "HiRA",
        Text(
            ja="重みと低ランク行列の要素ごとの積",
            en="a low-rank matrix times the weight, entry by entry",
        ),
    ),
    "hra": ("HRA", Text(ja="ハウスホルダー鏡映の列", en="a chain of Householder reflections")),
    "ia3": ("(IA)³", Text(ja="出力ごとの倍率", en="a scale for each output")),
    "lily": (
        "Lily",
        Text(
            ja="層の間で共有し経路で選ぶ低ランク行列",
            en="low-rank factors that layers share and a router mixes",
        ),
    ),
    "loha": (
        "LoHa",
        Text(
            ja="二つの低ランク行列のアダマール積", en="the Hadamard product of two low-rank updates"
        ),
    ),
    "lokr": (
        "LoKr",
        Text(ja="小さな行列のクロネッカー積", en="the Kronecker product of small matrices"),
    ),
    "miss": (
        "MiSS",
        Text(ja="区画で共有する一つの行列", en="one matrix that a weight's shards share"),
    ),
    "oft": ("OFT", Text(ja="ブロック対角の直交変換", en="block-diagonal orthogonal rotations")),
    "osf": (
        "OSF",
        Text(ja="小さな特異値の部分空間", en="the subspace of a weight's small singular values"),
    ),
    "peanut": (
        "PEANuT",
        Text(
            ja="重みから差分を作る小さなネットワーク",
            en="a small network from a weight to its update",
        ),
    ),
    "psoft": (
        "PSOFT",
        Text(
            ja="主部分空間の中の直交変換",
            en="an orthogonal transformation of the principal subspace",
        ),
    ),
    "randlora": (
        "RandLoRA",
        Text(ja="固定した乱数行列の係数", en="coefficients of fixed random matrices"),
    ),
    "road": ("RoAd", Text(ja="出力の組ごとの回転", en="rotations of pairs of outputs")),
    "shira": (
        "SHiRA",
        Text(ja="まばらに選んだ重みの差分", en="updates of sparsely chosen weights"),
    ),
    "supertuning": (
        "Super-Tuning",
        Text(ja="絶対値の大きい重みの差分", en="updates of the largest weights"),
    ),
    "tinylora": (
        "TinyLoRA",
        Text(
            ja="固定した射影に通すごく短いベクトル",
            en="a very short vector through fixed projections",
        ),
    ),
    "unilora": (
        "Uni-LoRA",
        Text(
            ja="全層の低ランク差分を作る一つのベクトル",
            en="one vector behind all layers' low-rank updates",
        ),
    ),
    "vblora": (
        "VB-LoRA",
        Text(ja="全層で共有するベクトルの混合", en="mixtures of vectors that all layers share"),
    ),
    "vera": (
        "VeRA",
        Text(
            ja="固定した乱数の低ランク行列への倍率", en="scales of fixed random low-rank matrices"
        ),
    ),
    "waveft": (
        "WaveFT",
        Text(ja="差分のウェーブレット係数の一部", en="some wavelet coefficients of the update"),
    ),
}
