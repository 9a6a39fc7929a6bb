"""Images/s of embedding a run against a plain open_clip loop over its files, same model, same process, same threads.

    python -m benchmarks.embed RUN [--images 400] [--repeats 5] [--encoder personas-clip]

The plain loop is open_clip's own example: open, preprocess, encode_image, normalise, one image at a time. Rounds of
both alternate; the figures are medians. The last line is the second call on the same run: nothing is embedded again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from auditkit.clip.encoders import Encoder, embed_run, load_encoder
from auditkit.runs import open_run


def plain(encoder: Encoder, paths: list[Path]) -> None:
    """open_clip's loop from its README."""
    import torch
    from PIL import Image

    model: Any = encoder._model
    with torch.no_grad():
        for path in paths:
            features = model.encode_image(encoder._preprocess(Image.open(path)).unsqueeze(0))
            features /= features.norm(dim=-1, keepdim=True)


def seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--encoder", default="personas-clip")
    asked = parser.parse_args()
    run, encoder = open_run(asked.run), load_encoder(asked.encoder)
    ids = run.images()["id"].drop_duplicates().head(asked.images)
    paths = [run.image_path(id) for id in ids]
    plain(encoder, paths[:8])
    encoder.embed_images(paths[:64])
    ours, theirs = [], []
    for _ in range(asked.repeats):
        theirs.append(len(paths) / seconds(lambda: plain(encoder, paths)))
        ours.append(len(paths) / seconds(lambda: encoder.embed_images(paths)))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"auditkit {a:.1f} images/s, plain open_clip loop {b:.1f} images/s, ratio {a / b:.2f}")
    embed_run(run, encoder)
    again = seconds(lambda: embed_run(run, encoder))
    print(f"a second time on the same run: {again:.2f} s for {len(run.images())} images")


if __name__ == "__main__":
    main()
