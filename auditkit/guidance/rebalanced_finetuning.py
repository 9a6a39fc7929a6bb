"""Data-side fine-tuning: the network as it came out of a training on rebalanced draws takes the plain one's place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import GeneratorError
from auditkit.files import sha256_file
from auditkit.guidance.base import Batch, Mitigation, Model, Options, Text
from auditkit.guidance.policy import Policy

if TYPE_CHECKING:
    import torch

MEND = (
    "auditkit train generator --data IMAGES --init CHECKPOINT --balance gender --balance-within occupation --out OUT, "
    "then checkpoint=OUT/export"
)


class RebalancedFinetuning(Mitigation):
    """The images that are acted on are made by the denoiser of a fine-tuned checkpoint, the others by the model's own.

    The checkpoint is one that was fine-tuned from this model with the groups drawn alike within each occupation:

        auditkit train generator --data IMAGES --init CHECKPOINT --balance gender --balance-within occupation

    Text encoder and autoencoder stay the model's own (so without --train-text-encoder). What it moves toward was fixed
    in training; it does not draw. Images cost no more than the model's own, but where a batch holds both kinds.
    """

    name = "rebalanced-finetuning"
    title = "A denoiser that was fine-tuned on rebalanced draws takes the place of the model's own"
    reference = "Fine-tuning on rebalanced draws; to a target by its loss: Shen et al. 2024 (arXiv 2311.07604)"
    draws = False
    even_only = True

    class Settings(Options):
        """Settings."""

        checkpoint: str = ""
        """Folder of the fine-tuned checkpoint, in diffusers' format."""

    def takes(self, model: Model) -> str | None:
        if model.denoiser is None:
            return "it changes weights, and there are none at hand"
        if not self.options.checkpoint:
            return f"it needs a checkpoint that was fine-tuned from it ({MEND})"
        root = Path(self.options.checkpoint).expanduser()
        self._part = "unet" if getattr(model.pipeline, "unet", None) is not None else "transformer"
        self._folder = root / self._part
        if not (self._folder / "config.json").is_file():
            raise GeneratorError(
                f"the checkpoint has no {self._part}", where=self._folder, mend=f"make one: {MEND}",
            )  # fmt: skip
        try:
            config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise GeneratorError(
                f"the configuration cannot be read: {error}", where=self._folder / "config.json", mend="restore it"
            ) from None
        own = json.loads(json.dumps(dict(model.denoiser.config)))
        for key, value in config.items():
            if not key.startswith("_") and key in own and own[key] != value:
                return f"the checkpoint's {self._part} is another network: its {key} is {value}, not {own[key]}"
        if not _same_texts(root, model.pipeline):
            return "the checkpoint has a text encoder of its own (fine-tune it without --train-text-encoder)"
        return None

    def parts(self) -> Mapping[str, str]:
        files = sorted(self._folder.glob("*.safetensors"))
        return {f"{self._part}/{path.name}": sha256_file(path) for path in files}

    def prepare(self, model: Model, policy: Policy) -> None:
        own = model.denoiser
        try:
            tuned = type(own).from_pretrained(
                self._folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise GeneratorError(
                f"the fine-tuned weights cannot be loaded: {reason}", where=self._folder, mend="fine-tune again"
            ) from None
        self._tuned = tuned.to(own.device, own.dtype).eval().requires_grad_(False)
        self._batch: Batch | None = None

    @contextmanager
    def weights(self, model: Model) -> Iterator[None]:
        """Calls of the denoiser go to the fine-tuned one, image by image; afterwards to its own weights again."""
        denoiser = model.denoiser
        plain = denoiser.forward

        def routed(*args: Any, **kwargs: Any) -> Any:
            batch = self._batch
            if batch is None or not batch.acting:
                return plain(*args, **kwargs)
            kwargs["return_dict"] = False
            tuned: torch.Tensor = self._tuned.forward(*args, **kwargs)[0]
            n = len(batch.aims)
            if len(batch.acting) < n:
                given = plain(*args, **kwargs)[0].clone()
                rows = [half * n + place for half in range(len(tuned) // n) for place in batch.acting]
                given[rows] = tuned[rows]
                tuned = given
            return (tuned,)

        denoiser.forward = routed
        try:
            yield
        finally:
            del denoiser.forward

    def condition(self, batch: Batch, text: Text, number: int, of: int) -> Text:
        """Tells whose images the network's next call makes; the text stays."""
        self._batch = batch
        return text


def _same_texts(root: Path, pipeline: Any) -> bool:
    """Whether the checkpoint's text encoders are the pipeline's, by the beginning of each tensor in half precision."""
    import torch
    from safetensors import safe_open

    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        module = getattr(pipeline, name, None)
        if module is None or not (root / name).is_dir():
            continue
        own = module.state_dict()
        for path in sorted((root / name).glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a mapping)
                    mine = own.get(key, own.get(key.removeprefix("text_model."), own.get(f"text_model.{key}")))
                    if mine is None:
                        continue
                    theirs = file.get_tensor(key).flatten()[:1000].half()
                    if not torch.equal(theirs, mine.flatten()[:1000].half().cpu()):
                        return False
    return True
