"""The text side of CLIP and SigLIP: zero-shot classes and their embeddings."""

from collections.abc import Callable
from typing import Any

from torch.nn import functional

from efficarch.errors import MissingWeightsError, first_line
from efficarch.models.base import TextHead
from efficarch.models.checkpoint import Checkpoint
from efficarch.models.loading import load_cached, load_pretrained
from efficarch.models.settings import CONFIG

TOKENIZER = "tokenizer.json"

EVERYDAY = (
    "airplane",
    "apple",
    "astronaut",
    "beach",
    "bicycle",
    "bird",
    "boat",
    "book",
    "bottle",
    "bridge",
    "bus",
    "cake",
    "car",
    "cat",
    "chair",
    "church",
    "clock",
    "cow",
    "cup of coffee",
    "dog",
    "elephant",
    "flower",
    "forest",
    "galaxy",
    "guitar",
    "horse",
    "house",
    "human eye",
    "keyboard",
    "microscope slide",
    "motorcycle",
    "mountain",
    "page of text",
    "pizza",
    "rocket",
    "sheep",
    "spoon",
    "temple",
    "train",
    "tree",
)
"""Names of everyday classes, what the packaged photos show among them."""


def prompt(name: str) -> str:
    """Return the prompt of a class; a folder's name may have underscores for blanks.

    In lower case and without a full stop: SigLIP was trained on such texts, CLIP's tokenizer
    lowers case itself.
    """
    return f"a photo of a {name.replace('_', ' ').strip().lower()}"


def text_tower(kind: Any, checkpoint: Checkpoint | None) -> Callable[[list[str]], TextHead] | None:
    """Return what embeds texts, if the checkpoint holds the whole ``kind`` and its tokenizer.

    ``kind`` is the class with both towers. Files decide: where they lack, transformers would make
    do with an empty tokenizer.
    """
    if checkpoint is None or checkpoint.file(TOKENIZER) is None:
        return None
    if checkpoint.settings(CONFIG).get("model_type") != kind.config_class.model_type:
        return None
    return lambda texts: embed_texts(kind, checkpoint, texts)


def embed_texts(kind: Any, checkpoint: Checkpoint, texts: list[str]) -> TextHead:
    """Embed texts with a checkpoint's text tower; nothing of it stays in memory.

    Raises:
        MissingWeightsError: model or tokenizer do not load, or do not fit each other.
    """
    # the family's own tokenizer class may need packages that its tokenizer.json does not
    from transformers import PreTrainedTokenizerFast

    if checkpoint.local_only:
        model, _source = load_cached(kind, checkpoint.name, option="a model option")
    else:
        model, _source = load_pretrained(kind, checkpoint.name)
    model.eval()
    length = model.config.text_config.max_position_embeddings
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            checkpoint.name, local_files_only=checkpoint.local_only
        )
        # SigLIP reads the last position of the full length; CLIP's is causal and ignores padding
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        embeddings = model.get_text_features(input_ids=tokens["input_ids"]).pooler_output
    except Exception as error:  # whatever a tokenizer or a tower that do not fit lead to in there
        raise MissingWeightsError(
            f"{checkpoint.name!r}: its text tower cannot read class names: "
            f"{first_line(str(error))}; mend or remove its {TOKENIZER}"
        ) from error
    scale = float(model.logit_scale.exp())
    return TextHead(functional.normalize(embeddings.detach().float(), dim=-1), scale)
