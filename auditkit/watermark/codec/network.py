"""The learned codec's networks: a bank of periodic patterns, an encoder that fits them to the image, a decoder.

A word of +-1 signs selects a tile: the signed sum of 127 learned, band-limited patterns, repeated over the image. The
encoder (`Encoder`) shapes it to the image under a visibility mask; the decoder's convolutional front (`Decoder.front`)
estimates the mark and suppresses the image, its tiles are averaged, and one correlation a bit gives the logits. Both
start as classic spread spectrum (Cox et al. 1997), which already reads, and are then trained together end to end
against attacks (Zhu et al. 2018, HiDDeN) at a fixed PSNR. Since the tile repeats, a crop only shifts it, and a rotation
or a change of scale shows as a turned or scaled lattice in the spectrum (`reading`).

Everything works on luminance at `SIDE` pixels for the shorter side, whatever the size of the image.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 256
"""Pixels of the shorter side at which marks are made and read."""
SMALL, SMALL_SIDE = 112, 181
"""Images with a shorter side under `SMALL` pixels are worked on at `SMALL_SIDE`; at `SIDE` the pattern is too fine."""
MAX_LONG = 2048
"""Most pixels of the longer side; images of a more extreme shape are worked on at a smaller scale."""
BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Config:
    """What a codec's weights were trained for.

    Attributes:
        bits: length of the word. tile: period of the pattern in working pixels; a multiple of 4.
        low, high: band of the patterns, cycles per working pixel.
        encoder_width, encoder_blocks, decoder_width, decoder_blocks: of the convolutional bodies.
    """

    bits: int = 127
    tile: int = 32
    low: float = 0.04
    high: float = 0.27
    encoder_width: int = 48
    encoder_blocks: int = 2
    decoder_width: int = 64
    decoder_blocks: int = 3


def lattice(tile: int, low: float, high: float) -> Tensor:
    """Frequencies of the band, one of each conjugate pair: int64 [k, 2], whole cycles a tile (y, x)."""
    reach = range(-(tile // 2) + 1, tile // 2)
    chosen = [
        (y, x) for y in reach for x in reach if (y > 0 or (y == 0 and x > 0)) and low <= math.hypot(y, x) / tile <= high
    ]
    return torch.tensor(chosen)


class Bank(nn.Module):
    """One pattern a bit, as coefficients on the sines and cosines of the band."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self.tile = config.tile
        self.waves = lattice(config.tile, config.low, config.high).numpy()
        turns = torch.from_numpy(self.waves).double() / config.tile
        ramp = torch.arange(config.tile).double()
        angle = 2 * math.pi * (turns[:, 0, None, None] * ramp[:, None] + turns[:, 1, None, None] * ramp[None, :])
        basis = torch.cat([angle.cos(), angle.sin()]) * math.sqrt(2)  # each of unit mean square
        self.register_buffer("basis", basis.flatten(1).float(), persistent=False)
        if len(basis) < config.bits:
            raise ValueError(f"a band of {len(basis)} waves cannot hold {config.bits} orthogonal patterns")
        start = torch.linalg.qr(torch.randn(len(basis), config.bits, generator=generator, dtype=torch.float64))[0]
        self.coefficients = nn.Parameter(start.T.float().contiguous())

    def forward(self) -> Tensor:
        """Patterns, float [bits, tile * tile], each of unit mean square."""
        basis: Tensor = self.get_buffer("basis")
        return F.normalize(self.coefficients.float(), dim=1) @ basis


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.first(F.gelu(x))))


def _body(inputs: int, width: int, blocks: int, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    middle = [_Block(width, 1 + index % 2) for index in range(blocks)]
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), *middle, nn.GELU(), last)


