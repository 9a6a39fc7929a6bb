"""Trust lists: named, versioned, in force from a day; what runs out, what changed, and what is no list."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from provenance_helpers import isolated, issued, pki  # noqa: F401

from auditkit.errors import TrustError
from auditkit.provenance import trust
from auditkit.provenance.certificates import fingerprint, read_certificates
from auditkit.provenance.pki import make_pki

MAY, JUNE, JULY = (date(2026, month, 1) for month in (5, 6, 7))


@pytest.fixture
def second(tmp_path):
    """Another authority's root."""
    return make_pki(tmp_path / "second").root


def refused(said, call, *args, **kwargs):
    with pytest.raises(TrustError, match=said) as caught:
        call(*args, **kwargs)
    return caught.value


def names(found):
    return [(each.name, each.version) for each in found]


def test_a_list_is_kept_and_found_by_its_name():
    made = trust.import_list("mine", pki().root)
    assert trust.get("mine") == made
    assert [fingerprint(each) for each in made.anchors] == [fingerprint(each) for each in read_certificates(pki().root)]
    assert (made.kind, made.source, made.version) == ("private", "root.pem", str(made.in_force))


def test_lists_lie_where_auditkit_keeps_what_is_the_users(isolated):  # noqa: F811
    trust.import_list("mine", pki().root)
    assert [each.name for each in (isolated / "home" / "trust").iterdir()] == ["mine"]


def test_a_second_import_is_a_new_version_and_the_first_stays(second):
    one = trust.import_list("mine", pki().root)
    two = trust.import_list("mine", second)
    assert two.version == f"{one.version}.2"
    assert trust.get("mine") == two
    assert trust.get(f"mine@{one.version}") == one


def test_the_tenth_import_of_a_day_is_newer_than_the_second(second):
    for _ in range(10):
        trust.import_list("mine", pki().root)
    last = trust.import_list("mine", second)
    assert last.version.endswith(".11")
    assert trust.get("mine") == last
    assert trust.lists() == [last]


def test_named_versions_are_compared_as_people_count():
    for version in ("v9", "v10"):
        trust.import_list("mine", pki().root, version=version, in_force=MAY)
    assert trust.get("mine").version == "v10"


def test_as_of_takes_the_version_that_was_in_force_on_the_day(second):
    old = trust.import_list("mine", pki().root, in_force=MAY)
    new = trust.import_list("mine", second, in_force=JULY)
    days = (MAY - timedelta(days=1), MAY, JUNE, JULY - timedelta(days=1), JULY)
    assert [trust.lists(as_of=day) for day in days] == [[], [old], [old], [old], [new]]


def test_a_list_imported_out_of_order_takes_its_place_by_its_day(second):
    trust.import_list("mine", pki().root, in_force=JULY)
    early = trust.import_list("mine", second, in_force=MAY)
    assert trust.lists(as_of=JUNE) == [early]


def test_a_list_that_begins_later_is_not_in_force_today():
    trust.import_list("mine", pki().root, in_force=datetime.now(UTC).date() + timedelta(days=2))
    assert trust.lists() == []
    assert trust.anchors() == ""


def test_anchors_are_those_of_all_lists_and_of_files_for_the_call_each_once(second):
    trust.import_list("a", pki().root)
    trust.import_list("b", pki().root)
    found = read_certificates(trust.anchors(files=(second, second)).encode())
    assert len(found) == 2


def test_a_certificate_that_is_in_the_file_twice_is_one_anchor(tmp_path):
    (tmp_path / "twice.pem").write_bytes(pki().root.read_bytes() * 2)
    assert len(trust.import_list("mine", tmp_path / "twice.pem").anchors) == 1


def test_comments_between_certificates_are_passed_over(tmp_path, second):
    (tmp_path / "a.pem").write_bytes(b"# one\n" + pki().root.read_bytes() + b"\nTwo, he said\n" + second.read_bytes())
    assert len(trust.import_list("mine", tmp_path / "a.pem").anchors) == 2


def test_a_single_certificate_in_der_is_read(tmp_path):
    from cryptography.hazmat.primitives.serialization import Encoding

    (own,) = read_certificates(pki().root)
    (tmp_path / "root.der").write_bytes(own.public_bytes(Encoding.DER))
    assert trust.import_list("mine", tmp_path / "root.der").anchors == (own,)


def test_the_forecast_names_what_runs_out_within_the_days_the_soonest_first(tmp_path):
    for name, days in (("late", 80), ("soon", 5), ("gone", -1), ("far", 500)):
        trust.import_list(name, issued(tmp_path, name, ends=timedelta(days=days)).chain)
    own = [each for each in trust.forecast(days=90) if each.name in ("late", "soon", "gone", "far")]
    assert [(each.name, each.lists) for each in own] == [("gone", ("gone",)), ("soon", ("soon",)), ("late", ("late",))]


def test_the_forecast_names_every_list_that_holds_the_anchor():
    for name in ("a", "b"):
        trust.import_list(name, pki().root)
    (found,) = trust.forecast(days=365 * 11)
    assert found.lists == ("a", "b")


