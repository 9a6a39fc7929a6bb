"""People's labels, end to end: drawn at random, handed out blind, taken in whole or not at all, and put together."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_run
from plan_helpers import made, plan

from auditkit.annotations import (
    adjudicate,
    adjudicated,
    agreement,
    annotate,
    export,
    import_csv,
    ratings,
    samples,
)
from auditkit.annotations.exporting import harmless
from auditkit.errors import PluginError, RunError, TableError
from auditkit.runs import Run, open_run, seal, verify


@pytest.fixture(scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run.make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=50, measured=False).path


@pytest.fixture
def run(_source: Path, tmp_path: Path) -> Run:
    import shutil

    return open_run(shutil.copytree(_source, tmp_path / "run"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: list[dict[str, str]], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def truth(run: Run, attribute: str = "gender") -> dict[str, str]:
    """The class that the synthetic scores were made of."""
    table = run.scores(attribute)[f"{attribute}@personas-clip"].set_index("id")
    columns = [column for column in table.columns if column.startswith("p_")]
    return table[columns].idxmax(axis=1).str[2:].to_dict()


def labelled(run: Run, folder: Path, rater: str, errors: float = 0.0, attribute: str = "gender", seed: int = 0) -> Path:
    """The rater's CSV filled in with the truth, but for a part that is another class."""
    rng, right = np.random.default_rng([seed, ord(rater)]), truth(run, attribute)
    classes, rows = synthetic_run.CLASSES[attribute], read(folder / rater / "labels.csv")
    for row in rows:
        label = right[row["id"]]
        wrong = rng.random() < errors
        row["label"] = str(rng.choice([c for c in classes if c != label])) if wrong else label
    return write(folder / rater / "done.csv", rows)


# Sampling and handing out


def test_each_rater_gets_the_same_images_in_an_order_of_their_own(run: Run, tmp_path: Path) -> None:
    done = export(run, "gender", n=40, raters=3, out=tmp_path / "out")
    ids = [[row["id"] for row in read(folder / "labels.csv")] for folder in done.folders.values()]
    assert list(done.folders) == ["A", "B", "C"]
    assert set(ids[0]) == set(ids[1]) == set(ids[2]) == set(done.sample.ids)
    assert ids[0] != ids[1] != ids[2]
    for row in read(tmp_path / "out" / "A" / "labels.csv"):
        copy = tmp_path / "out" / "A" / row["image"]
        assert copy.read_bytes() == run.image_path(row["id"]).read_bytes()


def test_what_is_handed_out_tells_neither_scores_nor_prompts(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=10, raters=1, out=tmp_path / "out")
    folder = tmp_path / "out" / "A"
    text = "".join((folder / name).read_text() for name in ("labels.csv", "sheet.html", "INSTRUCTIONS.txt"))
    for secret in ("nurse", "judge", "portrait", "confidence", "personas-clip", "occupation"):
        assert secret not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_sample_is_recorded_with_its_seed_and_is_the_same_for_the_same_seed(run: Run, tmp_path: Path) -> None:
    one = export(run, "gender", n=25, seed=4, out=tmp_path / "a").sample
    assert [s.model_dump() for s in samples(run)] == [one.model_dump()]
    assert (one.sample, one.seed, one.method, one.frame) == ("gender-1", 4, "simple random", 250)
    assert one.inclusion == {"all": 0.1}
    (run.path / "samples.jsonl").unlink()
    assert export(run, "gender", n=25, seed=4, out=tmp_path / "b").sample.ids == one.ids
    (run.path / "samples.jsonl").unlink()
    assert export(run, "gender", n=25, seed=5, out=tmp_path / "c").sample.ids != one.ids


def test_every_image_is_as_likely_to_be_drawn(run: Run, tmp_path: Path) -> None:
    from auditkit.annotations.exporting import _draw

    drawn: Counter[str] = Counter()
    for seed in range(200):
        drawn.update(_draw(run, "gender", ["female", "male"], 50, ["A"], seed, None, []).ids)
    counts = np.array([drawn[id] for id in run.images()["id"]])
    chi2 = ((counts - 40) ** 2 / (40 * 0.8)).sum()  # 249 degrees of freedom
    assert abs(chi2 - 249) < 4 * math.sqrt(2 * 249)


def test_a_second_round_draws_images_not_drawn_before_and_both_make_one_sample(run: Run, tmp_path: Path) -> None:
    first = export(run, "gender", n=25, out=tmp_path / "a").sample
    second = export(run, "gender", n=50, out=tmp_path / "b").sample
    assert second.sample == "gender-2"
    assert not set(first.ids) & set(second.ids)
    assert set(adjudicate(run, "gender").inclusion.values()) == {0.3}
    assert export(run, "skin_tone", n=5, out=tmp_path / "c").sample.sample == "skin_tone-1"


