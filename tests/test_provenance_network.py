"""Looking at files never uses the network, whatever address a file names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from provenance_helpers import PLAIN, image_bytes, isolated, signed  # noqa: F401
from provenance_mutations import NO_PUBLIC, PUBLIC, mutated, raw_signed

from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.reading import read


class Listener:
    """An HTTP server on loopback that counts who comes; the library's own connections pass by any patch of Python."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_response(404)
                self.end_headers()

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.stop()


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any, **_: Any) -> NoReturn:
        raise AssertionError(f"a connection was tried: {arguments[-1]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refused)


def looked_at(data: bytes) -> str:
    return str(Inspector(Settings(store="", keys="", banks=())).inspect_bytes(data).c2pa["verdict"])


@pytest.mark.parametrize("fmt", PLAIN)
@pytest.mark.parametrize("embed", [True, False])
def test_an_address_of_a_remote_manifest_gets_no_request(
    fmt: str, embed: bool, listener: Listener, guarded: None
) -> None:
    kind = f"image/{fmt}"
    data = raw_signed(image_bytes(fmt), kind, remote=f"{listener.url}/manifest.c2pa", embed=embed)
    assert looked_at(data) == ("valid-untrusted" if embed else "remote-only")
    assert listener.requests == []


def test_the_listener_would_have_seen_a_request(listener: Listener) -> None:
    """So that the tests around it mean something: with fetching allowed, the library does ask."""
    import io

    import c2pa

    data = raw_signed(image_bytes("png"), remote=f"{listener.url}/manifest.c2pa", embed=False)
    allowed = c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": True}})
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/png", io.BytesIO(data), context=allowed)
    assert listener.requests


def test_an_ingredient_with_an_address_gets_no_request_when_it_is_signed_or_read(
    listener: Listener, guarded: None
) -> None:
    parent = raw_signed(image_bytes("png"), remote=f"{listener.url}/parent.c2pa", embed=False)
    looked_at(signed("jpeg", parent=("parent.png", parent)).data)
    assert listener.requests == []


def test_an_address_in_another_sidecar_gets_no_request(listener: Listener, guarded: None) -> None:
    data = raw_signed(image_bytes("png"), remote=f"{listener.url}/manifest.c2pa", embed=False)
    read(data, sidecar=signed("png", embed=False).manifest)
    assert listener.requests == []


@pytest.mark.parametrize("fmt", PLAIN)
def test_no_damaged_file_makes_a_connection(fmt: str, guarded: None) -> None:
    for seed in range(40):
        looked_at(mutated(fmt, seed)[1])


def test_no_public_file_makes_a_connection(guarded: None) -> None:
    if not PUBLIC.is_dir():
        pytest.skip(NO_PUBLIC)
    anchors = (PUBLIC / "test_roots.pem").read_text()
    files = [path for path in sorted(PUBLIC.iterdir()) if path.suffix in (".jpg", ".jpeg", ".pdf")]
    assert files
    for path in files:
        read(path.read_bytes(), anchors=anchors)


def test_a_scan_of_files_with_addresses_makes_no_request(tmp_path: Path, listener: Listener) -> None:
    from auditkit.provenance.scan_table import read_scan
    from auditkit.provenance.scanning import scan

    folder = tmp_path / "uploads"
    folder.mkdir()
    for number, fmt in enumerate(PLAIN):
        data = raw_signed(image_bytes(fmt), f"image/{fmt}", remote=f"{listener.url}/{number}.c2pa", embed=False)
        (folder / f"{number}.bin").write_bytes(data)
    scan(folder, tmp_path / "out.parquet", settings=Settings(store="", keys="", banks=()), workers=1)
    assert set(read_scan(tmp_path / "out.parquet")["c2pa"]) == {"remote-only"}
    assert listener.requests == []
