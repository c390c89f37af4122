"""The visual tokens of a vision-language model's prompt, on their way through one forward pass.

Methods at the three pruning points (inside the tower, after the merger, inside the language model)
each take some of them out. One `VisualPrompt` per model keeps the books for all, so that methods
compose: which columns of the sequence hold visual tokens, and which cell of the image each is.

Tokens that stay keep the M-RoPE positions they have in the full prompt, and generated tokens
continue after it, as if nothing had been dropped.

# B prompts, L tokens of a prompt, P visual tokens, K kept ones
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vision_language import VisionLanguage, parts_of
from efficarch.reducers.base import take_rows

Hooked = tuple[tuple[Any, ...], dict[str, Any]]
"""What a forward pre-hook with keyword arguments returns."""


class VisualPrompt:
    """Where the visual tokens of the running pass are.

    ``columns`` [B, P] are their places in the sequence as it is now, in ascending order, and
    ``cells`` [B, P] the merged cells of the image they hold, counted in raster order. ``columns``
    is ``None`` in a pass without an image, such as a decode step: then there is nothing to reduce.
    """

    def __init__(self, parts: VisionLanguage) -> None:
        self.parts = parts
        self.columns: Tensor | None = None
        self.cells: Tensor | None = None
        self.length = 0
        self.images = 0
        self.grid = (0, 0)
        """Rows and columns of an image's cells."""
        self._features: object = None

    def see_images(self, _module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        """Before the tower: refuse images that cannot be reduced to the same number of tokens."""
        sizes = [tuple(size) for size in kwargs["grid_thw"].tolist()]
        if any(frames != 1 for frames, _, _ in sizes):
            raise EfficarchError("the prompt holds a video; tokens are reduced in images only")
        if len(set(sizes)) > 1:
            words = " and ".join(f"{h}x{w}" for _, h, w in sorted(set(sizes)))
            raise EfficarchError(
                f"one batch holds images of {words} patches, and all must keep the same number; "
                "resize them alike or run them one by one"
            )
        self.images = len(sizes)
        side = math.isqrt(self.parts.cell)
        self.grid = (sizes[0][1] // side, sizes[0][2] // side)

    def see_features(self, _module: nn.Module, _args: object, output: Any) -> None:
        """After the tower: remember whose features these are."""
        self._features = output

    def see_prompt(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Hooked:
        """Before prompt and image meet: find the placeholders, and take a mask of ones away.

        Without a mask the model follows the lengths of the tokens and of the cache.
        """
        _refuse_padding(kwargs.get("attention_mask"))
        self.columns = self._placeholders(kwargs)
        return args, {**kwargs, "attention_mask": None}

    def _placeholders(self, kwargs: dict[str, Any]) -> Tensor | None:
        ready = (kwargs.get("mm_encoder_outputs") or {}).get("image")
        if kwargs.get("pixel_values") is None and ready is None:
            return None
        if ready is not None and ready is not self._features:
            raise EfficarchError(
                "image features were computed before the method was attached, or copied for "
                "several answers; pass pixel_values and ask for one answer"
            )
        ids, cache = kwargs.get("input_ids"), kwargs.get("past_key_values")
        if ids is None:
            raise EfficarchError("a prompt with an image needs input_ids, not inputs_embeds alone")
        _refuse_cache(cache)
        found = ids == self.parts.image_token  # [B, L]
        counts = set(found.sum(dim=1).tolist())
        if len(counts) > 1:
            raise EfficarchError(
                f"the prompts of one batch hold {sorted(counts)} image tokens, and all must keep "
                "the same number; give each one image of the same size"
            )
        self.length = ids.shape[1]
        columns: Tensor = found.int().argsort(dim=1, descending=True, stable=True)[
            :, : counts.pop()
        ]
        self.cells = torch.arange(columns.shape[1], device=ids.device).expand_as(columns)
        return columns

    def select(self, kept: Tensor) -> Tensor:  # [B, K] -> [B, L']
        """Keep the visual tokens of ``kept`` (ascending) and return the columns that stay."""
        columns, cells = self.seen()
        stays = torch.ones(len(kept), self.length, dtype=torch.bool, device=kept.device)
        stays.scatter_(1, columns, value=False)
        columns = columns.gather(1, kept)
        stays.scatter_(1, columns, value=True)
        self.length -= cells.shape[1] - kept.shape[1]
        self.columns = (stays.cumsum(dim=1) - 1).gather(1, columns)
        self.cells = cells.gather(1, kept)
        return stays.int().argsort(dim=1, descending=True, stable=True)[:, : self.length]

    def seen(self) -> tuple[Tensor, Tensor]:
        """Return columns and cells of a pass that has an image.

        Raises:
            EfficarchError: images and prompts are not one to one.
        """
        if self.columns is None or self.cells is None:
            raise AssertionError("the pass has no image; ask `columns` first")
        if len(self.columns) != self.images:
            raise EfficarchError(
                f"{self.images} images for {len(self.columns)} prompts; give each prompt one "
                "image (beam search and several returned sequences are not supported)"
            )
        return self.columns, self.cells

    def drop(
        self, kwargs: Mapping[str, Any], kept: Tensor, states: Tensor | None = None
    ) -> dict[str, Any]:
        """Return what enters the language model with only the kept visual tokens in it.

        Args:
            kwargs: what would have entered it.
            kept: which visual tokens stay, ascending, [B, K].
            states: their embeddings where these have changed, [B, K, C].
        """
        embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
        if positions is None:
            raise EfficarchError(
                "the image's positions are unknown; pass mm_token_type_ids and image_grid_thw"
            )
        if states is not None:
            places = self.seen()[0].gather(1, kept)[..., None].expand_as(states)
            embeds = embeds.scatter(1, places, states.to(embeds.dtype))
        rows = self.select(kept)  # [B, L']
        # a fourth row in front serves masks alone, and there is none
        positions = positions[-3:].expand(-1, len(rows), -1)  # [3, B, L]
        # a decode step counts on from the cache, which holds fewer tokens than the prompt had
        base: Any = self.parts.base
        base.rope_deltas = positions.amax(dim=(0, 2))[:, None] + 1 - rows.shape[1]
        return {
            **kwargs,
            "inputs_embeds": take_rows(embeds, rows[..., None]),
            "position_ids": positions.gather(2, rows.expand(3, -1, -1)),
        }


def _refuse_padding(mask: Any) -> None:
    if mask is None or (isinstance(mask, Tensor) and mask.ndim == 2 and bool(mask.all())):
        return
    if isinstance(mask, Tensor) and mask.ndim == 2:
        raise EfficarchError("the batch is padded; give prompts of equal length, without padding")
    raise EfficarchError(
        "a prepared attention mask cannot follow tokens that are dropped; pass a mask of ones "
        "[batch, length] or none, with the default dynamic cache"
    )


def _refuse_cache(cache: Any) -> None:
    if cache is None:
        return
    if cache.is_compileable:
        raise EfficarchError(
            f"{type(cache).__name__} has a fixed length; reduce tokens with a DynamicCache"
        )
    if cache.get_seq_length() > 0:
        raise EfficarchError(
            f"the cache already holds {cache.get_seq_length()} tokens; reduce a prompt with its "
            "image in one pass, from an empty cache"
        )


@contextmanager
def visual_prompt(model: nn.Module) -> Iterator[VisualPrompt]:
    """Keep the books of a model's visual tokens within the context.

    Methods attached within another's context share its books: its hook on the model is how they
    are found.

    Raises:
        EfficarchError: the model has no visual tokens.
    """
    parts = parts_of(model)
    bound = (getattr(hook, "__self__", None) for hook in parts.base._forward_pre_hooks.values())
    shared = next((owner for owner in bound if isinstance(owner, VisualPrompt)), None)
    if shared is not None:
        yield shared
        return
    prompt = VisualPrompt(parts)
    base: Any = parts.base
    deltas = base.rope_deltas
    with ExitStack() as stack:
        for handle in (
            parts.tower.register_forward_pre_hook(prompt.see_images, with_kwargs=True),
            parts.tower.register_forward_hook(prompt.see_features),
            base.register_forward_pre_hook(prompt.see_prompt, with_kwargs=True),
        ):
            stack.callback(handle.remove)
        stack.callback(setattr, base, "rope_deltas", deltas)
        yield prompt