def test_a_stratified_sample_has_as_many_of_each_group_and_their_probabilities(run: Run, tmp_path: Path) -> None:
    sample = export(run, "gender", n=50, stratify="occupation", out=tmp_path / "out").sample
    assert sample.method == "stratified random"
    assert Counter(sample.strata) == dict.fromkeys(synthetic_run.FEMALE, 10)
    assert sample.inclusion == dict.fromkeys(synthetic_run.FEMALE, pytest.approx(1 / 5))
    groups = run.images().set_index("id")["axis_occupation"]
    assert [groups[id] for id in sample.ids] == sample.strata
    with pytest.raises(TableError, match="stratified random sample by occupation already"):
        export(run, "gender", n=50, out=tmp_path / "other")


def test_images_that_share_their_bytes_are_drawn_once(run: Run, tmp_path: Path) -> None:
    images = run.images()
    images.loc[1, ["id", "path"]] = images.loc[0, ["id", "path"]].to_numpy()
    run.__dict__["_images"] = images
    sample = export(run, "gender", n=249, out=tmp_path / "out").sample
    assert sample.frame == len(set(sample.ids)) == 249


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 251}, TableError, "251 images are wanted, and 250 are left"),
        ({"n": 0}, TableError, "cannot be"),
        ({"n": 5, "raters": 27}, TableError, "cannot be"),
        ({"n": 5, "stratify": "place"}, TableError, "no axis 'place'"),
    ],
)
def test_a_sample_that_cannot_be_leaves_nothing_behind(
    run: Run, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        export(run, "gender", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert not (run.path / "samples.jsonl").exists()


def test_an_unknown_attribute_and_a_folder_that_exists_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PluginError):
        export(run, "height", n=5, out=tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="exists already"):
        export(run, "gender", n=5, out=tmp_path / "out")


def test_a_missing_image_leaves_neither_folder_nor_sample(run: Run, tmp_path: Path) -> None:
    for path in run.path.glob("images/*/*.png"):
        path.unlink()
    with pytest.raises(RunError, match="cannot be written"):
        export(run, "gender", n=5, out=tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert samples(run) == []


def test_a_run_that_may_still_grow_is_not_sampled(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="may still grow"):
        export(made(tmp_path / "runs", plan([4, 12])), "gender", n=5, out=tmp_path / "out")


def test_a_sample_of_fewer_images_than_the_run_has_now_is_not_used(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=5, out=tmp_path / "out")
    path = run.path / "samples.jsonl"
    path.write_text(path.read_text().replace('"frame": 250', '"frame": 200'))
    with pytest.raises(TableError, match="drawn of 200 images, and the run has 250 now"):
        adjudicate(run, "gender")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_spreadsheet_takes_a_cell_for_a_formula(cell: str) -> None:
    assert harmless(cell) == "'" + cell
    assert harmless("female") == "female"


def test_a_class_name_cannot_break_out_of_the_sheet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditkit.clip import attributes

    wild = attributes.Attribute("gender", "</script><script>alert(1)</script>", {"</script>": ["x"], "female": ["y"]})
    monkeypatch.setattr(attributes, "attribute", lambda name: wild)
    export(run, "gender", n=3, raters=1, out=tmp_path / "out")
    page = (tmp_path / "out" / "A" / "sheet.html").read_text()
    assert page.count("</script>") == 2  # the data's and the code's own
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["labels"][0] == "</script>"


# Taking in


def test_labels_come_back_through_the_whole_way(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=100, raters=2, out=tmp_path / "out")
    for rater in "AB":
        done = import_csv(run, labelled(run, tmp_path / "out", rater), rater=rater)
        assert (done.labels, done.empty) == ({"gender-1": 100}, 0)
    given = ratings(run)
    assert len(given) == 200
    assert {a.rater for a in given} == {"A", "B"}
    right = truth(run)
    assert adjudicated(run, "gender") == {a.id: right[a.id] for a in given}
    found = agreement(run, "gender")
    assert (found.status, found.found.alpha, found.level) == ("ok", 1.0, "nominal")
    assert [p for p in verify(run) if p.kind != "unsealed"] == []
    seal(run)
    assert verify(run) == []


def test_the_labelled_part_recovers_the_share_of_the_whole(run: Run, tmp_path: Path) -> None:
    """250 images, 150 of them labelled by one perfect rater: within three standard errors of the run's own share."""
    export(run, "gender", n=150, raters=1, out=tmp_path / "out")
    import_csv(run, labelled(run, tmp_path / "out", "A"), rater="A")
    labels = list(adjudicated(run, "gender").values())
    share = np.mean([label == "female" for label in labels])
    whole = np.mean([label == "female" for label in truth(run).values()])
    assert share == pytest.approx(whole, abs=3 * math.sqrt(0.25 / 150 * 100 / 250))


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), ("\t", "utf-8")])
def test_what_spreadsheets_make_of_a_csv_is_read(run: Run, tmp_path: Path, delimiter: str, encoding: str) -> None:
    export(run, "gender", n=6, raters=1, out=tmp_path / "out")
    rows = read(tmp_path / "out" / "A" / "labels.csv")
    for row, label in zip(rows, ["female", "Male ", "UNKNOWN", "none", "", "'male"], strict=True):
        row["label"] = label
    path = write(tmp_path / "x.csv", rows, delimiter=delimiter, encoding=encoding)
    done = import_csv(run, path, rater="A")
    assert (done.labels, done.empty) == ({"gender-1": 5}, 1)
    assert [a.label for a in ratings(run)] == ["female", "male", "unknown", "none", "male"]


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (3, {"label": "femal"}, "'femal' is no label of gender; did you mean 'female'"),
        (3, {"label": "=cmd|' /C calc'!A0"}, "is no label of gender"),
        (4, {"id": "f" * 64}, "is not in the run"),
        (4, {"id": "../../etc/passwd"}, "is not in the run"),
        (5, {"sample": "gender-9"}, "no sample 'gender-9'"),
        (5, {"rater": "B"}, "the file is rater B's"),
        (2, {"label": "\x1b[31mred"}, "is no label"),
    ],
)
def test_a_line_that_does_not_hold_is_named_and_nothing_is_taken_in(
    run: Run, tmp_path: Path, line: int, change: dict[str, str], message: str
) -> None:
    export(run, "gender", n=8, out=tmp_path / "out")
    rows = read(labelled(run, tmp_path / "out", "A"))
    rows[line - 2] |= change
    with pytest.raises(TableError, match=message.replace("|", r"\|")) as caught:
        import_csv(run, write(tmp_path / "x.csv", rows), rater="A")
    assert str(caught.value.where).endswith(f"x.csv, line {line}")
    assert not (run.path / "annotations.jsonl").exists()


