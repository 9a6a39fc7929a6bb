"""CLIP encoders: ours, a folder's, or any open_clip model, all loaded through open_clip's own factory."""

from __future__ import annotations

import difflib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.clip import folder as layout
from auditkit.errors import EncoderError
from auditkit.files import sha256_file, slug

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from auditkit.runs import Run

BATCH, CPU_BATCH = 64, 8
"""Images at a time; on the CPU a batch that stays in a core's cache is quickest."""

READERS = 16
"""Threads that open and resize images for a GPU, at most one a core; it waits for them all the same."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class Encoder:
    """A CLIP model with its preprocessing and tokenizer. Made by `load_encoder`.

    Embeddings are float32 rows of unit length; the cosine of two is their dot product.
    """

    base: Encoder | None = None
    """The encoder that this one is an adapter behind (auditkit.clip.adapter); None for one that stands alone."""

    def __init__(
        self,
        model: Any,
        preprocess: Callable[[Image], Any],
        *,
        tokenizer: Callable[[list[str]], Any],
        dim: int,
        name: str,
        sha256: str,
        source: str,
        folder: Path | None,
        device: str,
        bf16: bool,
    ):
        self._model = model.eval().requires_grad_(False)
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        self._device = device
        self._bf16 = bf16
        self.dim = dim
        """Length of an embedding."""
        self.name = name
        """Short and safe in a file's name: `personas-clip`, `ViT-B-32-laion2b_s34b_b79k`."""
        self.sha256 = sha256
        """Of the weights file."""
        self.source = source
        """What was passed to `load_encoder`."""
        self.folder = folder
        """Where the encoder's calibration is, or None for a model loaded by name."""

    @property
    def tower(self) -> Any:
        """The image tower, a torch module: pixels to embeddings before they are made unit.

        Raises:
            EncoderError: there is an adapter behind it, which the tower alone would pass by.
        """
        return self._model.visual

    def move(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings of `base` as this encoder's own; as they are, where it stands alone."""
        return embeddings

    @property
    def image_size(self) -> int:
        """Side in pixels to which images are resized."""
        size = self._model.visual.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax, as trained (exp of the model's parameter)."""
        return float(self._model.logit_scale.float().exp().max())

    def info(self) -> dict[str, Any]:
        """For run records and `doctor`: the encoder's name, weights, sizes and device."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "dim": self.dim,
            "image_size": self.image_size,
            "logit_scale": self.logit_scale,
            "parameters": sum(parameter.numel() for parameter in self._model.parameters()),
            "device": self._device,
            "dtype": "bfloat16 autocast" if self._bf16 else "float32",
        }

    def embed_images(
        self, images: Sequence[Image | Path], *, batch_size: int | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Embed images, or the files that hold them, in the order given.

        Args:
            images: any size and mode; files are opened as they are needed.
            batch_size: 8 on the CPU and 64 elsewhere by default; does not change the result beyond float rounding.

        Returns:
            float32 [n, dim], rows of unit length.

        Raises:
            ImageError: a file that is not a readable image.
        """
        import torch

        size = batch_size or (CPU_BATCH if self._device == "cpu" else BATCH)

        def batches() -> Iterator[Any]:
            on_cpu = self._device == "cpu"
            prepared = map(self._prepared, images) if on_cpu else _ahead(self._prepared, images, 2 * size)
            for start in range(0, len(images), size):
                yield torch.stack(list(islice(prepared, size)))
                if progress is not None:
                    progress(min(start + size, len(images)), len(images))

        return self._embed(batches(), self._model.encode_image)

    def _prepared(self, image: Image | Path) -> Any:
        """Pixels [3, h, w] as the model takes them."""
        return self._preprocess(_opened(image))

    def embed_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Embed images that are tensors already, differentiably: what guidance needs.

        Resized by torch's antialiased bicubic filter, which rounds otherwise than the one for files: square images of
        the bundled generators agree with `embed_images` to a cosine of 0.99999. Other shapes are squeezed to a square.

        Args:
            images: [n, 3, h, w] in 0..1, on the encoder's device.

        Returns:
            float32 [n, dim], rows of unit length.
        """
        import torch

        config = self._model.visual.preprocess_cfg
        size = (self.image_size,) * 2
        fitted = torch.nn.functional.interpolate(images.float(), size, mode="bicubic", antialias=True)
        mean, std = (fitted.new_tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        return torch.nn.functional.normalize(self._model.encode_image((fitted - mean) / std).float(), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts; words beyond the model's context are cut off.

        Returns:
            float32 [n, dim], rows of unit length.
        """
        batches = (self._tokenizer(list(texts[start : start + 256])) for start in range(0, len(texts), 256))
        return self._embed(batches, self._model.encode_text)

    def _embed(self, batches: Iterator[Any], encode: Callable[[Any], Any]) -> np.ndarray:
        import torch

        def embedded(batch: Any) -> np.ndarray:
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16) if self._bf16 else nullcontext():
                vectors = encode(batch.to(self._device))
            return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()

        workers = torch.get_num_threads() if self._device == "cpu" else 1
        rows = [embedded(batch) for batch in batches] if workers == 1 else _side_by_side(embedded, batches, workers)
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)