class Encoder(nn.Module):
    """Makes the residual that carries a word."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self.bank = Bank(config, generator)
        self.body = _body(16 * 3, config.encoder_width, config.encoder_blocks, 32)

    def forward(self, luma: Tensor, signs: Tensor) -> Tensor:
        """Residual of no fixed scale, float [n, 1, h, w]; the caller scales it to the PSNR.

        Args:
            luma: float [n, 1, h, w] in [0, 1], at working size. signs: float [n, bits] in {-1, 1}.
        """
        height, width = luma.shape[-2:]
        luma = _padded(luma)
        tile = self.bank.tile
        patterns = (signs.float() @ self.bank() / math.sqrt(signs.shape[1])).view(-1, 1, tile, tile)
        wave = _tiled(patterns, *luma.shape[-2:])
        mask = visibility(luma)
        inputs = torch.cat([luma * 2 - 1, wave, (mask * 20).log()], 1)
        gain, shift = F.pixel_shuffle(self.body(F.pixel_unshuffle(inputs, 4)).float(), 4).chunk(2, 1)
        shaped = wave * (1 + 0.9 * gain.tanh()) + 1.5 * shift.tanh()
        return (mask * shaped)[..., :height, :width]


class Decoder(nn.Module):
    """Reads the word: logits, positive for 1."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self.bank = Bank(config, generator)
        self.body = _body(16 + 2, config.decoder_width, config.decoder_blocks, 32)
        self.log_gain = nn.Parameter(torch.tensor(math.log(100.0)))

    def front(self, luma: Tensor) -> Tensor:
        """Estimate of the mark, the image suppressed: float [n, 1, h, w] from luma [n, 1, h, w] in [0, 1]."""
        height, width = luma.shape[-2:]
        luma = _padded(luma.float())
        high = luma - _box(luma, 9)
        spread = (_box(high.square(), 17) + 1e-7).sqrt() + 0.004  # one grey level: quantisation is not the image
        white = high / spread
        coarse = torch.cat([F.avg_pool2d(luma, 4) * 2 - 1, F.avg_pool2d((spread * 20).log(), 4)], 1)
        inputs = torch.cat([F.pixel_unshuffle(white, 4), coarse], 1)
        gain, shift = F.pixel_shuffle(self.body(inputs).float(), 4).chunk(2, 1)
        return ((1 + gain.tanh()) * (white + shift).tanh())[..., :height, :width]

    def logits(self, mark: Tensor, weight: Tensor | None = None) -> Tensor:
        """Logits [n, bits] from `front`'s estimate at the encoder's own geometry and phase.

        Args:
            mark: float [n, 1, h, w]. weight: float [n, 1, h, w], 0 where the image does not reach; default 1.
        """
        tile = self.bank.tile
        area = mark[0].numel() if weight is None else weight.sum((1, 2, 3)).clamp(min=1)[:, None]
        mark = mark if weight is None else mark * weight
        height, width = mark.shape[-2:]
        mark = F.pad(mark, (0, -width % tile, 0, -height % tile))
        rows, columns = mark.shape[-2] // tile, mark.shape[-1] // tile
        folded = mark.view(len(mark), rows, tile, columns, tile).sum((1, 3)).flatten(1)
        return self.log_gain.exp() * (folded.float() @ self.bank().T) / area

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, bits] of float [n, 3, h, w] in [0, 1] as they stand: whole images, neither shifted nor turned.

        Differentiable. It looks at the image at `working_size`, and at the tile's phase of an image that was not
        cropped; nothing is searched (`reading.candidates` searches).
        """
        return self.logits(self.front(working_luma(images)))


def working_size(height: int, width: int, side: float | None = None) -> tuple[int, int]:
    """Size (height, width) at which an image is worked on: `side` px on the shorter side, `MAX_LONG` at most."""
    if side is None:
        side = SIDE if min(height, width) >= SMALL else SMALL_SIDE
    scale = min(side / min(height, width), MAX_LONG / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def working_luma(images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Luminance (BT.601) at working size: float [n, 1, h', w'] from RGB [n, 3, h, w] in [0, 1]."""
    weights = images.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    luma = (images * weights).sum(1, keepdim=True)
    size = working_size(*images.shape[-2:]) if size is None else size
    if size == tuple(luma.shape[-2:]):
        return luma
    return F.interpolate(luma, size=size, mode="bilinear", antialias=True, align_corners=False)


