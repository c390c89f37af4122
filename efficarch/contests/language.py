"""Vision-language models under a token-reduction method, against themselves dense.

# T steps of an answer, C channels, V words of the vocabulary
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from efficarch.contests.base import Arm, Contest, Costs, Settings
from efficarch.errors import EfficarchError
from efficarch.models import model_row
from efficarch.models.base import LanguageSubject, WeightsRequest
from efficarch.models.vision_language import parts_of, recorded_layers
from efficarch.models.vit import torch_dtype
from efficarch.probe import count_flops, peak_bytes
from efficarch.quality import cosine_rows, kl_nats, summarise
from efficarch.record import Quality, Weights
from efficarch.reducers.base import Dense, Reducer

STAGES = ("prefill", "decode")
ANSWER = 8
"""Tokens of the dense model's greedy answer along which both are compared."""

Inputs = dict[str, Tensor]
Stage = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Walk:
    """What a model says along an answer: row 0 follows the prompt, row t its t-th token."""

    states: Tensor  # [T, C]
    logits: Tensor  # [T, V]
    answer: Tensor  # [T]


@dataclass(frozen=True)
class _Known:
    """The dense side of some prompts."""

    digest: str
    walks: list[Walk]
    costs: Costs


@dataclass
class Languages:
    """Loaded vision-language models and what is known of them dense."""

    settings: Settings
    _subjects: dict[str, LanguageSubject] = field(default_factory=dict)
    _dense: dict[tuple[str, str, str], _Known] = field(default_factory=dict)

    def subject(self, model: str) -> LanguageSubject:
        """Load a model on first use, in the session's dtype and on its device."""
        if model not in self._subjects:
            settings = self.settings
            location = settings.locations.get(model)
            request = WeightsRequest(settings.weights, location, settings.seed)
            loaded = model_row(model).load(request)
            if not isinstance(loaded, LanguageSubject):
                raise EfficarchError(
                    f"{model} is an encoder: it answers no prompts; use bench(...)"
                )
            loaded.model.to(device=settings.device, dtype=torch_dtype(settings.dtype))
            self._subjects[model] = loaded
        return self._subjects[model]

    def contest(
        self,
        *,
        model: str,
        reducer: Reducer,
        prompts: Sequence[tuple[Image, str]],
        px: int,
        stage: Stage,
    ) -> Contest:
        """Set a reduced model against itself dense.

        Latency is that of the first image and prompt: of ``prefill`` (the time to the first token)
        or of one ``decode`` step after it, on the cache that the prefill left. CosSim is that of
        the final hidden state of the token so computed, for every image and prompt; its companions
        run along the dense model's greedy answer. A session that only times has no companions, and
        CosSim of the first prompt. ``tokens`` are those entering each layer of the language model,
        in ``decode`` those each layer attends to.
        """
        if stage not in STAGES:
            raise EfficarchError(f"stage is {stage!r}; choose 'prefill' or 'decode'")
        if not prompts:
            raise EfficarchError("there is no prompt; give at least one image with its text")
        subject = self.subject(model)
        inputs = [self._inputs(subject, image, prompt, px) for image, prompt in prompts]
        known = self._dense_side(model, inputs, stage)
        walks = _reduced_walks(subject, reducer, self._scored(inputs), known.walks)
        reduced, dense = (
            _side(subject, each, inputs[0], known.walks[0], stage) for each in (reducer, Dense())
        )
        similarity = _similarity(walks, known.walks, STAGES.index(stage))
        return Contest(
            subject=reduced.arm,
            reference=dense.arm,
            costs=_costs(reduced, self.settings.device),
            reference_costs=known.costs,
            cossim=summarise(similarity),
            cossim_items=tuple(similarity.tolist()),
            quality=companions(walks, known.walks) if self._followed(subject) else Quality(),
            items=1,
            weights=subject.weights,
            # the stage tells items apart that have the same digest but do not pair up
            source=f"{subject.source}; {stage} of {len(inputs)} images of {px} px with prompts, "
            f"{known.digest}",
        )

    def _inputs(self, subject: LanguageSubject, image: Image, prompt: str, px: int) -> Inputs:
        vision = parts_of(subject.model).config.vision_config
        cell = vision.patch_size * vision.spatial_merge_size
        if px < 2 * cell or px % cell:
            nearest = max(2, round(px / cell)) * cell
            raise EfficarchError(
                f"px is {px}; the sides of an image must be a multiple of {cell}, at least "
                f"{2 * cell}: the nearest is {nearest}"
            )
        prepared = subject.prepare(image.resize((px, px), Resampling.BICUBIC), prompt)
        return {name: value.to(self.settings.device) for name, value in prepared.items()}

    def _dense_side(self, model: str, inputs: list[Inputs], stage: Stage) -> _Known:
        digest = _digest(inputs)
        key = (model, digest, stage)
        if key not in self._dense:
            subject = self.subject(model)
            steps = ANSWER if self._followed(subject) else len(STAGES)
            walks = [walk(subject, each, steps) for each in self._scored(inputs)]
            side = _side(subject, Dense(), inputs[0], walks[0], stage)
            self._dense[key] = _Known(digest, walks, _costs(side, self.settings.device))
        return self._dense[key]

    def _scored(self, inputs: list[Inputs]) -> list[Inputs]:
        """Return the prompts CosSim is taken of."""
        return inputs[:1] if self.settings.timing_only else inputs

    def _followed(self, subject: LanguageSubject) -> bool:
        """Whether companions are wanted; else one state of each stage will do."""
        return subject.weights is Weights.PRETRAINED and not self.settings.timing_only


