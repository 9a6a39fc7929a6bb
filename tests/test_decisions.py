"""The moderators' log: append-only, checked line by line, with undo, agreement and export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditkit import annotations, decisions
from auditkit.errors import TableError

IDS = [f"{i:064x}" for i in range(30)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def test_a_decision_is_a_line_with_reviewer_reason_and_time(log):
    made = decisions.decide(log, IDS[0], "remove", reviewer="ana", reason="violence", known=IDS)
    assert decisions.read(log) == [made]
    assert (made.number, made.verdict, made.reason, made.reviewer, made.previous) == (
        1, "remove", "violence", "ana", "",
    )  # fmt: skip
    assert made.time.endswith("+00:00")


def test_the_last_decision_of_a_reviewer_stands_and_the_earlier_one_stays_in_the_log(log):
    decisions.decide(log, IDS[0], "allow", reviewer="ana")
    decisions.decide(log, IDS[0], "restrict", reviewer="ana", reason="hate")
    held = decisions.read(log)
    assert len(held) == 2
    assert decisions.standing(held)[IDS[0]]["ana"].verdict == "restrict"


def test_undo_adds_a_line_and_what_stood_before_stands_again(log):
    decisions.decide(log, IDS[0], "allow", reviewer="ana")
    decisions.decide(log, IDS[0], "restrict", reviewer="ana", reason="hate")
    decisions.decide(log, IDS[1], "allow", reviewer="ben")
    assert decisions.undo(log, reviewer="ana").number == 2
    held = decisions.read(log)
    assert len(held) == 4
    assert decisions.standing(held)[IDS[0]]["ana"].verdict == "allow"
    assert decisions.undo(log, reviewer="ana").number == 1
    with pytest.raises(TableError, match="no decision of ana to take back"):
        decisions.undo(log, reviewer="ana")


def test_a_decision_of_somebody_else_is_taken_back_by_its_number(log):
    decisions.decide(log, IDS[0], "allow", reviewer="ana")
    decisions.undo(log, reviewer="ben", number=1)
    assert decisions.standing(decisions.read(log)) == {}


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"verdict": "burn"}, "'burn' is no verdict"),
        ({"verdict": "remove"}, "needs a reason"),
        ({"verdict": "remove", "reason": "boring"}, "is no reason"),
        ({"verdict": "remove", "reason": "other"}, "needs a note"),
        ({"verdict": "allow", "note": "x" * 501}, "501 signs"),
        ({"verdict": "allow", "item": "../../etc/passwd"}, "there is no image"),
        ({"verdict": "allow", "reviewer": "ana@example.org"}, "pseudonym"),
    ],
)
def test_what_does_not_hold_is_refused_and_nothing_is_written(log, told, what):
    given = {"item": IDS[0], "reviewer": "ana"} | told
    with pytest.raises(TableError, match=what):
        decisions.decide(log, given.pop("item"), given.pop("verdict"), known=IDS, **given)
    assert not log.exists()


def test_a_line_changed_or_taken_out_is_noticed(log):
    for id in IDS[:3]:
        decisions.decide(log, id, "allow", reviewer="ana")
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0].replace("allow", "escalate"), *lines[1:]]) + "\n")
    with pytest.raises(TableError, match="does not follow"):
        decisions.read(log)
    log.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(TableError, match="does not follow"):
        decisions.decide(log, IDS[4], "allow", reviewer="ana")


def test_a_line_that_takes_back_nothing_is_damage(log):
    line = {"number": 1, "item": IDS[0], "reviewer": "ana", "time": "", "undoes": 7, "previous": ""}
    log.write_text(json.dumps(line) + "\n")
    with pytest.raises(TableError, match="neither decides nor takes back"):
        decisions.read(log)


def test_agreement_is_insufficient_with_one_reviewer_or_few_images(log):
    for id in IDS[:25]:
        decisions.decide(log, id, "allow", reviewer="ana")
    alone = decisions.agreement(decisions.read(log))
    assert (alone.status, alone.note) == ("insufficient", "fewer than two reviewers")
    decisions.decide(log, IDS[0], "allow", reviewer="ben")
    few = decisions.agreement(decisions.read(log))
    assert few.note == "1 image has two verdicts; 20 are needed"
    assert few.found.alpha != few.found.alpha


def test_agreement_is_krippendorffs_alpha_of_the_standing_verdicts_with_an_interval(log):
    krippendorff = pytest.importorskip("krippendorff")
    codes = {"allow": 0, "remove": 1}
    said = {"ana": [], "ben": []}
    for i, id in enumerate(IDS):
        for who, verdict in (
            ("ana", "remove" if i % 3 == 0 else "allow"),
            ("ben", "remove" if i % 4 == 0 else "allow"),
        ):
            said[who].append(codes[verdict])
            decisions.decide(log, id, verdict, reviewer=who, reason="" if verdict == "allow" else "violence")
    found = decisions.agreement(decisions.read(log))
    expected = krippendorff.alpha(list(said.values()), level_of_measurement="nominal")
    assert found.found.alpha == pytest.approx(expected)
    assert found.found.low < expected < found.found.high
    assert found.reviewers == {"ana": 30, "ben": 30}


def test_reviewers_who_differ_leave_an_image_disputed(log):
    decisions.decide(log, IDS[0], "allow", reviewer="ana")
    assert decisions.outcome(decisions.standing(decisions.read(log))[IDS[0]]) == "allow"
    decisions.decide(log, IDS[0], "remove", reviewer="ben", reason="hate")
    assert decisions.outcome(decisions.standing(decisions.read(log))[IDS[0]]) == "disputed"
    assert decisions.outcome({}) == ""


def test_the_export_tells_what_stands_and_holds_no_formula(log):
    decisions.decide(log, IDS[0], "remove", reviewer="ana", reason="other", note="=cmd()")
    decisions.undo(log, reviewer="ana")
    decisions.decide(log, IDS[1], "allow", reviewer="ana")
    told = decisions.rows(decisions.read(log), {IDS[0]: "a.png"})
    assert [row["stands"] for row in told] == ["no", "yes"]
    assert told[0]["taken back by"] == "2"
    assert ",'=cmd()," in decisions.to_csv(decisions.read(log))


def test_a_sample_drawn_for_the_dashboard_is_the_one_that_an_export_would_draw(tiny_run, tmp_path):
    drawn = annotations.draw(tiny_run, "gender", n=10, seed=3)
    assert [one.sample for one in annotations.samples(tiny_run)] == [drawn.sample]
    second = annotations.export(tiny_run, "gender", n=5, out=tmp_path / "labelling", seed=3).sample
    assert not set(second.ids) & set(drawn.ids)


def test_each_rater_has_an_order_of_their_own_and_the_same_one_again(tiny_run):
    drawn = annotations.draw(tiny_run, "gender", n=10)
    assert annotations.order(drawn, "ana") == annotations.order(drawn, "ana") != annotations.order(drawn, "ben")
    assert set(annotations.order(drawn, "ana")) == set(drawn.ids)
