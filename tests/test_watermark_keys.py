"""Key files: readable by their owner only, rotation, and a secret that shows nowhere."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import KeyFileError
from auditkit.watermark import keys
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.json"


def test_a_new_key_file_is_readable_by_its_owner_only(path: Path) -> None:
    keys.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused_before_it_is_used(path: Path, mode: int) -> None:
    keys.create(path)
    path.chmod(mode)
    for use in (keys.load, keys.create, keys.rotate):
        with pytest.raises(KeyFileError, match="others than its owner") as raised:
            use(path)
        assert "chmod 600" in str(raised.value)


def test_what_was_written_is_read_back(path: Path) -> None:
    made = keys.create(path, note="first")
    ring = keys.load(path)
    assert ring.active.key == made
    assert ring.active.note == "first"


def test_rotation_retires_the_old_key_which_still_verifies(path: Path) -> None:
    old = keys.create(path)
    new = keys.rotate(path)
    ring = keys.load(path)
    assert ring.active.key == new
    assert [(each.key, each.active) for each in ring.entries] == [(new, True), (old, False)]
    assert ring.get(old.id).key == old


def test_a_key_is_found_by_a_beginning_of_its_id_that_is_its_own(path: Path) -> None:
    made = keys.create(path)
    keys.create(path)
    ring = keys.load(path)
    assert ring.get(made.id[:10]).key == made
    with pytest.raises(KeyFileError, match="begins the ids of 2"):
        ring.get("k-")
    with pytest.raises(KeyFileError, match="no key 'k-nothing'"):
        ring.get("k-nothing")


def test_a_payload_is_registered_once_and_keeps_its_name(path: Path) -> None:
    made = keys.create(path)
    keys.register(made.id, Payload(1, 2), name="Ada", path=path)
    keys.register(made.id, Payload(1, 2), path=path)
    keys.register(made.id, Payload(1, 3), path=path)
    registered = keys.load(path).active.registered
    assert {(one.payload, one.name) for one in registered} == {(Payload(1, 2), "Ada"), (Payload(1, 3), "")}


def test_the_environment_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.ENVIRONMENT, str(path))
    assert keys.load(keys.create() and None).path == path


def forms(secret: bytes) -> list[str]:
    """How a secret might be written."""
    return [secret.hex(), base64.urlsafe_b64encode(secret).decode(), base64.b64encode(secret).decode(), repr(secret)]


def test_the_secret_shows_in_no_text_made_of_a_key(path: Path) -> None:
    made = keys.create(path)
    ring = keys.load(path)
    for text in (repr(made), str(made), repr(ring), repr(ring.active), f"{ring.entries}"):
        assert made.id in text
        assert not any(form in text for form in forms(made.secret))


def damage_secret(stored: dict) -> None:
    stored["keys"][0]["secret"] = stored["keys"][0]["secret"][:-9] + "?"


def damage_id(stored: dict) -> None:
    stored["keys"][0]["id"] = "k-000000000000"


def damage_fields(stored: dict) -> None:
    stored["keys"][0]["secert"] = stored["keys"][0].pop("secret")


@pytest.mark.parametrize("damage", [damage_secret, damage_id, damage_fields])
def test_a_damaged_key_file_is_refused_without_quoting_the_secret(path: Path, damage) -> None:
    made = keys.create(path)
    stored = json.loads(path.read_text())
    damage(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(KeyFileError) as raised:
        keys.load(path)
    shown = str(raised.value) + json.dumps(raised.value.as_dict())
    assert not any(form[:20] in shown for form in forms(made.secret))
    assert raised.value.__suppress_context__ or raised.value.__context__ is None  # no traceback quotes the file


def test_a_truncated_or_missing_key_file_is_a_clear_error(path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key file"):
        keys.load(path)
    keys.create(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(KeyFileError, match="damaged"):
        keys.load(path)


def test_nothing_is_left_beside_the_key_file(path: Path) -> None:
    keys.create(path)
    keys.rotate(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_secret_of_another_length_is_no_key() -> None:
    with pytest.raises(KeyFileError, match="32 bytes, not 31"):
        Key.from_secret(bytes(31))


@given(st.binary(min_size=32, max_size=32), st.text(max_size=20), st.integers(0, 300))
def test_what_is_drawn_follows_from_secret_and_label(secret: bytes, label: str, n: int) -> None:
    one, same = Key.from_secret(secret), Key.from_secret(secret)
    assert one.derive(label, n) == same.derive(label, n)
    assert np.array_equal(one.bits(label, n), same.bits(label, n))
    assert n < 16 or one.derive(label, n) != one.derive(label + "x", n)


def test_derived_bits_are_even_and_independent_of_another_labels() -> None:
    one = Key.from_secret(bytes(32))
    a, b = one.bits("a", 100_000), one.bits("b", 100_000)
    assert abs(a.mean() - 0.5) < 5 * 0.5 / 100_000**0.5
    assert abs((a ^ b).mean() - 0.5) < 5 * 0.5 / 100_000**0.5
