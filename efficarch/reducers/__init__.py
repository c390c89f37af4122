"""The table of token-reduction methods: a new method is one file here and one row below.

Suites, tests, the README table and the report read this table. Importing it imports no torch; a row
loads its file when asked.
"""

from efficarch.reducers.table import (
    ENCODERS,
    EVERY_MODEL,
    LANGUAGE_MODELS,
    WITH_CLS,
    Method,
    MethodTable,
    Part,
)

__all__ = [
    "ENCODERS",
    "EVERY_MODEL",
    "LANGUAGE_MODELS",
    "REDUCERS",
    "Method",
    "MethodTable",
    "Part",
]

IN_QWEN = "; in Qwen2.5-VL once, between merger and language model"
"""Where rules that pick patches work on the visual tokens of a prompt."""


def _norm_control(of: str, sign: str) -> Method:
    rank = {"high": "highest", "low": "lowest"}[sign]
    plural = {"key": "keys", "query": "queries"}[of]
    return Method(
        name=f"{of}-norm-{sign}",
        parts=(Part("norm:NormPrune", options={"of": of, "sign": sign}),),
        paper=f"control: L2 norms of {plural} alone",
        where=f"{plural} of block 1, output of block 1{IN_QWEN}",
        cost="one norm, one top-k, one gather",
        keeps=f"CLS or text, and the keep * patches of {rank} norm from there on",
        models=EVERY_MODEL,
        control=True,
    )


