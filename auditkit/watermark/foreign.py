"""Marks that other tools made: invisible-watermark, blind-watermark and TrustMark, read and written by those packages.

They are an extra (`pip install 'auditkit-t2i[peers]'`) and are imported where they are used. Their bits have no key of
ours: agreement with a known message is shown, and its p-value holds only where that message was drawn at random.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.base import check_side

EXTRA = "pip install 'auditkit-t2i[peers]'"


class _Foreign:
    name: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    family: ClassVar[str] = "foreign"
    package: ClassVar[str]
    module: ClassVar[str]
    """What `package` is imported as."""
    slow: ClassVar[bool] = False
    """Takes about a second an image."""

    def prepare(self) -> None:
        """Load what reading and embedding need; raises as they would."""
        self._import()

    def _import(self, module: str | None = None) -> Any:
        """The package, or a module that it needs.

        Raises:
            WatermarkError: it is not installed, or cannot be imported.
        """
        wanted = module or self.module
        try:
            return importlib.import_module(wanted)
        except ImportError as error:
            missing = getattr(error, "name", None) or wanted
            raise WatermarkError(
                f"{self.title} needs a package that is not installed: {missing}", where=self.package, mend=EXTRA
            ) from None


class _Invisible(_Foreign):
    """invisible-watermark's methods, as published. It takes images of at least 256 x 256 pixels of area."""

    package = "invisible-watermark"
    module = "imwatermark"
    method: ClassVar[str]

    def __init__(self, *, bits: int = 32):
        """
        Args:
            bits: length of the message, which must be known to read it; a multiple of 8 for what its command makes.
        """
        self.bits = bits

    def embed(self, image: np.ndarray, word: np.ndarray) -> np.ndarray:
        """`image` uint8 [h, w, 3] with `word`, uint8 [bits], in it.

        Raises:
            WatermarkError: the package is missing, the image is too small, or the word has another length.
        """
        self._check(image, word)
        encoder = self._ready().WatermarkEncoder()
        encoder.set_watermark("bits", [int(bit) for bit in word])
        return _rgb(encoder.encode(_bgr(image), self.method))

    def read_bits(self, image: np.ndarray) -> np.ndarray:
        """The message, uint8 [bits]: of an image that has none, too.

        Raises:
            WatermarkError: the package is missing, or the image is too small for it.
        """
        self._check(image)
        found = self._ready().WatermarkDecoder("bits", self.bits).decode(_bgr(image), self.method)
        return np.asarray(found).reshape(-1).astype(np.uint8)

    def prepare(self) -> None:
        self._ready()

    def _ready(self) -> Any:
        return self._import()

    def _check(self, image: np.ndarray, word: np.ndarray | None = None) -> None:
        height, width = image.shape[:2]
        if height * width < 256 * 256:
            raise WatermarkError(
                f"the image ({width} x {height}) is too small for {self.title}",
                where=self.package,
                mend="it takes images with the area of 256 x 256 pixels or more",
            )
        _check_word(word, self.bits, self.title)


class DwtDct(_Invisible):
    """The default method of invisible-watermark: the largest coefficient of each 4 x 4 block is quantised."""

    name = "dwtdct"
    title = "invisible-watermark dwtDct"
    method = "dwtDct"


class DwtDctSvd(_Invisible):
    """Its second method: the first singular value of each 4 x 4 block is quantised."""

    name = "dwtdctsvd"
    title = "invisible-watermark dwtDctSvd"
    method = "dwtDctSvd"


class RivaGan(_Invisible):
    """Its learned method (Zhang et al. 2019), by onnxruntime; always 32 bits."""

    name = "rivagan"
    title = "invisible-watermark rivaGan"
    method = "rivaGan"
    slow = True

    def __init__(self) -> None:
        super().__init__(bits=32)

    def _ready(self) -> Any:
        self._import("onnxruntime")  # which invisible-watermark does not name among what it needs
        package = self._import()
        package.WatermarkEncoder.loadModel()
        return package


