"""Do the mitigations reach what was asked of them? `auditkit mitigate` toward gender and toward gender x tone, by goal.

    python -m benchmarks.mitigation --out build/mitigation --images-per-prompt 10 [--methods all] [--spec occupations]

Goals, on `personas`, over the occupations planted unbalanced, judged by `personas-clip-judge`: total variation of
gender down by 70% for three methods and by 90% for one, of joint gender x tone by 60%, occupation fidelity down by no
more than 2 points, near-duplicates not more, 1.5x the seconds (1.05x for one method), balanced occupations balanced.
Interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import auditkit as ak
from auditkit.guidance.evaluated import Evaluation
from auditkit.guidance.study import SET
from auditkit.guidance.verdicts import ALPHA, headline

TUNED = {
    "group-guidance": {"scale": 1.25, "until": 0.5},
    "distribution-guidance": {"scale": 2.5},
    "semantic-guidance": {"scale": 2, "threshold": 0.5, "warmup": 0, "until": 0.4},
    "weak-guidance": {"scale": 2, "until": 0.3},
}
"""Options tuned on three occupations (benchmarks/mitigation_few.toml), where their own differ: those are the papers',
for Stable Diffusion at guidance 7.5."""
TARGETS = {"gender": "gender=uniform", "joint": "gender+skin_tone=uniform"}


def goals(made: Evaluation) -> pd.DataFrame:
    """A row a method: reductions (shares), fidelity and near-duplicates (points), ratios, balanced groups that left
    their target, and which goals hold; NaN where nothing is claimed."""
    rows = []
    for label in made.methods:
        own = made.judged[made.judged["method"] == label]

        def change(measure: str, own: pd.DataFrame = own) -> float:
            found = own[(own["measure"] == measure) & (own["group_by"] == SET)]
            return float(found["estimate"].iloc[0]) if len(found) else float("nan")

        gender, joint = (headline(own, name, "reduction")["estimate"] for name in ("gender", "gender+skin_tone"))
        near = _near(made, label)
        stayed = own[own["measure"] == "stayed_balanced"]
        off = int((stayed["p_holm"] <= ALPHA).sum())
        rows.append(
            {"method": label, "gender": gender, "joint": joint, "fidelity": 100 * change("fidelity"), "near": near,
             "seconds": change("seconds"), "joules": change("joules"), "left balance": f"{off} of {len(stayed)}",
             "verdict": made.verdicts[label].verdict}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    held = (table["fidelity"] >= -2) & (table["near"] <= 0) & (table["seconds"] <= 1.5)
    return table.assign(**{"-70%": table["gender"] >= 0.7, "-90%": table["gender"] >= 0.9,
                           "joint -60%": table["joint"] >= 0.6, "price held": held})  # fmt: skip


def _near(made: Evaluation, label: str) -> float:
    """Change of near-duplicates, points, by the encoder that has thresholds for them."""
    rows = made.effects[(made.effects["method"] == label) & (made.effects["measure"] == "near_duplicates")]
    told = rows[rows["status"] == "ok"]["estimate"]
    return 100 * float(told.iloc[0]) if len(told) else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spec", default="occupations")
    parser.add_argument("--generator", default="personas")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--default-options", action="store_true", help="the methods' own options in place of TUNED")
    parser.add_argument("--images-per-prompt", type=int, default=10)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--target", choices=[*TARGETS, "both"], default="both")
    asked = parser.parse_args()
    named = set(TUNED) if asked.methods == "all" else set(asked.methods.split(","))
    options = {} if asked.default_options else {key: value for key, value in TUNED.items() if key in named}
    for name in TARGETS if asked.target == "both" else [asked.target]:
        done = ak.mitigate(
            asked.spec, generator=asked.generator, methods=asked.methods, target=TARGETS[name], steps=asked.steps,
            options=options,
            images_per_prompt=asked.images_per_prompt, device=asked.device, out=asked.out / name, progress=True,
        )  # fmt: skip
        print(f"\n{TARGETS[name]}, judged by {done.evaluation.record['judge']}: {done.page}")
        print(goals(done.evaluation).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
