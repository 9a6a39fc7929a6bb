"""A contrastive adapter for the measuring encoder (Zhang and Re 2022, arXiv:2207.07180).

A small residual network on an encoder's image embeddings. It is trained so that images of one class lie together
whatever spurious group they are of, and away from images of the other classes; the sentences stay where they are. It
mitigates the instrument's own skew, such as a pilot being read as male for the cockpit, and touches no generator.

adapter.safetensors   two matrices and two biases, float32
adapter.json          {"version", "sha256" of the other file, "attribute", "classes", "groups", "encoder", ...}
calibration/          fitted with the adapter, as beside an encoder; without it what is scored is uncalibrated
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.clip.encoders import Encoder, Progress
from auditkit.clip.folder import ADAPTER as FACTS
from auditkit.clip.folder import ADAPTER_WEIGHTS as TENSORS
from auditkit.clip.folder import adapted_sha256
from auditkit.errors import EncoderError
from auditkit.files import sha256, slug, write_atomic, write_json

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

VERSION = 1
MEND = "Name the folder that `auditkit train adapter` wrote, or train it again."


@dataclass(frozen=True)
class Adapter:
    """z -> unit(z + up relu(down z + bias_down) + bias_up), for unit embeddings z of `dim` numbers."""

    down: np.ndarray
    """float32 [hidden, dim]."""
    bias_down: np.ndarray
    """float32 [hidden]."""
    up: np.ndarray
    """float32 [dim, hidden]."""
    bias_up: np.ndarray
    """float32 [dim]."""
    attribute: str = ""
    """The attribute whose classes it was trained to part; it is used for no other."""
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """The spurious groups that it was trained to part less by."""
    encoder: str = ""
    """What `load_encoder` takes for the encoder whose embeddings it was fitted on."""
    encoder_sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """Whatever else is to be known of how it was made; plain data."""

    @property
    def dim(self) -> int:
        return int(self.down.shape[1])

    @property
    def sha256(self) -> str:
        """Of adapter.safetensors."""
        return sha256(self._packed())

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        """Move embeddings.

        Args:
            embeddings: float [n, dim], rows of unit length.

        Returns:
            float32 [n, dim], rows of unit length.

        Raises:
            EncoderError: embeddings of another width.
        """
        z = np.asarray(embeddings, np.float32)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise EncoderError(
                f"The adapter takes embeddings of {self.dim} numbers, these are of shape {list(z.shape)}.",
                where="embeddings", mend="Use it with the encoder that it was trained for.",
            )  # fmt: skip
        moved = z + np.maximum(z @ self.down.T + self.bias_down, 0) @ self.up.T + self.bias_up
        return (moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    def save(self, folder: str | Path) -> Path:
        """Write adapter.safetensors and adapter.json; returns the folder. Calibrations there are left alone."""
        folder = Path(folder)
        data = self._packed()
        write_atomic(folder / TENSORS, data)
        write_json(
            folder / FACTS,
            {
                "version": VERSION, "sha256": sha256(data), "attribute": self.attribute, "classes": list(self.classes),
                "groups": list(self.groups), "encoder": self.encoder, "encoder_sha256": self.encoder_sha256,
                "facts": self.facts,
            },
        )  # fmt: skip
        return folder

    def _packed(self) -> bytes:
        from safetensors.numpy import save

        names = ("down", "bias_down", "up", "bias_up")
        return save({name: np.ascontiguousarray(getattr(self, name), np.float32) for name in names})


def fit_adapter(
    embeddings: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str],
    class_embeddings: np.ndarray,
    names: Sequence[str],
    *,
    logit_scale: float = 100.0,
    hidden: int = 128,
    steps: int = 300,
    batch: int = 128,
    lr: float = 1e-3,
    temperature: float = 0.1,
    contrast: float = 0.5,
    weight_decay: float = 1e-2,
    seed: int = 0,
    progress: Callable[[float, int, str], None] | None = None,
    **facts: Any,
) -> Adapter:
    """Train an adapter on embeddings of known class and spurious group; seconds on a CPU.

    Each step draws an anchor, as often of every (class, group) that there is, so that a rare combination counts as
    much as a common one. Positives are images of the anchor's class in other groups, negatives those of other classes:
    supervised contrastive loss at `temperature`. The other part of the loss is the cross-entropy of the zero-shot
    posterior, which ties the images to the sentences they will be compared with.

    Args:
        embeddings: float [n, dim], rows of unit length. classes, groups: n each.
        class_embeddings: float [K, dim], unit, of `names`, the K classes in order.
        hidden: width of the bottleneck. contrast: share of the contrastive loss, in 0..1; the rest is cross-entropy.
        facts: `attribute`, `encoder`, `encoder_sha256` of Adapter, and plain data to keep with it.

    Raises:
        EncoderError: shapes that do not go together, a class that is not among `names`, or fewer than two classes or
            two groups; or a class that is seen in one group only, of which nothing can be learnt apart from the group.
    """
    import torch
    import torch.nn.functional as F

    _check(embeddings, classes, groups, class_embeddings, names)
    z = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    y = torch.tensor([list(names).index(each) for each in classes])
    known = sorted(set(groups))
    g = torch.tensor([known.index(each) for each in groups])
    words = torch.from_numpy(np.ascontiguousarray(class_embeddings, np.float32))
    cell = y * len(known) + g
    weights = 1.0 / torch.bincount(cell)[cell].double()
    random = torch.Generator().manual_seed(seed)
    dim = z.shape[1]
    down = (torch.randn(hidden, dim, generator=random) * dim**-0.5).requires_grad_()
    bias_down = torch.zeros(hidden, requires_grad=True)
    up = torch.zeros(dim, hidden, requires_grad=True)  # so that it starts as no change at all
    bias_up = torch.zeros(dim, requires_grad=True)
    parameters = [down, bias_down, up, bias_up]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    for step in range(steps):
        rows = torch.multinomial(weights, batch, replacement=True, generator=random)
        old = z[rows]
        new = F.normalize(old + F.relu(old @ down.T + bias_down) @ up.T + bias_up, dim=1)
        same = y[rows][:, None] == y[rows][None]
        across = same & (g[rows][:, None] != g[rows][None])
        loss = contrast * _contrastive(new @ new.T / temperature, across, ~same) + (1 - contrast) * F.cross_entropy(
            logit_scale * new @ words.T, y[rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress((step + 1) / steps, step + 1, f"loss {float(loss.detach()):.3f}")
    made = [each.detach().numpy().copy() for each in parameters]
    if not all(np.isfinite(each).all() for each in made):
        raise EncoderError("The training came to numbers that are not finite.", where="lr", mend="Use a lower rate.")
    own = {name: facts.pop(name, "") for name in ("attribute", "encoder", "encoder_sha256")}
    settings = {
        "hidden": hidden, "steps": steps, "batch": batch, "lr": lr, "temperature": temperature, "contrast": contrast,
        "weight_decay": weight_decay, "seed": seed, "n_images": len(z),
    }  # fmt: skip
    down_, bias_down_, up_, bias_up_ = made
    return Adapter(
        down_, bias_down_, up_, bias_up_, classes=tuple(names), groups=tuple(known), facts={**settings, **facts}, **own
    )


def load_adapter(folder: str | Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        EncoderError: there is none, or it is damaged or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(folder).expanduser()
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        data = (folder / TENSORS).read_bytes()
        if facts["version"] != VERSION:
            raise EncoderError(f"The adapter is of version {facts['version']}.", where=folder, mend="Upgrade auditkit.")
        if sha256(data) != facts["sha256"]:
            raise EncoderError("The adapter is damaged.", where=folder / TENSORS, mend=MEND)
        tensors = load(data)
        found = Adapter(
            tensors["down"], tensors["bias_down"], tensors["up"], tensors["bias_up"], str(facts["attribute"]),
            tuple(map(str, facts["classes"])), tuple(map(str, facts["groups"])), str(facts["encoder"]),
            str(facts["encoder_sha256"]), dict(facts["facts"]),
        )  # fmt: skip
        hidden, dim = found.down.shape
        fits = found.bias_down.shape == (hidden,) and found.up.shape == (dim, hidden) and found.bias_up.shape == (dim,)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EncoderError("There is no adapter in the folder.", where=error.filename, mend=MEND) from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise EncoderError(f"The adapter cannot be read: {error}", where=folder / FACTS, mend=MEND) from None
    if not fits or not all(np.isfinite(tensors[name]).all() for name in tensors):
        raise EncoderError("The adapter's matrices do not fit together.", where=folder / TENSORS, mend=MEND)
    return found


def adapted(encoder: Encoder, adapter: Adapter, folder: Path) -> Encoder:
    """The encoder with the adapter behind it: an encoder of its own name, fingerprint and calibration.

    Its `sha256` is that of the encoder's weights, `+`, and that of the adapter; so scores and embeddings of the run
    say both, and a calibration made without the adapter, or with another, is not taken for its own.

    Raises:
        EncoderError: the adapter was trained on embeddings of another encoder.
    """
    if encoder.sha256 != adapter.encoder_sha256:
        raise EncoderError(
            f"The adapter was trained for {adapter.encoder}, not for {encoder.name} with these weights.",
            where=folder, mend="Pass that encoder with --encoder, or train an adapter for this one.",
        )  # fmt: skip
    if encoder.dim != adapter.dim:
        raise EncoderError(
            f"The adapter takes embeddings of {adapter.dim} numbers, {encoder.name} makes {encoder.dim}.",
            where=folder, mend=MEND,
        )  # fmt: skip
    if slug(folder.name) == encoder.name:
        what = "The adapter's folder has the encoder's name, so scores with and without it could not be told apart."
        raise EncoderError(what, where=folder, mend="Give the folder another name.")
    return AdaptedEncoder(encoder, adapter, folder)


class AdaptedEncoder(Encoder):
    """An encoder with an adapter behind it. Made by `adapted`, and by `load_encoder` of an adapter's folder."""

    def __init__(self, base: Encoder, adapter: Adapter, folder: Path):
        self.base, self.adapter, self.folder = base, adapter, folder
        self._under = base  # the same, known not to be None
        self.dim = base.dim
        self.name, self.source = slug(folder.name), str(folder)
        self.sha256 = adapted_sha256(base.sha256, adapter.sha256)

    @property
    def image_size(self) -> int:
        return self._under.image_size

    @property
    def logit_scale(self) -> float:
        return self._under.logit_scale

    @property
    def tower(self) -> Any:
        raise EncoderError(
            "What works on an encoder's own image tower does not take one with an adapter.", where=self.source,
            mend=f"Name the encoder itself: {self._under.source}.",
        )  # fmt: skip

    def info(self) -> dict[str, Any]:
        adapter = {"sha256": self.adapter.sha256, "attribute": self.adapter.attribute, **self.adapter.facts}
        return {
            **self._under.info(),
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "adapter": adapter,
        }

    def embed_images(
        self, images: Sequence[Image | Path], *, batch_size: int | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        return self.move(self._under.embed_images(images, batch_size=batch_size, progress=progress))

    def embed_pixels(self, images: torch.Tensor) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        z = self._under.embed_pixels(images)
        down, bias_down, up, bias_up = (
            torch.from_numpy(each).to(z)
            for each in (self.adapter.down, self.adapter.bias_down, self.adapter.up, self.adapter.bias_up)
        )
        return F.normalize(z + F.relu(z @ down.T + bias_down) @ up.T + bias_up, dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._under.embed_texts(texts)

    def move(self, embeddings: np.ndarray) -> np.ndarray:
        return self.adapter.apply(embeddings)


def worst_group(
    cosines: np.ndarray, classes: Sequence[str], groups: Sequence[str], names: Sequence[str], *, fewest: int = 1
) -> tuple[float, float, str]:
    """Average accuracy of the likeliest class, the accuracy of the worst (class, group), and which one that is.

    Args:
        cosines: float [n, K], columns in the order of `names`. fewest: images that a combination must have to count.

    Returns:
        NaN, NaN and '' without images.
    """
    if len(classes) == 0:
        return float("nan"), float("nan"), ""
    right = cosines.argmax(axis=1) == np.array([list(names).index(each) for each in classes])
    cells: dict[str, list[bool]] = {}
    for one, two, hit in zip(classes, groups, right, strict=True):
        cells.setdefault(f"{one}, {two}", []).append(bool(hit))
    means = {cell: float(np.mean(hits)) for cell, hits in sorted(cells.items()) if len(hits) >= fewest}
    worst = min(means, key=lambda cell: means[cell]) if means else ""
    return float(right.mean()), means.get(worst, float("nan")), worst


def _contrastive(similarity: Any, positive: Any, negative: Any) -> Any:
    """Mean over anchors and their positives of -log(exp s_p / (exp s_p + sum over negatives of exp s_n))."""
    import torch

    against = torch.logsumexp(similarity.masked_fill(~negative, -torch.inf), dim=1, keepdim=True)
    loss = torch.nn.functional.softplus(against - similarity)
    return (loss * positive).sum() / positive.sum().clamp(min=1)


def _check(
    embeddings: np.ndarray, classes: Sequence[str], groups: Sequence[str], words: np.ndarray, names: Sequence[str]
) -> None:
    z, mend = np.asarray(embeddings), "Pass [n, dim] embeddings, n classes, n groups and [K, dim] class embeddings."
    if z.ndim != 2 or not len(z) == len(classes) == len(groups) or words.shape != (len(names), z.shape[1]):
        what = f"Embeddings {list(z.shape)} do not go with {len(classes)} classes, {len(groups)} groups, {words.shape}."
        raise EncoderError(what, where="embeddings", mend=mend)
    if not np.isfinite(z).all():
        raise EncoderError("An embedding is not a finite number.", where="embeddings", mend="Check the encoder.")
    strange = sorted(set(classes) - set(names))
    if strange:
        raise EncoderError(
            f"'{strange[0]}' is no class.", where="classes", mend=f"The classes are: {', '.join(names)}."
        )
    seen = {name: {two for one, two in zip(classes, groups, strict=True) if one == name} for name in names}
    poor = [name for name, found in seen.items() if len(found) < 2]
    if poor:
        raise EncoderError(
            f"'{poor[0]}' is seen in fewer than two spurious groups, so class and group cannot be told apart.",
            where="groups", mend="Add images of each class in at least two groups.",
        )  # fmt: skip