class BlindWatermark(_Foreign):
    """blind-watermark in its mode for bits. Length and both passwords must be known to read a mark."""

    name = "blind-watermark"
    title = "blind-watermark"
    package = "blind-watermark"
    module = "blind_watermark"
    min_side: ClassVar[int] = 64

    def __init__(self, *, bits: int = 32, password_image: int = 1, password_word: int = 1):
        """
        Args:
            password_image, password_word: its `password_img` and `password_wm`; 1 is its own default.
        """
        self.bits = bits
        self._passwords = (password_word, password_image)

    def embed(self, image: np.ndarray, word: np.ndarray) -> np.ndarray:
        """As `_Invisible.embed`."""
        self._check(image, word)
        tool = self._tool()
        tool.read_img(img=_bgr(image))
        tool.read_wm([bool(bit) for bit in word], mode="bit")
        return _rgb(np.clip(np.rint(tool.embed()), 0, 255).astype(np.uint8))

    def read_bits(self, image: np.ndarray) -> np.ndarray:
        """As `_Invisible.read_bits`."""
        self._check(image)
        with np.errstate(invalid="ignore"):  # its clustering takes the mean of nothing on flat images
            found = self._tool().extract(embed_img=_bgr(image), wm_shape=(self.bits,), mode="bit")
        return np.asarray(found).astype(np.uint8)

    def _import(self, module: str | None = None) -> Any:
        """It chooses how processes are started, for the whole program, when it is first imported: not here."""
        import multiprocessing

        real = multiprocessing.set_start_method
        multiprocessing.set_start_method = lambda *_, **__: None  # type: ignore[assignment]
        try:
            return super()._import(module)
        finally:
            multiprocessing.set_start_method = real

    def _tool(self) -> Any:
        package = self._import()
        package.bw_notes.close()  # it prints a greeting
        return package.WaterMark(password_wm=self._passwords[0], password_img=self._passwords[1])

    def _check(self, image: np.ndarray, word: np.ndarray | None = None) -> None:
        check_side(image, self.title, self.min_side)
        blocks = (image.shape[0] // 8) * (image.shape[1] // 8)
        if self.bits >= blocks:
            raise WatermarkError(
                f"{self.bits} bits do not fit into {blocks} blocks", where=self.title, mend="use a larger image"
            )
        _check_word(word, self.bits, self.title)


class TrustMark(_Foreign):
    """Adobe's TrustMark (Bui et al. 2023): 100 raw bits, without its own error correction.

    Its weights are no part of its package: it fetches them from the network on first use. That happens only with
    `allow_network`; without it they must lie in the package's folder `models` already.
    """

    name = "trustmark"
    title = "TrustMark"
    package = "trustmark"
    module = "trustmark"
    slow = True
    bits: ClassVar[int] = 100

    def __init__(self, *, variant: str = "Q", allow_network: bool = False):
        """
        Args:
            variant: 'Q' (its default), 'B', 'C' or 'P'.
            allow_network: let it download its weights, about 100 MB, from Adobe.
        """
        self._variant, self._network = variant, allow_network

    def embed(self, image: np.ndarray, word: np.ndarray) -> np.ndarray:
        """As `_Invisible.embed`; also raises where its weights are not there."""
        from PIL import Image

        _check_word(word, self.bits, self.title)
        text = "".join(str(int(bit)) for bit in word)
        return np.array(self._model.encode(Image.fromarray(image), text, MODE="binary").convert("RGB"))

    def read_bits(self, image: np.ndarray) -> np.ndarray:
        """As `_Invisible.read_bits`; also raises where its weights are not there."""
        from PIL import Image

        text = self._model.decode(Image.fromarray(image), MODE="binary")[0]
        return np.array([int(bit) for bit in text], np.uint8)

    def prepare(self) -> None:
        self._model  # noqa: B018

    @cached_property
    def _model(self) -> Any:
        if not self._network:
            self._check_weights()
        package = self._import()
        model = package.TrustMark(
            use_ECC=False, verbose=False, secret_len=self.bits, model_type=self._variant, loadRemover=False
        )
        if model.encoder is None or model.decoder is None:
            raise WatermarkError("TrustMark could not fetch its weights", where=self.package, mend="check the network")
        return model

    def _check_weights(self) -> None:
        """Raise WatermarkError unless every file that it would fetch is there, whole."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            self._import()
            return
        sums = self._import("trustmark.trustmark").MODEL_CHECKSUMS
        folder = Path(spec.submodule_search_locations[0]) / "models"
        variant = self._variant
        for kind in (f"trustmark_{variant}.yaml", f"encoder_{variant}.ckpt", f"decoder_{variant}.ckpt"):
            path = folder / kind
            # MD5 is what its authors published; it is a check of wholeness here, not of trust.
            whole = path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == sums[kind]
            if not whole:
                raise WatermarkError(
                    f"TrustMark's weights are not on this machine: {kind}",
                    where=self.package,
                    mend="allow the network once: auditkit.watermark.foreign.TrustMark(allow_network=True), or put "
                    "the files of Adobe's TrustMark into the folder 'models' of the package trustmark",
                )


def _check_word(word: np.ndarray | None, bits: int, title: str) -> None:
    if word is not None and len(word) != bits:
        raise WatermarkError(
            f"{title} takes a word of {bits} bits, not {len(word)}", where=title, mend=f"give {bits} bits"
        )


def _bgr(image: np.ndarray) -> np.ndarray:
    """OpenCV's order of channels, contiguous."""
    return np.ascontiguousarray(image[..., ::-1])


_rgb = _bgr