def test_an_image_of_the_run_that_was_not_drawn_does_not_count(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=8, out=tmp_path / "out")
    rows = read(labelled(run, tmp_path / "out", "A"))
    drawn = {row["id"] for row in rows}
    rows[0]["id"] = next(id for id in run.images()["id"] if id not in drawn)
    with pytest.raises(TableError, match="is not of that sample"):
        import_csv(run, write(tmp_path / "x.csv", rows), rater="A")


def test_an_image_labelled_twice_is_named(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=4, out=tmp_path / "out")
    rows = read(labelled(run, tmp_path / "out", "A"))
    with pytest.raises(TableError, match="at line 2") as caught:
        import_csv(run, write(tmp_path / "x.csv", [*rows, rows[0]]), rater="A")
    assert str(caught.value.where).endswith("line 6")
    import_csv(run, write(tmp_path / "x.csv", rows[:2]), rater="A")
    with pytest.raises(TableError, match="already, in the run"):
        import_csv(run, write(tmp_path / "x.csv", rows), rater="A")
    assert len(ratings(run)) == 2
    import_csv(run, write(tmp_path / "x.csv", rows[2:]), rater="A")
    assert len(ratings(run)) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "no column 'sample'"),
        (b"sample,id,label,label\n", "the column 'label' twice"),
        (b"sample,id,label\n", "none of its 0 rows has a label"),
        (b"sample,id,label\ngender-1,x\n", "2 cells, and the header 3"),
        (b"sample,id,label\ngender-1,x,female,more\n", "4 cells, and the header 3"),
        (b'sample,id,label\ngender-1,"x,female\n', "is no CSV"),
        (b"sample,id,label\ngender-1,\x00,female\n", "not in the run|is no CSV"),
        ("sample,id,label\ngender-1,é,x\n".encode("latin-1"), "no UTF-8"),
        (b"PK\x03\x04\xff\xff an xlsx file", "no UTF-8"),
    ],
)
def test_a_file_that_is_no_labels_csv_is_refused(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    export(run, "gender", n=4, out=tmp_path / "out")
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        import_csv(run, path, rater="A")
    assert ratings(run) == []


def test_a_missing_file_and_a_run_without_samples_are_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        import_csv(run, tmp_path / "none.csv", rater="A")
    with pytest.raises(TableError, match="no sample to label"):
        annotate(run, "gender-1", {}, rater="A")
    with pytest.raises(TableError, match="no sample of gender"):
        adjudicate(run, "gender")


@pytest.mark.parametrize("rater", ["", "jane@example.org", "Jane Doe", "../x", "a" * 33])
def test_a_rater_is_a_pseudonym(run: Run, tmp_path: Path, rater: str) -> None:
    sample = export(run, "gender", n=4, out=tmp_path / "out").sample
    with pytest.raises(TableError, match="pseudonym"):
        annotate(run, sample.sample, {sample.ids[0]: "female"}, rater=rater)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "0" * 64}, "is not of the sample"),
        ({"label": "tall"}, "no label of gender"),
        ({"sample": "gender-3"}, "which is not there"),
        ({"rater": "A B"}, "'rater'"),
        ({"more": 1}, "'more'"),
        ({}, "a second time"),
    ],
)
def test_a_line_of_the_record_that_was_tampered_with_is_named(
    run: Run, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    sample = export(run, "gender", n=4, out=tmp_path / "out").sample
    annotate(run, sample.sample, {sample.ids[0]: "female"}, rater="A")
    path = run.path / "annotations.jsonl"
    path.write_text(path.read_text() + json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(TableError, match=message) as caught:
        ratings(run)
    assert str(caught.value.where).endswith("annotations.jsonl, line 2")


# Putting together


def test_most_votes_decide_and_what_is_left_out_is_counted(run: Run, tmp_path: Path) -> None:
    ids = export(run, "gender", n=6, raters=3, out=tmp_path / "out").sample.ids
    votes = {
        ids[0]: ["female", "female", "male"],
        ids[1]: ["female", "male", None],
        ids[2]: ["unknown", "unknown", "male"],
        ids[3]: ["none", "none", "none"],
        ids[4]: ["female", "female", "unknown"],
    }
    for i, rater in enumerate("ABC"):
        annotate(run, "gender-1", {id: v for id, given in votes.items() if (v := given[i])}, rater=rater)
    found = adjudicate(run, "gender")
    assert found.labels == {ids[0]: "female", ids[4]: "female"}
    assert found.left_out == {ids[1]: "tie", ids[2]: "unknown", ids[3]: "none", ids[5]: "unrated"}
    assert found.by is None
    assert found.note.startswith(
        "2 of 6 images of the random sample have a label by people; left out, and taken to be like the rest: "
        "1 where raters disagreed, 1 where they could not tell, 1 where nothing of the kind is shown, "
        "1 where nobody labelled it"
    )
    assert "agreement insufficient: 5 images have two labels; 20 are needed" in found.note


def test_raters_who_err_agree_as_much_as_their_errors_allow(run: Run, tmp_path: Path) -> None:
    export(run, "gender", n=250, raters=2, out=tmp_path / "out")
    for rater in "AB":
        import_csv(run, labelled(run, tmp_path / "out", rater, errors=0.1), rater=rater)
    found = agreement(run, "gender")
    female = np.mean([label == "female" for label in truth(run).values()])
    seen = 0.1 + 0.8 * female
    expected = 1 - 2 * 0.1 * 0.9 / (2 * seen * (1 - seen))
    assert found.status == "ok"
    assert found.found.alpha == pytest.approx(expected, abs=0.14)  # 3 standard errors of 250 images


def test_ordered_classes_are_compared_by_their_order(run: Run, tmp_path: Path) -> None:
    ids = export(run, "skin_tone", n=40, out=tmp_path / "out").sample.ids
    tones, rng = synthetic_run.CLASSES["skin_tone"], np.random.default_rng(0)
    at = rng.integers(1, 4, size=40)
    for rater, off in (("A", np.zeros(40, int)), ("B", rng.integers(-1, 2, size=40))):
        labels = {id: tones[i] for id, i in zip(ids, at + off, strict=True)}
        annotate(run, "skin_tone-1", labels | ({ids[0]: "unknown"} if rater == "B" else {}), rater=rater)
    near, plain = agreement(run, "skin_tone"), agreement(run, "skin_tone", level="nominal")
    assert near.level == "ordinal"
    assert near.found.alpha > plain.found.alpha
    assert near.found.n_units == plain.found.n_units - 1
    assert near.note == "1 labels 'unknown' or 'none' have no place in the order and are left out"


def test_too_little_to_tell_agreement_from_is_insufficient(run: Run, tmp_path: Path) -> None:
    ids = export(run, "gender", n=30, out=tmp_path / "out").sample.ids
    assert agreement(run, "gender").note == "fewer than two raters"
    annotate(run, "gender-1", dict.fromkeys(ids, "female"), rater="A")
    one = agreement(run, "gender")
    assert (one.status, one.note) == ("insufficient", "fewer than two raters")
    annotate(run, "gender-1", dict.fromkeys(ids, "female"), rater="B")
    same = agreement(run, "gender")
    assert same.status == "insufficient"
    assert "all labels are of one class" in same.note
    assert math.isnan(same.found.alpha)
