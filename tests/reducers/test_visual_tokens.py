"""Claims about pruning after the merger: the prompt made short by hand gives the same."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.base import LanguageSubject
from efficarch.reducers.pruning import Patches, Pruner
from efficarch.reducers.random import RandomPrune, random_subset
from tests.models.samples import prompted, reduced_qwen

CELLS, KEPT = 30, 15


@pytest.fixture(scope="session")
def qwen() -> LanguageSubject:
    """Return the reduced model."""
    return reduced_qwen()


@dataclass(frozen=True)
class Spy(Pruner):
    """Keeps the first patches and shows what it was given."""

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the first patches."""
        SEEN.append(patches)
        index = torch.arange(count).expand(len(patches.states), -1)
        return patches.take(index) * 2


@dataclass(frozen=True)
class Undecided(Pruner):
    """Returns states without having taken them."""

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the first patches, past `take`."""
        return patches.states[:, :count]


SEEN: list[Patches] = []


def features(subject: LanguageSubject, inputs: dict[str, Tensor]) -> Tensor:
    """Return the merged features of one image, [P, C]."""
    model: Any = subject.model
    out: Tensor = model.model.visual(
        inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
    ).pooler_output
    return out


def shortened(
    subject: LanguageSubject, inputs: dict[str, Tensor], cells: list[int], states: Tensor
) -> dict[str, Tensor]:
    """Return embeddings and positions of a prompt with only some cells in it, column by column."""
    model: Any = subject.model
    ids = inputs["input_ids"][0].tolist()
    positions = model.model.get_rope_index(
        inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"]
    )[0]
    first = ids.index(model.config.image_token_id)
    embeds, where = [], []
    for column, token in enumerate(ids):
        if token != model.config.image_token_id:
            embeds.append(model.get_input_embeddings().weight[token])
        elif column - first in cells:
            embeds.append(states[column - first])
        else:
            continue
        where.append(positions[:, 0, column])
    return {
        "inputs_embeds": torch.stack(embeds)[None],
        "position_ids": torch.stack(where, 1)[:, None],
    }


def test_the_prompt_made_short_by_hand_is_the_same(qwen: LanguageSubject) -> None:
    """Kept features, text and positions of the full prompt, then two more tokens."""
    model: Any = qwen.model
    inputs = prompted(qwen)
    cells = random_subset(CELLS, KEPT, 0).tolist()
    short = shortened(qwen, inputs, cells, features(qwen, inputs))
    end = int(short["position_ids"].max())

    with RandomPrune(0.5).attach(model):
        found = model(**inputs, use_cache=True)
        later = [
            model(input_ids=torch.tensor([[token]]), past_key_values=found.past_key_values).logits
            for token in (5, 6)
        ]
    expected = model(**short, use_cache=True)
    torch.testing.assert_close(found.logits, expected.logits)
    for step, token in enumerate((5, 6)):
        position = torch.full((3, 1, 1), end + 1 + step)
        wanted = model(
            input_ids=torch.tensor([[token]]),
            position_ids=position,
            past_key_values=expected.past_key_values,
        ).logits
        torch.testing.assert_close(later[step], wanted)


def test_changed_states_reach_the_language_model(qwen: LanguageSubject) -> None:
    """A rule that merges hands in other states than it took."""
    inputs = prompted(qwen)
    doubled = features(qwen, inputs) * 2
    short = shortened(qwen, inputs, list(range(KEPT)), doubled)

    with Spy(0.5).attach(qwen.model):
        found = qwen.model(**inputs).logits

    torch.testing.assert_close(found, qwen.model(**short).logits)


def test_a_rule_sees_queries_and_keys_in_raster_order(qwen: LanguageSubject) -> None:
    """Each cell's are the means over its four patches, rotated, found by their places."""
    from transformers.vision_utils import get_vision_window_index

    inputs = prompted(qwen)
    seen: dict[str, Any] = {}
    last: Any = qwen.model.get_submodule("model.visual.blocks.7.attn")

    def look(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen.update(kwargs, hidden=args[0] if args else kwargs["hidden_states"])

    handle = last.register_forward_pre_hook(look, with_kwargs=True)
    with Spy(0.5).attach(qwen.model):
        qwen.model(**inputs)
    handle.remove()
    patches, (cos, sin) = SEEN[-1], seen["position_embeddings"]

    order = get_vision_window_index(inputs["image_grid_thw"], 2, 112, 14)[0].tolist()
    assert order != sorted(order)
    for part, found in enumerate((patches.queries, patches.keys)):
        projected = last.qkv(seen["hidden"])[:, part * 256 : (part + 1) * 256].view(-1, 4, 64)
        for place, cell in enumerate(order):
            rows = slice(4 * place, 4 * place + 4)
            x, c, s = projected[rows], cos[rows, None], sin[rows, None]
            half = torch.cat([-x[..., 32:], x[..., :32]], dim=-1)
            wanted = (x * c + half * s).mean(dim=0).flatten()
            torch.testing.assert_close(found[0, cell], wanted, rtol=1e-4, atol=1e-5)


def test_a_rule_sees_the_merged_features(qwen: LanguageSubject) -> None:
    """States are those the language model would get, all of them in raster order, without CLS."""
    inputs = prompted(qwen)

    with Spy(0.5).attach(qwen.model):
        qwen.model(**inputs)

    assert SEEN[-1].prefix == 0
    assert SEEN[-1].heads == 4
    torch.testing.assert_close(SEEN[-1].states[0], features(qwen, inputs))


def test_a_rule_that_does_not_say_what_it_keeps_is_refused(qwen: LanguageSubject) -> None:
    """Positions follow the patches, so a rule has to take them."""
    with (
        pytest.raises(EfficarchError, match="kept 15 patches but took 0"),
        Undecided(0.5).attach(qwen.model),
    ):
        qwen.model(**prompted(qwen))


def test_features_from_elsewhere_are_refused(qwen: LanguageSubject) -> None:
    """Features computed outside the context carry no keys; stale ones must not stand in."""
    model: Any = qwen.model
    inputs = prompted(qwen)
    if "mm_encoder_outputs" not in signature(model.forward).parameters:
        pytest.skip("this transformers takes no precomputed features")
    ready = model.get_image_features(
        inputs.pop("pixel_values"), inputs["image_grid_thw"], return_dict=True
    )

    with (
        RandomPrune(0.5).attach(model),
        pytest.raises(EfficarchError, match="before the method was attached"),
    ):
        model(**inputs, mm_encoder_outputs={"image": ready})