_ROWS = (
    Method(
        name="none",
        parts=(Part("base:Dense", takes_keep=False),),
        paper="control: the dense model against itself",
        where="nowhere",
        cost="nothing",
        keeps="all tokens",
        models=EVERY_MODEL,
        control=True,
    ),
    Method(
        name="random",
        parts=(Part("random:RandomPrune"),),
        paper="control: a seeded random subset",
        where=f"output of block 1{IN_QWEN}",
        cost="one gather",
        keeps="CLS or text, and keep * patches from there on",
        models=EVERY_MODEL,
        control=True,
    ),
    Method(
        name="grid",
        parts=(Part("grid:GridPrune"),),
        paper="control: an evenly spaced subset",
        where=f"output of block 1{IN_QWEN}",
        cost="one gather",
        keeps="CLS or text, and keep * patches on evenly spaced rows and columns from there on",
        models=EVERY_MODEL,
        control=True,
    ),
    Method(
        name="downsample",
        parts=(Part("downsample:Downsample"),),
        paper="control: a smaller image (bicubic)",
        where="pixels",
        cost="one resize",
        keeps="CLS and at most keep * patches, a smaller grid of whole ones, in every block",
        control=True,
    ),
    *(_norm_control(of, sign) for of in ("key", "query") for sign in ("high", "low")),
    Method(
        name="llm-random",
        parts=(Part("llm_random:LanguageRandom"),),
        paper="control: a seeded random subset, arXiv 2512.07580",
        where="input of layer 2 of the language model",
        cost="one gather",
        keeps="text, and keep * visual tokens from layer 2 on",
        models=LANGUAGE_MODELS,
        control=True,
    ),
    Method(
        name="norm",
        parts=(Part("norm:NormPrune"),),
        paper="the original rule: L2 norms of keys and queries",
        where=f"keys and queries of block 1, output of block 1{IN_QWEN}",
        cost="two norms, one top-k, one gather",
        keeps="CLS or text, and the keep * patches of highest norm from there on",
        models=EVERY_MODEL,
    ),
    Method(
        name="tome",
        parts=(Part("tome:ToMe"),),
        paper="Token Merging, arXiv 2210.09461",
        where="between attention and MLP of every block",
        cost="one half-by-half similarity matrix, one sort and one scatter per block",
        keeps="CLS and keep * patches after the last block; decreasing schedule",
    ),
    Method(
        name="pitome",
        parts=(Part("pitome:PiToMe"),),
        paper="PiToMe, arXiv 2405.16148",
        where="between attention and MLP of every block",
        cost="one similarity matrix, one sort and one scatter per block",
        keeps="CLS and keep * patches after the last block; decreasing schedule",
    ),
    Method(
        name="reciprocal",
        parts=(Part("reciprocal:Reciprocal"),),
        paper="our own: reciprocal nearest neighbours, after arXiv 2210.09461 and 2409.11923",
        where="between attention and MLP of every block",
        cost="one similarity matrix over all heads, two row maxima and two scatters per block",
        keeps="CLS and keep * patches after the last block; parabolic schedule",
    ),
    Method(
        name="evit",
        parts=(Part("evit:EViT"),),
        paper="EViT, arXiv 2202.07800",
        where="between attention and MLP of blocks 3, 6 and 9",
        cost="one row of attention, one top-k and one gather per stage",
        keeps="CLS and the patches it attends to most, keep * patches after the last stage",
    ),
    Method(
        name="divprune",
        parts=(Part("divprune:DivPrune"),),
        paper="DivPrune, arXiv 2503.02175",
        where=f"output of block 1{IN_QWEN}",
        cost="one similarity matrix, then one step per patch kept",
        keeps="CLS or text, and keep * patches far apart from each other from there on",
        models=EVERY_MODEL,
    ),
    Method(
        name="mmr",
        parts=(Part("mmr:MMR"),),
        paper="maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998",
        where=f"queries and keys of block 1, output of block 1{IN_QWEN}",
        cost="one row of attention, one similarity matrix, then one step per patch kept",
        keeps="CLS or text, and keep * patches attended to and unlike each other from there on",
        models=EVERY_MODEL,
    ),
    Method(
        name="scope",
        parts=(Part("scope:SCOPE"),),
        paper="SCOPE, arXiv 2510.24214",
        where=f"queries and keys of block 1, output of block 1{IN_QWEN}",
        cost="one row of attention, one similarity matrix, then one pass over it per patch kept",
        keeps="CLS or text, and keep * attended patches that cover the others from there on",
        models=EVERY_MODEL,
    ),
    Method(
        name="visionzip",
        parts=(Part("visionzip:VisionZip"),),
        paper="VisionZip, arXiv 2412.04467",
        where=f"queries and keys of block 1, output of block 1{IN_QWEN}",
        cost="one row of attention, one sort, one similarity matrix of averages and others",
        keeps="CLS or text, and keep * patches from there on, 10 of 64 as averages of the others",
        models=EVERY_MODEL,
    ),
    Method(
        name="exact-tail",
        parts=(Part("exact_tail:ExactTail", takes_keep=False),),
        paper="exact: the last block computes CLS only",
        where="last block",
        cost="nothing",
        keeps="all tokens up to the last block, then CLS",
        models=WITH_CLS,
    ),
    Method(
        name="fastv",
        parts=(Part("fastv:FastV"),),
        paper="FastV, arXiv 2403.06764",
        where="last query of layer 1 of the language model, input of layer 2",
        cost="one row of attention, one top-k, one gather",
        keeps="text, and keep * visual tokens from layer 2 on",
        models=LANGUAGE_MODELS,
    ),
    Method(
        name="pyramid-drop",
        parts=(Part("pyramid_drop:PyramidDrop"),),
        paper="PyramidDrop, arXiv 2410.17247",
        where="between the four quarters of the language model's layers",
        cost="one row of attention, one top-k, one gather, three times",
        keeps="text, and keep * visual tokens in the last quarter",
        models=LANGUAGE_MODELS,
    ),
    Method(
        name="tower-block",
        parts=(Part("tower_block:TowerBlock"),),
        paper="2x2 blocks dropped inside the tower; after QuietPrune, CVPR 2026, without training",
        where="output of the vision tower's first full-attention block",
        cost="one more attention map of that block, one top-k, one gather",
        keeps="text, and keep * 2x2 blocks of patches from the next tower block on",
        models=LANGUAGE_MODELS,
    ),
)


REDUCERS = MethodTable(_ROWS)