def walk(
    subject: LanguageSubject, inputs: Inputs, steps: int, answer: Tensor | None = None
) -> Walk:
    """Prefill one prompt and go along an answer [steps], or along the model's own greedy one.

    Token by token, since a method may leave the layers caches of different lengths.
    """
    model: Any = subject.model
    start = after_prompt(subject, inputs)
    states: list[Tensor] = []
    logits: list[Tensor] = []
    said: list[Tensor] = []
    out = model.model(**inputs, use_cache=True)
    while True:
        states.append(out.last_hidden_state[0, -1])
        logits.append(model.lm_head(states[-1]))
        said.append(logits[-1].argmax() if answer is None else answer[len(said)])
        if len(said) == steps:
            return Walk(torch.stack(states), torch.stack(logits), torch.stack(said))
        out = model.model(
            input_ids=said[-1].view(1, 1),
            position_ids=start + len(said) - 1,
            past_key_values=out.past_key_values,
            use_cache=True,
        )


def after_prompt(subject: LanguageSubject, inputs: Inputs) -> Tensor:
    """Return the position [3, 1, 1] of the first token after a prompt, which no method changes."""
    model: Any = subject.model
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw")
    positions = model.model.get_rope_index(**{name: inputs[name] for name in names})[0]
    start: Tensor = (positions.max() + 1).view(1, 1, 1).expand(3, 1, 1)
    return start


@dataclass(frozen=True)
class _Side:
    """An arm and what is known of the tokens its layers work on."""

    arm: Arm
    tokens: Callable[[], tuple[int, ...]]


def _side(
    subject: LanguageSubject, reducer: Reducer, inputs: Inputs, dense: Walk, stage: Stage
) -> _Side:
    model: Any = subject.model
    prefill = Arm(
        call=lambda: model(**inputs, use_cache=True, logits_to_keep=1),
        context=lambda: reducer.attach(subject.model),
    )
    if stage == "prefill":
        return _Side(prefill, lambda: _entering(subject, prefill))
    with prefill.context():
        cache = model(**inputs, use_cache=True, logits_to_keep=1).past_key_values
    return _after(subject, prefill, cache, dense.answer[:1], after_prompt(subject, inputs))


def _after(
    subject: LanguageSubject, prefill: Arm, cache: Any, token: Tensor, position: Tensor
) -> _Side:
    """Return one decode step, always on the cache that the prefill left."""
    model: Any = subject.model
    lengths = tuple(layer.get_seq_length() for layer in cache.layers)

    def step() -> object:
        return model(
            input_ids=token[None], position_ids=position, past_key_values=cache, logits_to_keep=1
        )

    @contextmanager
    def on_the_same_cache() -> Iterator[None]:
        try:
            with prefill.context():
                yield
        finally:
            # what the steps appended, outside the timing
            cache.crop(lengths[0] - cache.get_seq_length())

    return _Side(Arm(step, on_the_same_cache), lambda: tuple(length + 1 for length in lengths))


def _reduced_walks(
    subject: LanguageSubject, reducer: Reducer, inputs: list[Inputs], dense: list[Walk]
) -> list[Walk]:
    with reducer.attach(subject.model):
        return [
            walk(subject, each, len(known.answer), known.answer)
            for each, known in zip(inputs, dense, strict=True)
        ]


def _entering(subject: LanguageSubject, arm: Arm) -> tuple[int, ...]:
    with arm.context(), recorded_layers(subject.model) as tokens:
        arm.call()
    return tuple(tokens)


def _costs(side: _Side, device: str) -> Costs:
    with side.arm.context():
        flops = count_flops(side.arm.call)
    with side.arm.context():
        peak = peak_bytes(side.arm.call, device)
    return Costs(side.tokens(), flops, peak)


def _similarity(walks: list[Walk], dense: list[Walk], step: int) -> Tensor:  # [prompts]
    reduced, reference = (
        torch.stack([each.states[step] for each in side]) for side in (walks, dense)
    )
    return cosine_rows(reduced, reference)


def companions(walks: Sequence[Walk], dense: Sequence[Walk]) -> Quality:
    """Return how far next token and answer are from the dense model's, over all prompts."""
    nats = torch.stack(
        [kl_nats(mine.logits, theirs.logits) for mine, theirs in zip(walks, dense, strict=True)]
    )  # [prompts, T]
    same = [
        bool(mine.logits[0].argmax() == theirs.logits[0].argmax())
        for mine, theirs in zip(walks, dense, strict=True)
    ]
    return Quality(
        next_token_agreement=sum(same) / len(same),
        next_token_nats=float(nats[:, 0].mean()),
        answer_nats=float(nats.mean()),
    )


def _digest(inputs: list[Inputs]) -> str:
    """Return what tells one set of images and prompts from another."""
    hashed = sha256()
    for each in inputs:
        for name in ("input_ids", "pixel_values", "image_grid_thw"):
            hashed.update(each[name].cpu().numpy().tobytes())
    return f"sha256 {hashed.hexdigest()[:12]}"
