"""A run that was steered evenly, as data to fine-tune on: each image under its prompt without the group.

    auditkit generate occupations -g personas --mitigation prompt-diversification --target gender=uniform -n 4
    python -m benchmarks.even_data runs/RUN even-data
    auditkit train generator --data even-data --init generators/bundled/personas --balance gender \
        --balance-within occupation --steps 150 --batch 32 --lr 1e-4 --device cpu --out even
    auditkit mitigate occupations -g personas --methods rebalanced-finetuning --target gender=uniform -n 4 \
        --option rebalanced-finetuning.checkpoint=even/export --out mitigation-even
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

from auditkit.runs import open_run


def main() -> None:
    run, out = open_run(Path(sys.argv[1])), Path(sys.argv[2])
    out.mkdir(parents=True)
    images = run.images().drop_duplicates("id").reset_index(drop=True)
    for place, id in enumerate(images["id"]):
        shutil.copy(run.image_path(id), out / f"{place:04d}.png")
    pd.DataFrame(
        {
            "file_name": [f"{place:04d}.png" for place in range(len(images))],
            "text": images["prompt"],
            "occupation": images["axis_occupation"],
            "gender": images["steered_to"],
        }
    ).to_csv(out / "metadata.csv", index=False)
    print(f"{len(images)} images: {images['steered_to'].value_counts().to_dict()}")


if __name__ == "__main__":
    main()