def _ahead(work: Callable[[Any], Any], items: Sequence[Any], ahead: int) -> Iterator[Any]:
    """`work(item)` of each item in order, done in threads; no more than `ahead` of them wait to be taken."""
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1))
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _side_by_side(embedded: Callable[[Any], np.ndarray], batches: Iterator[Any], workers: int) -> list[np.ndarray]:
    """Batches in threads of one core each, in their order: small matrices gain little from sharing cores.

    This thread opens the images meanwhile; no more than two batches a worker wait.
    """
    import torch

    rows: list[np.ndarray] = []
    waiting: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for batch in batches:
            waiting.append(pool.submit(embedded, batch))
            if len(waiting) > 2 * workers:
                rows.append(waiting.popleft().result())
        rows += [future.result() for future in waiting]
    return rows


def load_encoder(name: str, *, device: str = "auto", allow_network: bool = False, bf16: bool = False) -> Encoder:
    """Load a CLIP encoder.

    Args:
        name: a bundled encoder (`personas-clip`); a folder in open_clip's layout, or an adapter's; an open_clip
            model with a weights tag (`ViT-B-32:laion2b_s34b_b79k`) or a local file
            (`ViT-B-32:weights.safetensors`).
        device: `auto` (CUDA, else MPS, else the CPU) or a torch device.
        allow_network: fetch a tag's weights where they are not in the hub's local cache.
        bf16: on CUDA, compute in bfloat16; embeddings then differ in the third digit, and a calibration that
            was fitted in float32 holds only roughly.

    Raises:
        EncoderError: unknown name, damaged or pickled weights, or weights that only the network has.
    """
    device = pick_device(device)
    bf16 = bf16 and device.startswith("cuda")
    folder = layout.find_folder(name)
    if folder is not None and layout.is_adapter(folder):
        from auditkit.clip.adapter import adapted, load_adapter

        adapter = load_adapter(folder)
        base = load_encoder(adapter.encoder, device=device, allow_network=allow_network, bf16=bf16)
        return adapted(base, adapter, folder)
    if folder is not None:
        return _from_folder(folder, name, device=device, bf16=bf16, allow_network=allow_network)
    layout.refuse_pickle(Path(name))
    return _from_open_clip(name, device=device, bf16=bf16, allow_network=allow_network)


def embed_run(
    run: Run, encoder: Encoder, *, batch_size: int | None = None, progress: Progress | None = None
) -> tuple[list[str], np.ndarray]:
    """Embeddings of a run's images, each distinct image once; only images not embedded before are read.

    Returns:
        The images' ids in the order they first appear in the images table, and float32 [n, dim] beside them.
    """
    if encoder.base is not None:  # what its base has seen before is not read again
        ids, plain = embed_run(run, encoder.base, batch_size=batch_size, progress=progress)
        array = encoder.move(plain)
        if ids:
            run.write_embeddings(encoder.name, ids, array, fingerprint=encoder.sha256)
        return ids, array
    images = run.images()
    ids = [str(value) for value in images["id"].drop_duplicates()]
    cached = run.embeddings(encoder.name, fingerprint=encoder.sha256)
    rows = {} if cached is None else dict(zip(cached[0], cached[1], strict=True))
    missing = [value for value in ids if value not in rows]
    if missing:
        paths = [run.image_path(value) for value in missing]
        new = encoder.embed_images(paths, batch_size=batch_size, progress=progress)
        rows.update(zip(missing, new, strict=True))
    array = np.stack([rows[value] for value in ids]) if ids else np.zeros((0, encoder.dim), np.float32)
    array = array.astype(np.float32, copy=False)
    if missing:
        run.write_embeddings(encoder.name, ids, array, fingerprint=encoder.sha256)
    return ids, array


