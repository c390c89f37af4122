"""Encoders under a token-reduction method, against themselves dense."""

from dataclasses import dataclass, field
from hashlib import sha256

import torch
from PIL.Image import Image
from torch import Tensor

from efficarch.contests.base import Arm, Contest, Costs, Settings
from efficarch.errors import EfficarchError
from efficarch.models import model_row
from efficarch.models.base import Subject, WeightsRequest
from efficarch.models.vit import recorded_tokens, torch_dtype
from efficarch.probe import count_flops, peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import Quality
from efficarch.reducers.base import Reducer


@dataclass
class Encoders:
    """Loaded encoders and what is known of them dense, so that a session does each once."""

    settings: Settings
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _dense: dict[tuple[str, str, int], tuple[Tensor, Costs]] = field(default_factory=dict)

    def subject(self, model: str) -> Subject:
        """Load a model on first use, in the session's dtype and on its device."""
        if model not in self._subjects:
            settings = self.settings
            location = settings.locations.get(model)
            request = WeightsRequest(settings.weights, location, settings.seed)
            loaded = model_row(model).load(request)
            if not isinstance(loaded, Subject):
                raise EfficarchError(
                    f"{model} is no encoder: it answers prompts; measure it with bench.generate"
                )
            loaded.model.to(device=settings.device, dtype=torch_dtype(settings.dtype))
            self._subjects[model] = loaded
        return self._subjects[model]

    def contest(self, *, model: str, reducer: Reducer, images: list[Image], batch: int) -> Contest:
        """Set a reduced encoder against itself dense.

        Latency is that of the first ``batch`` images; CosSim is over all images, ``batch`` at a
        time.
        """
        if not 1 <= batch <= len(images):
            raise EfficarchError(f"batch is {batch}, with {len(images)} images to choose from")
        subject = self.subject(model)
        pixels = subject.prepare(images).to(self.settings.device, torch_dtype(self.settings.dtype))
        reduced = Arm(
            call=lambda: subject.embed(pixels[:batch]),
            context=lambda: reducer.attach(subject.model),
        )
        dense = Arm(call=reduced.call)
        digest = _digest(images)
        key = (model, digest, batch)
        if key not in self._dense:
            self._dense[key] = (
                _embeddings(subject, dense, pixels, batch),
                _encoder_costs(subject, dense, self.settings.device),
            )
        embeddings, dense_costs = self._dense[key]
        similarity = cosine_rows(_embeddings(subject, reduced, pixels, batch), embeddings)
        return Contest(
            subject=reduced,
            reference=dense,
            costs=_encoder_costs(subject, reduced, self.settings.device),
            reference_costs=dense_costs,
            cossim=summarise(similarity),
            cossim_items=tuple(similarity.tolist()),
            quality=Quality(),
            items=batch,
            weights=subject.weights,
            source=f"{subject.source}; {len(images)} images of {pixels.shape[-1]} px, {digest}",
        )


def _digest(images: list[Image]) -> str:
    """Return what tells one set of images from another: the start of a hash of their pixels."""
    hashed = sha256()
    for image in images:
        hashed.update(repr((image.mode, image.size)).encode())
        hashed.update(image.tobytes())
    return f"sha256 {hashed.hexdigest()[:12]}"


def _embeddings(subject: Subject, arm: Arm, pixels: Tensor, batch: int) -> Tensor:
    with arm.context():
        return torch.cat([subject.embed(chunk) for chunk in pixels.split(batch)])


def _encoder_costs(subject: Subject, arm: Arm, device: str) -> Costs:
    with arm.context():
        with recorded_tokens(subject.model) as tokens:
            flops = count_flops(arm.call)
        return Costs(tuple(tokens), flops, peak_bytes(arm.call, device))
