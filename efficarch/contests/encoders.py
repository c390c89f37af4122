"""Encoders under a token-reduction method, against themselves dense."""

from dataclasses import dataclass, field
from hashlib import sha256

import torch
from PIL.Image import Image
from torch import Tensor

from efficarch.contests.base import Arm, Contest, Costs, Settings
from efficarch.contests.companions import Companions
from efficarch.errors import EfficarchError
from efficarch.models import model_row
from efficarch.models.base import Subject, WeightsRequest
from efficarch.models.folder import label_of
from efficarch.models.vit import recorded_tokens, torch_dtype
from efficarch.probe import count_flops, peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import Quality
from efficarch.reducers.base import Reducer


@dataclass(frozen=True)
class Photos:
    """A set of images as one model takes them."""

    model: str
    images: tuple[Image, ...]
    pixels: Tensor  # [n, 3, height, width]
    digest: str

    def holds(self, model: str, images: list[Image]) -> bool:
        """Whether these are the very same image objects, for the same model."""
        same = len(images) == len(self.images) and all(
            mine is theirs for mine, theirs in zip(self.images, images, strict=True)
        )
        return same and model == self.model


@dataclass
class Encoders:
    """Loaded encoders and what is known of them dense, so that a session does each once.

    Images must not be changed in place while a session lasts.
    """

    settings: Settings
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _dense: dict[tuple[str, str, int], tuple[Tensor, Costs]] = field(default_factory=dict)
    _companions: dict[str, Companions] = field(default_factory=dict)
    _one: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    """One image as a model takes it, and its dense FLOPs."""
    _photos: Photos | None = None

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
            self._companions[model] = Companions(loaded)
        return self._subjects[model]

    def contest(self, *, model: str, reducer: Reducer, images: list[Image], batch: int) -> Contest:
        """Set a reduced encoder against itself dense.

        Latency is that of the first ``batch`` images; CosSim and its companions are over all
        images, ``batch`` at a time. A session that only times has no companions, and CosSim of
        the images it times.
        """
        if not 1 <= batch <= len(images):
            raise EfficarchError(f"batch is {batch}, with {len(images)} images to choose from")
        subject = self.subject(model)
        photos = self._prepared(model, images)
        reduced = Arm(
            call=lambda: subject.embed(photos.pixels[:batch]),
            context=lambda: reducer.attach(subject.model),
        )
        reference, dense_costs = self._dense_side(photos, batch)
        with reduced.context():
            embeddings, costs = _observed(
                subject, self._scored(photos, batch), batch, self.settings.device
            )
        similarity = cosine_rows(embeddings, reference)
        return Contest(
            subject=reduced,
            reference=Arm(call=reduced.call),
            costs=costs,
            reference_costs=dense_costs,
            cossim=summarise(similarity),
            cossim_items=tuple(similarity.tolist()),
            quality=Quality()
            if self.settings.timing_only
            else self._companions[model].of(embeddings, reference, list(map(label_of, images))),
            items=batch,
            weights=subject.weights,
            source=f"{subject.source}; {len(images)} images of {photos.pixels.shape[-1]} px, "
            f"{photos.digest}",
        )

    def similarity(
        self, *, model: str, reducer: Reducer, images: list[Image], batch: int
    ) -> Tensor:  # [n]
        """Return the CosSim of every image, without measuring anything else."""
        subject, photos = self.subject(model), self._prepared(model, images)
        reference, _costs = self._dense_side(photos, batch)
        with reducer.attach(subject.model):
            return cosine_rows(_embeddings(subject, photos.pixels, batch), reference)

    def flops_share(self, *, model: str, reducer: Reducer, image: Image) -> float:
        """Return the FLOPs of one image under a method, relative to the dense model's.

        They do not depend on what the image shows, so the first one given serves every call.
        """
        subject = self.subject(model)
        if model not in self._one:
            pixels = self._pixels(model, [image])
            self._one[model] = (pixels, count_flops(lambda: subject.embed(pixels)))
        one, dense = self._one[model]
        with reducer.attach(subject.model):
            return count_flops(lambda: subject.embed(one)) / dense

    def _pixels(self, model: str, images: list[Image]) -> Tensor:  # [n, 3, height, width]
        settings = self.settings
        pixels = self.subject(model).prepare(images)
        return pixels.to(settings.device, torch_dtype(settings.dtype))

    def _prepared(self, model: str, images: list[Image]) -> Photos:
        """Prepare and hash images once for the cells of a model, which follow each other."""
        if self._photos is None or not self._photos.holds(model, images):
            pixels = self._pixels(model, images)
            self._photos = Photos(model, tuple(images), pixels, _digest(images))
        return self._photos

    def _dense_side(self, photos: Photos, batch: int) -> tuple[Tensor, Costs]:
        key = (photos.model, photos.digest, batch)
        if key not in self._dense:
            subject = self.subject(photos.model)
            scored = self._scored(photos, batch)
            self._dense[key] = _observed(subject, scored, batch, self.settings.device)
        return self._dense[key]

    def _scored(self, photos: Photos, batch: int) -> Tensor:  # [n or batch, 3, height, width]
        """Return the images CosSim is taken of."""
        return photos.pixels[:batch] if self.settings.timing_only else photos.pixels


def _digest(images: list[Image]) -> str:
    """Return what tells one set of images from another: the start of a hash of their pixels."""
    hashed = sha256()
    for image in images:
        label = label_of(image)
        hashed.update(repr((image.mode, image.size, *([] if label is None else [label]))).encode())
        hashed.update(image.tobytes())
    return f"sha256 {hashed.hexdigest()[:12]}"


def _embeddings(subject: Subject, pixels: Tensor, batch: int) -> Tensor:
    return torch.cat([subject.embed(chunk) for chunk in pixels.split(batch)])


def _observed(subject: Subject, pixels: Tensor, batch: int, device: str) -> tuple[Tensor, Costs]:
    """Embed all images, ``batch`` at a time, and note what the first of these calls costs.

    Every image has as many tokens and FLOPs as any other, so they are counted on one.
    """
    first, *rest = pixels.split(batch)
    with recorded_tokens(subject.model) as tokens:
        flops = batch * count_flops(lambda: subject.embed(pixels[:1]))
    found: list[Tensor] = []
    peak = peak_bytes(lambda: found.append(subject.embed(first)), device)
    found += [subject.embed(chunk) for chunk in rest]
    return torch.cat(found), Costs(tuple(tokens), flops, peak)