def pick_device(device: str) -> str:
    """`auto` as CUDA, else MPS, else the CPU; anything else as it is, if torch knows it.

    Raises:
        EncoderError: a name that is no torch device, or one this machine does not have.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(
            f"The device cannot be used: {str(error).splitlines()[0]}",
            where=device,
            mend="Use the device auto.",
        ) from error
    return device


def _opened(image: Image | Path) -> Image:
    from auditkit.images import open_image

    return open_image(image) if isinstance(image, (str, os.PathLike)) else image


def _from_folder(folder: Path, source: str, *, device: str, bf16: bool, allow_network: bool) -> Encoder:
    import open_clip

    sha256 = layout.check_folder(folder)
    scheme = f"local-dir:{folder}"
    bpe = folder / layout.BPE

    def build() -> Encoder:
        config = open_clip.get_model_config(scheme)
        _refuse_hub_parts(config, source, allow_network=allow_network)
        model, preprocess = open_clip.create_model_from_pretrained(scheme, device=device)
        tokenizer = open_clip.get_tokenizer(scheme, **({"bpe_path": str(bpe)} if bpe.is_file() else {}))
        return Encoder(
            model, preprocess, tokenizer=_checked(tokenizer, config, folder), dim=config["embed_dim"],
            name=slug(folder.name), sha256=sha256, source=source, folder=folder, device=device, bf16=bf16,
        )  # fmt: skip

    return _loading(folder, build)


def _from_open_clip(name: str, *, device: str, bf16: bool, allow_network: bool) -> Encoder:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    model_name, _, weights = name.partition(":")
    model_name = model_name.replace("/", "-")
    config = open_clip.get_model_config(model_name)
    if config is None:
        known = [*layout.bundled(), *open_clip.list_models()]
        near = difflib.get_close_matches(model_name, known, n=3, cutoff=0.5) or known[:3]
        raise EncoderError(
            "There is no such encoder: not a bundled one, not a folder, not an open_clip model.",
            where=name,
            mend=f"Near it are: {', '.join(near)}.",
        )
    _refuse_hub_parts(config, name, allow_network=allow_network)
    tag = get_pretrained_cfg(model_name, weights) if weights else {}
    if tag:
        path = _tag_file(name, tag, allow_network=allow_network)
    else:
        path = Path(weights).expanduser()
        layout.refuse_pickle(path)
        if not weights or path.suffix != ".safetensors" or not path.is_file():
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(model_name)[:4]) or "none"
            raise EncoderError(
                "The weights are neither a tag of this model nor a safetensors file that exists."
                if weights
                else "An open_clip model needs weights.",
                where=name,
                mend=f"Write {model_name}:FILE.safetensors, or {model_name}:TAG; its tags: {tags}.",
            )

    def build() -> Encoder:
        model, preprocess = open_clip.create_model_from_pretrained(
            model_name,
            pretrained=str(path),
            device=device,
            force_quick_gelu=bool(tag.get("quick_gelu", False)),
            image_mean=tag.get("mean"),
            image_std=tag.get("std"),
            image_interpolation=tag.get("interpolation"),
            image_resize_mode=tag.get("resize_mode"),
        )
        short = slug(f"{model_name}-{weights if tag else path.stem}")
        tokenizer = open_clip.get_tokenizer(model_name)
        return Encoder(
            model, preprocess, tokenizer=tokenizer, dim=config["embed_dim"], name=short,
            sha256=sha256_file(path), source=name, folder=None, device=device, bf16=bf16,
        )  # fmt: skip

    return _loading(path, build)


def _tag_file(name: str, tag: dict[str, Any], *, allow_network: bool) -> Path:
    """The safetensors file of one of open_clip's tags: from the hub's cache, else fetched if allowed."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME

    repository, _, filename = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        raise EncoderError(
            "open_clip has these weights as a pickle only.",
            where=name,
            mend="Choose another tag, or convert them to safetensors and write MODEL:FILE.safetensors.",
        )
    filename = str(Path(filename).with_suffix(".safetensors")) if filename else HF_SAFE_WEIGHTS_NAME
    cached = try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):
        return Path(cached)
    if not allow_network:
        raise EncoderError(
            "These weights are not on this machine, and the network was not allowed.",
            where=f"{repository}/{filename}",
            mend="Allow the network (allow_network=True), or write MODEL:FILE.safetensors.",
        )
    try:
        return Path(hf_hub_download(repository, filename))
    except Exception as error:  # the hub's client raises a dozen kinds, of three libraries
        raise EncoderError(
            f"The weights could not be fetched: {str(error).splitlines()[0]}",
            where=f"{repository}/{filename}",
            mend="Check the connection, or write MODEL:FILE.safetensors for a file you have.",
        ) from error


def _refuse_hub_parts(config: dict[str, Any], source: str, *, allow_network: bool) -> None:
    """Some models take their tokenizer or text tower from a hub as they are built."""
    text = config.get("text_cfg", {})
    if not allow_network and ("hf_model_name" in text or "hf_tokenizer_name" in text):
        raise EncoderError(
            "This model takes its tokenizer from a hub, and the network was not allowed.",
            where=source,
            mend="Allow the network (allow_network=True), or choose one with CLIP's tokenizer (ViT-B-32).",
        )


def _checked(tokenizer: Any, config: dict[str, Any], folder: Path) -> Any:
    """Refuse a tokenizer of another size than the model's: it would embed noise, without an error."""
    size, expected = getattr(tokenizer, "vocab_size", None), config["text_cfg"].get("vocab_size")
    if size is not None and expected is not None and size != expected:
        raise EncoderError(
            f"The vocabulary has {size} entries, the model {expected}.",
            where=folder / layout.BPE,
            mend="Put the bpe.txt.gz that the model was trained with into the folder.",
        )
    return tokenizer


def _loading(where: Path, build: Callable[[], Encoder]) -> Encoder:
    try:
        return build()
    except EncoderError:
        raise
    except Exception as error:  # a wrong configuration can fail anywhere inside open_clip's constructors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise EncoderError(
            f"open_clip cannot build the encoder: {reason[0]}",
            where=where,
            mend="Check that the weights and the configuration belong together.",
        ) from error