def visibility(luma: Tensor) -> Tensor:
    """How strongly a residual may stand out at each pixel: float [n, 1, h, w] in 0.02..0.12, larger in texture.

    Local activity is a power mean of exponent 1/2 of the high-passed luminance, so that one edge beside a plain area
    counts for little and texture for much.
    """
    high = (luma - _box(luma, 5)).abs()
    activity = _box((high + 1e-6).sqrt(), 9).square()
    return 0.02 + (1.5 * activity).clamp(max=0.1)


def _tiled(pattern: Tensor, height: int, width: int) -> Tensor:
    tile = pattern.shape[-1]
    return pattern.repeat(1, 1, -(-height // tile), -(-width // tile))[..., :height, :width]


def _padded(luma: Tensor) -> Tensor:
    height, width = luma.shape[-2:]
    if height % 4 == 0 and width % 4 == 0:
        return luma
    return F.pad(luma, (0, -width % 4, 0, -height % 4), mode="replicate")


def _box(x: Tensor, side: int) -> Tensor:
    """Mean over `side` x `side` pixels, those outside left out."""
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


def build(config: Config, seed: int = 0) -> tuple[Encoder, Decoder]:
    """Untrained networks that start from the same orthogonal patterns, and so read each other from the first."""
    return (
        Encoder(config, torch.Generator().manual_seed(seed)),
        Decoder(config, torch.Generator().manual_seed(seed)),
    )


CONFIG, WEIGHTS, HASHES = "config.json", "codec.safetensors", "weights.json"


def save(folder: Path, config: Config, encoder: Encoder, decoder: Decoder) -> Path:
    """Write config.json, the weights in fp16 (codec.safetensors) and their sha256 (weights.json) into `folder`."""
    from safetensors.torch import save as to_bytes

    from auditkit.files import sha256_file, write_atomic, write_json

    tensors = {
        f"{part}.{name}": value.detach().cpu().to(torch.float16 if value.ndim else torch.float32).contiguous()
        for part, module in (("encoder", encoder), ("decoder", decoder))
        for name, value in module.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HASHES).unlink(missing_ok=True)
    write_json(folder / CONFIG, asdict(config))
    write_atomic(folder / WEIGHTS, to_bytes(tensors, metadata={"format": "pt"}))
    write_json(folder / HASHES, {name: sha256_file(folder / name) for name in (CONFIG, WEIGHTS)})
    return folder


def load(folder: Path = BUNDLED, device: str = "cpu") -> tuple[Encoder, Decoder]:
    """The networks that `save` wrote, in float32, for reading alone (no gradients to their weights, eval mode).

    Raises:
        WatermarkError: a file is missing, damaged, or differs from weights.json.
    """
    from safetensors.torch import load as from_bytes

    from auditkit.errors import WatermarkError
    from auditkit.files import sha256_file

    mend = "restore the folder from where it came (for the bundled codec: git checkout, or install auditkit again)"
    try:
        hashes = json.loads((folder / HASHES).read_bytes())
        for name in (CONFIG, WEIGHTS):
            if sha256_file(folder / name) != hashes[name]:
                what = "a file of the codec is not the one in weights.json"
                raise WatermarkError(what, where=folder / name, mend=mend)
        config = Config(**json.loads((folder / CONFIG).read_bytes()))
        tensors = {name: value.float() for name, value in from_bytes((folder / WEIGHTS).read_bytes()).items()}
        parts = build(config)
        for name, module in zip(("encoder", "decoder"), parts, strict=True):
            module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(name)})
            module.to(device).eval().requires_grad_(False)
    except WatermarkError:
        raise
    except Exception as error:  # json, safetensors and torch raise many kinds; each means the same to the user
        raise WatermarkError(f"the codec's weights cannot be read: {error}", where=folder, mend=mend) from error
    return parts


def load_decoder(device: str = "cpu") -> Decoder:
    """The bundled decoder: float [n, 3, h, w] in [0, 1] to logits [n, 127], as `Decoder.forward` says."""
    return load(BUNDLED, device)[1]
