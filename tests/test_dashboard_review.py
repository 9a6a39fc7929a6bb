"""The view Review by Streamlit's AppTest: the queue, undo, labels, agreement, and what reaches the file system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import synthetic_run
from provenance_helpers import image_bytes
from signed_run_helpers import scan_row, write_scan
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME, words

from app.dashboard import review_source
from auditkit import annotations, decisions
from auditkit.runs import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return synthetic_run.make_run(tmp_path / "runs", images_per_prompt=1)


@pytest.fixture
def show(monkeypatch, run):
    """Opens the view as the reviewer `ana`."""

    def shown(*arguments: str, who: str = "ana", **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent), *arguments])
        test = AppTest.from_string(FRAME.replace("PATH", "review"), default_timeout=30)
        test.session_state["reviewer"] = who
        for name, value in query.items():
            if name == "item":
                test.query_params[name] = value
            else:  # bound to the address, which only a browser has
                test.session_state[name] = value
        return test.run()

    return shown


def log(run: Run) -> Path:
    return run.path / "decisions.jsonl"


def press(test: AppTest, key: str) -> AppTest:
    test.button(key=key).click().run()
    assert not test.exception
    return test


def alts(test: AppTest) -> list[str]:
    return [one.proto.imgs[0].alt for one in test.get("image")]


def test_nothing_can_be_decided_without_a_pseudonym(show):
    test = show(who="")
    assert "Give a pseudonym" in test.info[0].value
    assert not test.button


def test_an_image_is_blurred_until_it_is_asked_for_and_the_next_one_is_blurred_again(show, run):
    test = show()
    hidden = test.get("image")[0].proto.imgs[0].url
    press(test, "show")
    assert test.get("image")[0].proto.imgs[0].url != hidden
    assert test.button(key="show").label == "Blur again"
    press(test, "step Next")
    assert test.button(key="show").label == "Show as it is"


def test_a_decision_is_written_and_the_queue_goes_on(show, run):
    test = show()
    first, second = run.images()["id"][:2]
    press(test, "decide allow")
    assert [(one.item, one.verdict, one.reviewer) for one in decisions.read(log(run))] == [(first, "allow", "ana")]
    assert test.query_params["item"] in (second, [second])
    assert "1 of 5 images" in test.get("progress")[0].proto.text


def test_taking_an_image_down_needs_a_reason(show, run):
    test = show()
    press(test, "decide remove")
    assert "needs a reason" in test.warning[0].value
    assert not log(run).exists()
    press(test, "reason 3")
    press(test, "decide remove")
    assert [(one.verdict, one.reason) for one in decisions.read(log(run))] == [("remove", "violence")]


def test_undo_takes_the_last_decision_back_and_returns_to_its_image(show, run):
    test = show()
    first = run.images()["id"][0]
    press(test, "decide allow")
    press(test, "undo")
    assert decisions.standing(decisions.read(log(run))) == {}
    assert len(decisions.read(log(run))) == 2
    assert test.query_params["item"] in (first, [first])


def test_others_decisions_stay_hidden_in_the_queue(show, run):
    first = run.images()["id"][0]
    decisions.decide(log(run), first, "remove", reviewer="ben", reason="hate")
    test = show(item=first)
    assert "0 of 5 images" in test.get("progress")[0].proto.text
    assert "You decided" not in words(test)
    assert "ben" not in words(test)


def test_every_button_has_a_key_that_can_be_turned_off(show):
    test = show()
    keys = [one.proto.shortcut for one in test.button]
    assert all(keys)
    assert len(set(keys)) == len(keys)
    test.toggle(key="keys").set_value(False).run()
    assert not any(one.proto.shortcut for one in test.button)


@pytest.mark.parametrize("item", ["../../../etc/passwd", "0" * 64])
def test_an_item_that_is_not_in_the_run_reaches_no_file(show, run, item):
    test = show(item=item)
    assert not test.exception
    first = run.images()["id"][0]
    assert test.query_params["item"] in (first, [first])


def test_a_damaged_log_says_so_and_nothing_can_be_decided(show, run):
    log(run).write_text("{}\n")
    test = show()
    assert not test.exception
    assert "line 1" in test.warning[0].value
    assert "decide allow" not in [one.key for one in test.button]


def scan_of(run: Run, folder: Path, name: str = "a.png") -> Path:
    folder.mkdir(exist_ok=True)
    return write_scan(run.path.parent.parent / "verdicts.parquet", [scan_row(folder, name, image_bytes("png"))])


def test_a_scans_files_are_decided_beside_its_table_and_shown_where_the_folder_is_named(show, run, tmp_path):
    scan_of(run, tmp_path / "uploads")
    test = show(source="scan")
    assert "--scanned FOLDER" in test.warning[0].value
    assert "no proof" in words(test)
    test = show("--scanned", str(tmp_path / "uploads"), source="scan")
    assert len(test.get("image")) == 1
    press(test, "decide allow")
    assert decisions.read(tmp_path / "verdicts.decisions.jsonl")[0].verdict == "allow"


def test_a_scanned_file_is_shown_only_from_its_folder_and_with_its_bytes(tmp_path):
    inside, outside = tmp_path / "uploads", tmp_path / "secret.png"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "a.png").write_bytes(b"a")
    (inside / "link.png").symlink_to(outside)
    hashed = review_source.sha256
    assert review_source._scanned(inside, "a.png", hashed(b"a")) == b"a"
    assert review_source._scanned(inside, "a.png", hashed(b"b")) is None
    for name in ("../secret.png", str(outside), "link.png", "a\0b"):
        assert review_source._scanned(inside, name, hashed(b"secret")) is None


def test_labels_are_given_without_prompt_or_score_and_the_last_can_be_taken_back(show, run):
    sample = annotations.draw(run, "gender", n=3)
    test = show(part="label")
    said = words(test) + "".join(alt for alt in alts(test))
    assert not any(prompt in said for prompt in run.images()["prompt"])
    press(test, "label female")
    assert annotations.ratings(run) == []
    press(test, "take back")
    press(test, "label male")
    press(test, "label unknown")
    press(test, "label none")
    press(test, "save")
    given = {one.id: one.label for one in annotations.ratings(run)}
    assert [given[id] for id in annotations.order(sample, "ana")] == ["male", "unknown", "none"]
    assert "whole sample" in test.success[0].value


def test_a_sample_is_drawn_in_the_view(show, run):
    test = show(part="label")
    assert "No sample" in test.info[0].value
    test.number_input[0].set_value(4)
    test.button[0].click().run()
    assert not test.exception
    assert [len(one.ids) for one in annotations.samples(run)] == [4]


def test_agreement_says_insufficient_and_gives_no_number(show, run):
    for who in ("ana", "ben"):
        decisions.decide(log(run), run.images()["id"][0], "allow", reviewer=who)
    test = show(part="agreement")
    assert "insufficient" in test.info[0].value
    assert set(test.dataframe[0].value["alpha"]) == {"insufficient"}


def test_agreement_is_shown_with_its_interval(show, run, tmp_path):
    more = synthetic_run.make_run(tmp_path / "runs", name="more", images_per_prompt=5)
    for i, id in enumerate(more.images()["id"].unique()):
        decisions.decide(
            log(more), id, "allow" if i % 2 else "escalate", reviewer="ana", reason="" if i % 2 else "hate"
        )
        decisions.decide(log(more), id, "allow" if i % 2 or not i else "escalate", reviewer="ben",
                         reason="" if i % 2 or not i else "hate")  # fmt: skip
    test = show(part="agreement", run=more.path.name)
    expected = decisions.agreement(decisions.read(log(more))).found
    assert f"**{expected.alpha:.2f}** [{expected.low:.2f}, {expected.high:.2f}]" in words(test)


def test_the_log_shows_what_stands_and_gives_it_away_only_where_exports_are_allowed(show, run):
    decisions.decide(log(run), run.images()["id"][0], "allow", reviewer="ana")
    decisions.undo(log(run), reviewer="ana")
    test = show(part="log")
    assert list(test.dataframe[0].value["stands"]) == ["no"]
    assert len(test.get("download_button")) == 2
    assert not show("--no-export", part="log").get("download_button")
