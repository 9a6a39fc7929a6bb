"""How often the forgery check of `spread` suspects honest marks, edited marks and forgeries.

    python -m benchmarks.watermark_forgery --photographs photographs

On the test images, photographs and graphics: every image is marked; counted are those in which the mark is present at
1e-6, without search, and of these the answers of `forgery.check`.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from auditkit.watermark import forgery
from auditkit.watermark.base import unpadded
from auditkit.watermark.embedding import embed
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload, encode
from auditkit.watermark.schemes import scheme
from auditkit.watermark.statistics import null_bound, word_p_value

KEY, PAYLOAD, OTHER = Key.from_secret(bytes(32)), Payload(1, 42), Payload(7, 99)
NAME = "spread"


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.5, 0, 255).astype(np.uint8)


def halved(image: np.ndarray) -> np.ndarray:
    whole = Image.fromarray(image)
    return np.asarray(whole.resize((whole.width // 2, whole.height // 2)).resize(whole.size))


def erased(image: np.ndarray) -> np.ndarray:
    out = image.copy()
    out[128:384, 128:384] = 128
    return out


def captioned(image: np.ndarray) -> np.ndarray:
    out = image.copy()
    out[-60:] = 255
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder made by benchmarks.photographs")
    files = sorted(parser.parse_args().photographs.glob("*/test/*.png"))
    plain = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    marked = [embed(image, NAME, KEY, PAYLOAD) for image in plain]
    n = len(plain)
    others = [[marked[(i + j) % n] for j in range(1, 6)] for i in range(n)]
    tried = {
        "as marked": marked,
        "JPEG 50": [jpeg(each, 50) for each in marked],
        "JPEG 25": [jpeg(each, 25) for each in marked],
        "brightness 1.5": [brighter(each) for each in marked],
        "resized to half and back": [halved(each) for each in marked],
        "cropped in the middle": [each[50:462, 50:462] for each in marked],
        "right quarter cut off": [each[:, :384] for each in marked],
        "a quarter erased": [erased(each) for each in marked],
        "white caption of 60 px": [captioned(each) for each in marked],
        "FORGED: copied": [forgery.copied(o[0], image, gain=2) for o, image in zip(others, plain, strict=True)],
        "FORGED: mean of five": [forgery.averaged(o, image, gain=2) for o, image in zip(others, plain, strict=True)],
        "FORGED: second payload": [forgery.marked_again(each, NAME, KEY, OTHER) for each in marked],
    }
    reader = scheme(NAME)
    for what, images in tried.items():
        found: Counter[str] = Counter()
        for image in images:
            reading = reader.read(image, KEY, search=False)
            soft = unpadded(reading.soft, NAME, KEY)
            if not reading.unusable and word_p_value(soft, encode(PAYLOAD, reader.bits)) <= 1e-6:
                found[forgery.check(reading, soft, PAYLOAD).outcome] += 1
        most = null_bound(found["suspect"], max(found.total(), 1))
        said = ", ".join(f"{outcome} {found[outcome]}" for outcome in ("consistent", "suspect", "not checked"))
        print(f"{what}: present in {found.total()} of {n}; {said} (suspected in at most {most:.2f})", flush=True)


if __name__ == "__main__":
    main()