def test_the_forecast_of_a_day_looks_at_the_lists_of_that_day(second):
    trust.import_list("mine", second, in_force=MAY)
    trust.import_list("mine", pki().root, in_force=JULY)
    found = trust.forecast(days=365 * 100, now=datetime(2026, 6, 1, tzinfo=UTC))
    assert [each.fingerprint for each in found] == [fingerprint(each) for each in read_certificates(second)]


def test_a_diff_says_what_came_what_went_and_what_stayed(tmp_path, second):
    (tmp_path / "both.pem").write_bytes(pki().root.read_bytes() + second.read_bytes())
    one, two = trust.import_list("one", tmp_path / "both.pem"), trust.get(str(second))
    assert [len(part) for part in vars(trust.diff(one, two)).values()] == [0, 1, 1]
    assert [len(part) for part in vars(trust.diff(two, one)).values()] == [1, 0, 1]
    assert trust.diff(one, two).kept[0].fingerprint == fingerprint(read_certificates(second)[0])


def test_removing_a_list_forgets_all_its_versions(second):
    trust.import_list("mine", pki().root)
    trust.import_list("mine", second)
    trust.import_list("other", second)
    assert trust.remove("mine") == 2
    assert names(trust.lists()) == [("other", trust.get("other").version)]
    refused("no such trust list", trust.remove, "mine")


def test_a_list_with_what_a_killed_process_left_can_be_removed():
    trust.import_list("mine", pki().root)
    (trust.folder() / "mine" / ".v.json.1.tmp").write_text("half")
    assert trust.remove("mine") == 1
    assert trust.lists() == []


# What is no list


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no certificate"),
        (b"hello", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate 1 cannot be read"),
    ],
)
def test_a_file_without_certificates_is_refused_and_nothing_is_kept(tmp_path, content, said):
    (tmp_path / "a.pem").write_bytes(content)
    assert "a.pem" in str(refused(said, trust.import_list, "mine", tmp_path / "a.pem"))
    assert not trust.folder().exists()


def test_a_damaged_certificate_among_whole_ones_is_named_by_its_number(tmp_path):
    whole = pki().root.read_bytes()
    (tmp_path / "a.pem").write_bytes(whole + whole[:-100] + b"\n-----END CERTIFICATE-----\n")
    refused("certificate 2 cannot be read", trust.import_list, "mine", tmp_path / "a.pem")


def test_a_private_key_is_no_list():
    refused("this is a private key", trust.import_list, "mine", pki().key)


def test_a_key_beside_a_certificate_is_not_kept(tmp_path):
    (tmp_path / "both.pem").write_bytes(pki().root.read_bytes() + pki().key.read_bytes())
    trust.import_list("mine", tmp_path / "both.pem")
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in (trust.folder() / "mine").iterdir())


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    refused("does not exist", trust.import_list, "mine", tmp_path / "none.pem")
    refused("cannot be read", trust.import_list, "mine", tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "", "/etc", "Mine", "a b", "a\x00b", "-a", "a" * 65, "é"])
def test_a_name_that_could_leave_the_folder_or_is_none_is_refused(isolated, name):  # noqa: F811
    before = sorted(isolated.rglob("*"))
    refused("a list's name", trust.import_list, name, pki().root)
    refused("no such trust list", trust.remove, name)
    assert sorted(isolated.rglob("*")) == before


@pytest.mark.parametrize("version", ["../up", "a/b", "..", "", ".hidden", "a b", "a" * 65])
def test_a_version_that_could_leave_the_folder_or_is_none_is_refused(version):
    refused("a version has", trust.import_list, "mine", pki().root, version=version)
    assert not trust.folder().exists()


@pytest.mark.parametrize("spec", ["../../etc", "mine@../up", "nobody", "", "@", "mine@1"])
def test_what_is_neither_list_nor_file_is_refused(spec):
    refused("no such trust list", trust.get, spec)


def test_a_version_that_is_not_there_names_those_that_are():
    made = trust.import_list("mine", pki().root)
    assert made.version in refused("no version 'old'", trust.get, "mine@old").mend


def test_a_version_is_never_replaced(second):
    trust.import_list("mine", pki().root, version="v1")
    refused("has a version v1 already", trust.import_list, "mine", second, version="v1")
    assert trust.get("mine@v1").source == "root.pem"
    assert len(trust.diff(trust.get("mine"), trust.get(str(pki().root))).kept) == 1


def test_a_kind_is_private_or_official():
    assert trust.import_list("c2pa", pki().root, kind="official").kind == "official"
    refused("is no kind", trust.import_list, "c2pa", pki().root, kind="secret")


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: "{",
        lambda stored: "[]",
        lambda stored: json.dumps(stored | {"more": 1}),
        lambda stored: json.dumps(stored | {"in_force": "soon"}),
        lambda stored: json.dumps(stored | {"pem": stored["pem"][:-100]}),
        lambda stored: json.dumps(stored | {"pem": ""}),
        lambda stored: json.dumps({key: stored[key] for key in stored if key != "pem"}),
    ],
)
def test_a_damaged_list_is_an_error_that_names_its_file(change):
    made = trust.import_list("mine", pki().root)
    path = trust.folder() / "mine" / f"{made.version}.json"
    path.write_text(change(json.loads(path.read_text())))
    for call in (trust.lists, trust.anchors, trust.forecast, lambda: trust.get("mine")):
        assert str(path) in str(refused("the trust list is damaged", call))
    assert trust.remove("mine") == 1
