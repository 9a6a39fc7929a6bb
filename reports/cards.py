"""Model cards as blocks that page, dashboard and terminal draw alike."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from generators.cards import ATTRIBUTES, ModelCard, number
from generators.known import Known
from reports.chapters.base import Table
from reports.words import MISSING, interval, percent

NOT_MEASURED = "not measured"


def plain(text: str) -> str:
    """A card's sentence without the marks of Markdown."""
    return text.replace("`", "")


def facts(card: ModelCard | None) -> dict[str, str]:
    """What the card says in words, title -> text."""
    if card is None:
        return {}
    told = {"Use": card.use, "Data": card.data, "Planted table": card.planted, "Sampling": card.sampling}
    told |= card.points | {"Limits": " ".join(card.limits), "Licence": card.licence}
    return {title: plain(text) for title, text in told.items() if text}


def notes(one: Known) -> list[str]:
    """How the card's figures were made, and which there are none of."""
    if one.card is None:
        return []
    found = [one.card.fidelity_command if one.card.fidelity else "Fidelity: not measured."]
    if one.planted is not None:
        found.append(one.card.distance_command if one.card.distance else "Distance to the table: not measured.")
    found += [text for each in one.card.training for text in (each.meter, each.note) if text]
    return [plain(text) for text in dict.fromkeys(found)]


def overview(models: Sequence[Known]) -> Table:
    """One row a model."""
    rows = []
    for one in models:
        shown = {f.attribute: f for f in (one.card.fidelity if one.card else []) if f.guidance == one.notes.guidance}
        tone = shown.get("skin_tone")
        rows.append(
            [
                one.name,
                one.pipeline.removesuffix("Pipeline"),
                f"{one.bytes / 1e6:.0f}",
                one.notes.sampler + (f", {one.notes.steps}" if one.notes.steps else ""),
                percent(shown["gender"].as_prompted, 1) if "gender" in shown else MISSING,
                percent(tone.within_one_step, 1) if tone and tone.within_one_step is not None else MISSING,
                percent(shown["occupation"].as_prompted, 1) if "occupation" in shown else MISSING,
                f"{one.card.kilojoules:,.0f}" if one.card and one.card.kilojoules is not None else MISSING,
            ]
        )
    columns = ["Model", "Pipeline", "MB", "Sampler, steps", "Gender as stated", "Tone within a step",
               "Occupation as stated", "Training, kJ"]  # fmt: skip
    caption = "Fidelity at each model's default guidance; energy of the accelerator alone"
    return Table(caption, columns, rows, [False, False, True, False, True, True, True, True])


def tables(one: Known) -> list[Table]:
    """Planted shares, fidelity, distance to the table and trainings of one model; only what there is."""
    card = one.card
    found = [] if one.planted is None else [planted_table(one.planted)]
    if card is None:
        return found
    if card.fidelity:
        found.append(_fidelity(card))
    if card.distance:
        found.append(_distance(card))
    if card.training:
        found.append(_training(card))
    return found


def planted_table(rows: list[dict[str, object]]) -> Table:
    """The planted share of each gender and tone by occupation."""
    frame = pd.DataFrame(rows)
    by = frame.groupby("occupation")
    tones = list(dict.fromkeys(frame["skin_tone"]))
    cells = []
    for occupation, part in by:
        shares = part.groupby("skin_tone")["probability"].sum()
        women = part.loc[part["gender"] == "female", "probability"].sum()
        cells.append([str(occupation), percent(float(women)), *(percent(float(shares[t])) for t in tones)])
    return Table("Planted shares under a neutral prompt", ["Occupation", "Female", *tones], cells,
                 [False, *[True] * (len(tones) + 1)])  # fmt: skip


def _fidelity(card: ModelCard) -> Table:
    rows = [
        [ATTRIBUTES.get(f.attribute, f.attribute), f"{f.guidance:g}", f"{f.n:,}", percent(f.as_prompted, 1),
         interval(f.low, f.high, 1), MISSING if f.within_one_step is None else percent(f.within_one_step, 1)]
        for f in card.fidelity
    ]  # fmt: skip
    columns = ["Stated in the prompt", "Guidance", "Images", "Shown", "95% interval", "Within one step"]
    return Table("Does an image show what its prompt states?", columns, rows, [False, True, True, True, True, True])


def _distance(card: ModelCard) -> Table:
    rows = [
        [ATTRIBUTES.get(d.attribute, d.attribute), f"{d.n:,}", percent(d.estimate, 1), interval(d.low, d.high, 1),
         percent(d.chance, 1)]
        for d in card.distance
    ]  # fmt: skip
    columns = ["Under neutral prompts", "Images", "Distance", "95% interval", "By chance alone"]
    caption = "Distance between the images' shares and the planted table (total variation, mean over groups)"
    return Table(caption, columns, rows, [False, True, True, True, True])


def _training(card: ModelCard) -> Table:
    rows = [
        [t.part, number(t.minutes), number(t.steps), number(t.batch), t.device,
         "not metered" if t.kilojoules is None else f"{t.kilojoules:,.0f}"]
        for t in card.training
    ]  # fmt: skip
    columns = ["Trained", "Minutes", "Steps", "Batch", "Device", "kJ"]
    return Table("Training, with the energy of the accelerator", columns, rows, [False, True, True, True, False, True])
