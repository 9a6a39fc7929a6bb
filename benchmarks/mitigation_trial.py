"""A quick trial of mitigations: one occupation, paired seeds, judged by the encoder that no method is steered by.

    python -m benchmarks.mitigation_trial judge 40 concept-slider concept-slider:scale=1.5,until=0.6

Prints, for the plain model and each method with its options: the share perceived as female (of images that could be
told), how many could not, the share whose perceived occupation is the one asked for, the share that is like the
drawings that the judge knows (spoilt images often are not), and CPU seconds an image. For defaults and impressions;
`auditkit mitigate` is the evaluation.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from auditkit.clip.encoders import load_encoder
from auditkit.clip.zero_shot import ZeroShot
from auditkit.guidance import Request, Steering, steer
from auditkit.prompts import expand, image_seed
from auditkit.spec import RunSpec
from generators.base import Job, pictures
from generators.load import load_generator
from generators.make import resolve_settings

TEMPLATES = ["a portrait of {a occupation}", "a picture of {a occupation}", "an illustration of {a occupation}",
             "a drawing of {a occupation}"]  # fmt: skip


def main(occupation: str, images: int, *methods: str, generator: str = "personas") -> None:
    """See the module."""
    model = load_generator(generator, device="cpu")
    judge = load_encoder("personas-clip-judge", device="cpu")
    each = -(-images // len(TEMPLATES))
    spec = RunSpec(
        name="trial", templates=TEMPLATES, axes={"occupation": [occupation]}, images_per_prompt=each, by="occupation"
    )
    settings = resolve_settings(spec, model.info.defaults)
    print(f"{'method':<60} {'female':>7} {'unknown':>8} {'fidelity':>9} {'in domain':>10} {'CPU s/image':>12}")
    for asked in ("plain", *methods):
        name, _, said = asked.partition(":")
        options = dict(pair.split("=", 1) for pair in said.split(",") if pair)
        seen = model.model(settings.guidance)  # type: ignore[attr-defined]
        steering = None if name == "plain" else steer(Request(name, "gender=uniform", options), spec, seen)
        began = time.process_time()
        if steering is not None:
            steering.method.prepare(seen, steering.policy)
        jobs = [_job(spec, prompt, turn, steering) for prompt in expand(spec) for turn in range(each)]
        if steering is None:
            made = pictures(model.generate(jobs, settings))
        else:
            with model.mitigated(steering.method, seen):  # type: ignore[attr-defined]
                made = pictures(model.generate(jobs, settings))
        took = (time.process_time() - began) / len(jobs)
        embedded = judge.embed_images(made)
        ids = [f"{place:064x}" for place in range(len(made))]
        genders = ZeroShot("gender").score_embeddings(ids, embedded, judge)
        labels, inside = genders["label"].to_numpy(), genders["in_domain"].to_numpy(dtype=float)
        shown = ZeroShot("occupation").score_embeddings(ids, embedded, judge)["label"].to_numpy()
        known = labels != "unknown"
        share = np.mean(labels[known] == "female") if known.any() else float("nan")
        print(
            f"{asked:<60} {share:>7.2f} {int((~known).sum()):>8} {np.mean(shown == occupation):>9.2f} "
            f"{inside.mean():>10.2f} {took:>12.3f}",
            flush=True,
        )


def _job(spec: RunSpec, prompt, turn: int, steering: Steering | None) -> Job:  # type: ignore[no-untyped-def]
    seed = image_seed(spec.seed, prompt.text, turn)
    if steering is None:
        return Job(prompt.text, seed)
    aim = steering.aim(prompt, turn, seed)
    text, negative = steering.method.rewrite(aim, prompt.text, None) if aim.acts else (prompt.text, None)
    return Job(text, seed, negative, aim=aim)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
