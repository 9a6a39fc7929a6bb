"""The dashboard's view Provenance: an upload's card, scans beside the runs, signed runs, trust lists, disclosure."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import synthetic_run
from PIL import Image
from provenance_helpers import credentials, image_bytes, isolated, issued, pki, root_pem, signed  # noqa: F401
from signed_run_helpers import change_pixels, scan_row, signed_run, trusted, write_scan
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME
from test_dashboard_views import words as escaped

from app.dashboard import provenance_parts, scans, uploads, verdict_card, views, widgets
from auditkit.errors import ImageError, ProvenanceError, TrustError
from auditkit.provenance import banks, trust
from auditkit.provenance.containers import find, reinserted, strip
from auditkit.provenance.inspection import Inspector
from auditkit.provenance.manifest import Claim
from auditkit.provenance.publishing import Publisher
from auditkit.provenance.scan_table import table_of
from auditkit.provenance.scanning import _stat_row
from auditkit.watermark import keys
from reports.provenance_charts import ingredient_tree, ingredients_alt, ingredients_chart, verdicts_chart

HOSTILE = "=cmd <b>x</b> [l](http://evil.example) `c` $m$ www.evil.example \u202egnp.exe\x07"


def words(test: AppTest) -> str:
    banners = [*test.success, *test.error]
    return (escaped(test) + "\n" + "\n".join(each.value for each in banners)).replace("\\", "")


def commands(test: AppTest) -> str:
    return "\n".join(code.value for code in test.code)


@pytest.fixture
def show(monkeypatch, tmp_path):
    """Opens the view on a folder of runs; query parameters as in an address."""

    def shown(folder: Path | None = None, **query: str) -> AppTest:
        folder = folder or tmp_path / "runs"
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
        test = AppTest.from_string(FRAME.replace("PATH", "provenance"), default_timeout=60)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    return shown


@pytest.fixture
def drop(show):
    """Opens the view and drops a file, with trust anchors."""

    def dropped(data: bytes, name: str = "upload.png", anchors: bytes | None = None) -> AppTest:
        test = show()
        if anchors is not None:
            test.file_uploader(key="anchors").set_value([("roots.pem", anchors, "application/x-pem-file")])
        test.file_uploader(key="upload").set_value((name, data, "image/png"))
        return test.run()

    return dropped


def chained(*, changed: bool = False) -> bytes:
    """A picture made from a signed one, which was changed before it was used, or was not."""
    first = signed(seed=1, title="first.png").data
    if changed:
        held = find(first)
        assert held is not None
        made = reinserted(image_bytes(seed=5), held.spans)
        assert made is not None
        first = made
    return signed(seed=2, title="second.png", parent=("first.png", first)).data


# One image


def test_without_an_upload_it_says_what_happens_to_one(show):
    test = show()
    assert not test.exception
    assert "looked at in this server’s memory and kept nowhere" in words(test)
    assert "auditkit inspect upload.jpg" in commands(test)


def test_a_signed_upload_has_its_verdict_signer_and_every_part(drop):
    test = drop(signed().data)
    assert not test.exception
    said = words(test)
    assert "C2PA: Signed and unchanged, by somebody unknown" in said
    assert "marked as not for production" in said
    for part in (
        "Watermark: Not looked",
        "Hash: Compared with nothing",
        "Detector: Abstain",
        "Opt-out: No signal",
    ):
        assert part in said
    signer = test.table[0].value
    assert "development signer" in str(signer.to_numpy())


def test_anchors_that_are_uploaded_count_for_this_upload_alone(drop):
    test = drop(signed().data, anchors=root_pem().encode())
    assert "C2PA: Signed, trusted, unchanged" in words(test)
    assert "--trust roots.pem" in commands(test)
    assert trust.lists() == []


def test_lists_that_are_kept_count_too(drop):
    trusted()
    assert "C2PA: Signed, trusted, unchanged" in words(drop(signed().data))


def test_another_day_is_judged_as_of(drop):
    test = drop(signed().data, anchors=root_pem().encode())
    test.date_input(key="as_of").set_value((pki().expires + timedelta(days=2)).date()).run()
    assert not test.exception
    assert "the certificate has expired" in words(test)
    assert "--as-of" in commands(test)


def test_the_history_is_drawn_and_stands_in_a_table_and_in_words(drop):
    test = drop(chained())
    table = next(frame.value for frame in test.dataframe if "ingredient" in frame.value)
    assert table[["used in", "as", "ingredient"]].to_numpy().tolist() == [["second.png", "made from", "first.png"]]


def test_an_ancestor_that_was_changed_is_told_first(drop):
    test = drop(chained(changed=True), anchors=root_pem().encode())
    assert "C2PA: Made from something that was changed** (tampered-ancestor)" in words(test)
    table = next(frame.value for frame in test.dataframe if "ingredient" in frame.value)
    assert "changed after its own signing" in table["said"].iloc[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no image at all", "A kind of file that cannot carry it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "C2PA:"),
        (image_bytes("jpeg")[:200], "C2PA:"),
        (image_bytes("webp"), "No manifest"),
    ],
)
def test_whatever_is_dropped_has_a_card(drop, data, said):
    test = drop(data)
    assert not test.exception
    assert said in words(test)


def test_an_empty_upload_is_an_error_in_words():
    with pytest.raises(ImageError, match="empty"):
        uploads.inspect(b"", "a.png", uploads.Wish())


def test_anchors_that_are_none_are_named_and_nothing_is_judged(drop):
    test = drop(signed().data, anchors=b"no certificate")
    assert not test.exception
    assert "roots.pem" in test.warning[0].value
    assert "C2PA:" not in words(test)


def test_a_key_file_that_cannot_be_read_leaves_the_manifest_judged(drop, tmp_path):
    keys.create()
    (tmp_path / "keys.json").chmod(0o644)
    test = drop(signed().data)
    assert not test.exception
    assert "read or changed by others" in words(test)
    assert "C2PA: Signed and unchanged" in words(test)


def test_an_image_that_lost_its_manifest_is_known_from_the_store(drop, tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(image_bytes())
    with Publisher.open(credentials(), log="") as publisher:
        publisher.publish_file(source, tmp_path / "b.png", Claim("b.png", source_type="trainedAlgorithmicMedia"))
    test = drop(strip((tmp_path / "b.png").read_bytes()))
    assert not test.exception
    assert "Known: the very same image** (recovered-exact)" in words(test)
    assert "From the manifest store" in words(test)


def test_an_image_in_a_hash_bank_is_told_with_its_entry(drop, tmp_path):
    path = tmp_path / "known.png"
    path.write_bytes(image_bytes())
    banks.create("harm", "harm").add_images([path], label="case 7")
    test = drop(path.read_bytes())
    assert "Hash: In a hash bank" in words(test)
    assert any("case 7" in str(frame.value.to_numpy()) for frame in test.dataframe)


def test_the_picture_is_blurred_until_it_is_asked_for(drop):
    test = drop(image_bytes())
    how = next(each for each in test.segmented_control if each.key.startswith("picture"))
    assert how.value == provenance_parts.BLURRED
    again = drop(image_bytes(seed=9))
    assert next(e for e in again.segmented_control if e.key.startswith("picture")).value == provenance_parts.BLURRED


def test_a_blurred_picture_keeps_grey_patches_only():
    made = uploads.picture(image_bytes(size=(300, 200)), blurred=True)
    assert made is not None
    image = Image.open(io.BytesIO(made))
    assert image.mode == "L"
    small = image.resize((14, 9)).resize(image.size, Image.Resampling.BICUBIC)
    apart = max(abs(a - b) for a, b in zip(small.tobytes(), image.tobytes(), strict=True))
    assert apart < 60
    assert uploads.picture(b"no image", blurred=True) is None


def test_nothing_of_an_upload_is_written(drop, tmp_path):
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    drop(signed().data)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_texts_from_a_stranger_are_cleaned_and_escaped(drop):
    test = drop(signed(title=HOSTILE).data, name="x [l](http://evil.example).png")
    assert not test.exception
    raw = escaped(test)
    assert "[l](http" not in raw
    assert "\u202e" not in raw


@pytest.mark.parametrize("sign", ["\x00", "\x1b[31m", "\u202e", "\u2066", "\n", "\u2028", "\ufeff"])
def test_control_characters_are_stripped(sign):
    assert widgets.clean(f"a{sign}b").startswith("a ")
    assert sign[0] not in widgets.clean(f"a{sign}b")


@pytest.mark.parametrize("text", ["<script>", "[a](b)", "www.evil.test", "http://e.test", "a@b.c", "~~x~~", "$x$"])
def test_markdown_reads_nothing_into_a_strangers_text(text):
    made = widgets.stranger(text)
    assert made != text
    assert made.replace("\\", "") == text


def test_long_texts_are_cut():
    assert len(widgets.clean("x" * 10_000)) == 300


# A scan


@pytest.fixture
def scan(tmp_path) -> Path:
    """A scan of six files, made in this process."""
    folder = tmp_path / "files"
    folder.mkdir()
    names = {
        "signed.png": signed().data,
        "changed.png": chained(changed=True),
        "plain.jpg": image_bytes("jpeg", seed=3),
        "no-image.png": b"nothing",
        HOSTILE.replace("/", "_").replace("\x07", "") + ".png": image_bytes(seed=4),
    }
    rows = [scan_row(folder, name, data) for name, data in names.items()]
    rows.append(_stat_row(folder, Path("gone.png")) | {"error": "the file cannot be read: <b>gone</b>"})
    return write_scan(tmp_path / "verdicts.parquet", rows)


def test_without_a_scan_it_gives_the_command(show):
    test = show(part="A scan")
    assert "There is no table of a scan here" in words(test)
    assert "auditkit scan uploads --out" in commands(test)


def test_a_scan_beside_the_runs_is_counted_and_listed(show, scan):
    test = show(part="A scan")
    assert not test.exception
    assert "**6 files**, 0 with a watermark of your keys, 0 in a hash bank, 1 with an error." in words(test)
    counts = test.dataframe[0].value
    assert counts["files"].sum() == 6
    assert len(test.dataframe[1].value) == 6


def test_a_scan_in_the_folder_of_runs_is_found_and_other_tables_are_not(show, scan, tmp_path):
    (tmp_path / "runs").mkdir()
    scan.rename(tmp_path / "runs" / "inside.parquet")
    synthetic_run.make_run(tmp_path / "runs", images_per_prompt=1, measured=False)
    table_of([]).to_parquet(tmp_path / "other.parquet")
    assert show(part="A scan").selectbox(key="scan").options == ["runs/inside.parquet"]


@pytest.mark.parametrize(
    ("query", "count"),
    [({"c2pa": "valid-untrusted"}, 1), ({"read": "could not be read"}, 1), ({"mark": "not looked for"}, 5),
     ({"name": "PLAIN"}, 1), ({"name": "(.*"}, 0)],
)  # fmt: skip
def test_filters_come_from_the_address(show, scan, query, count):
    test = show(part="A scan", **query)
    assert not test.exception
    assert f"**{count} file{'' if count == 1 else 's'}** chosen" in words(test)


def test_a_chosen_row_has_its_card(show, scan):
    test = show(part="A scan")
    test.selectbox(key="file").set_value("signed.png").run()
    assert not test.exception
    assert "C2PA: Signed and unchanged, by somebody unknown" in words(test)


def test_a_row_with_an_error_says_it_in_plain_text(show, scan):
    test = show(part="A scan")
    test.selectbox(key="file").set_value("gone.png").run()
    assert "\\<b>gone" in test.warning[0].value


@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "nothing.parquet"])
def test_a_path_in_the_address_is_no_scan(show, scan, value):
    test = show(part="A scan", scan=value)
    assert not test.exception
    assert test.selectbox(key="scan").value == "verdicts.parquet"


@pytest.mark.parametrize("details", ["{", "[]", "{}", '{"c2pa": {"verdict": 3}}', "null", "[" * 50_000])
def test_damaged_details_are_told(show, scan, details, tmp_path):
    rows = [_stat_row(tmp_path, Path("a.png")) | {"c2pa": "trusted", "details": details}]
    write_scan(scan, rows)
    test = show(part="A scan")
    test.selectbox(key="file").set_value("a.png").run()
    assert not test.exception
    assert "what was found of this file is damaged" in words(test)


def test_a_damaged_table_is_told(show, tmp_path):
    (tmp_path / "verdicts.parquet").write_bytes(b"no table")
    test = show(part="A scan")
    assert not test.exception
    assert "the table cannot be read" in words(test)


def test_in_the_csv_no_name_is_a_formula(scan):
    table = scans.load(scan)
    text = scans.csv(table)
    assert "\n'=cmd" in text or "\n\"'=cmd" in text
    assert len(text.splitlines()) == 7


def test_the_shape_of_what_was_found_is_checked():
    found = json.loads(json.dumps(Inspector().inspect_bytes(signed().data).as_dict()))
    assert verdict_card.checked(found, where="x") == found
    found["c2pa"]["graph"]["edges"] = [{"to": "a"}]
    with pytest.raises(ProvenanceError):
        verdict_card.checked(found, where="x")


# In a run


def test_a_run_that_was_not_signed_gives_the_command(show, tmp_path):
    made = synthetic_run.make_run(tmp_path / "runs", images_per_prompt=1, measured=False)
    test = show(part="In a run")
    assert "No image of this run has a signed copy yet" in words(test)
    assert f"auditkit sign {made.path}" in commands(test)


def test_a_signed_run_is_verified_and_its_failures_are_shown_first(show, tmp_path):
    made = signed_run(tmp_path / "runs")
    change_pixels(made, 0, 2)
    test = show(part="In a run")
    assert not test.exception
    assert "18 of these 20 copies verify" in words(test)
    assert "**2 images**" in words(test)
    assert words(test).count("Changed after it was signed") >= 2
    assert f"auditkit measure {made.path} --measure provenance --by occupation" in commands(test)
    assert "**18 images**" in words(show(part="In a run", copies="verify"))


def test_copies_that_change_are_verified_anew(show, tmp_path):
    made = signed_run(tmp_path / "runs")
    assert "All 20 copies verify" in words(show(part="In a run"))
    change_pixels(made, 0)
    assert "19 of these 20 copies verify" in words(show(part="In a run"))


def test_many_copies_are_verified_only_when_asked(show, tmp_path, monkeypatch):
    signed_run(tmp_path / "runs")
    monkeypatch.setattr(views.provenance, "MOST_CHECKED", 10)
    test = show(part="In a run")
    assert "copies verify" not in words(test)
    test.checkbox[0].check().run()
    assert "All 20 copies verify" in words(test)


def test_a_damaged_table_of_signed_copies_is_told(show, tmp_path, monkeypatch):
    made = signed_run(tmp_path / "runs")
    (made.path / "provenance.parquet").write_bytes(b"no table")
    test = show(part="In a run")
    assert not test.exception
    assert "provenance" in words(test)


# Trust and disclosure


def test_without_a_list_everybody_is_unknown(show):
    test = show(part="Trust")
    assert "There is no trust list: every signer is unknown" in words(test)
    assert "auditkit trust import" in commands(test)


def test_lists_stand_with_version_and_anchors(show):
    trusted()
    test = show(part="Trust")
    assert not test.exception
    assert test.dataframe[0].value["list"].tolist() == ["tests"]
    assert "root" in test.dataframe[1].value["anchor"].iloc[0]
    assert "No anchor of the lists in force runs out within 90 days" in words(test)


def test_anchors_that_run_out_are_forecast(show, tmp_path):
    trust.import_list("short", issued(tmp_path / "short").chain)
    test = show(part="Trust")
    assert "run out within 90 days" in words(test)
    assert "other" in test.dataframe[-1].value["anchor"].to_list()


def test_a_damaged_list_is_told(show, tmp_path):
    trusted()
    for path in (tmp_path / "home" / "trust" / "tests").iterdir():
        path.write_text("{")
    test = show(part="Trust")
    assert not test.exception
    assert "damaged" in words(test)
    with pytest.raises(TrustError):
        uploads.inspect(image_bytes(), "a.png", uploads.Wish())


def test_the_disclosure_counts_what_is_known_and_unknown(show, tmp_path):
    made = signed_run(tmp_path / "runs", images_per_prompt=1)
    test = show(part="Disclosure")
    assert not test.exception
    assert "fields** are answered by the run’s record" in words(test)
    fields = test.table[1].value
    assert "unknown" in set(fields["answer"])
    assert f"auditkit disclose {made.path}" in commands(test)
    known = show(part="Disclosure", fields="known").table[1].value
    assert "unknown" not in set(known["answer"])


# Charts


def test_the_chart_of_a_history_is_cut_and_holds_a_loop():
    node = {"label": "a", "title": "a", "signer": "", "actions": [], "source_types": [], "active": True}
    edge = {"from": "a", "to": "a", "title": "again", "relationship": "parentOf", "codes": []}
    root = ingredient_tree({"nodes": [node], "edges": [edge] * 100}, "trusted")
    assert root is not None
    assert len(list(root.walk())) == 40
    assert ingredients_chart(root)[0].to_dict()
    assert "made from again" in ingredients_alt(root)
    assert ingredient_tree({}, "no-manifest") is None


def test_the_chart_of_verdicts_draws_names_that_are_not_known_too():
    assert verdicts_chart({"trusted": 3, "": 1, "odd": 2}).to_dict()
    assert verdicts_chart({"trusted": 3}, width=343).to_dict()
