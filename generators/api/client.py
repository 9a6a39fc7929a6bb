"""One request to an OpenAI-compatible images API, and what its answer means."""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from PIL import Image

from auditkit.errors import GeneratorError, ImageError
from auditkit.images import open_image
from auditkit.runs import Refused
from generators.api.options import KEY_VARIABLE, ApiOptions, Endpoint, Secret, is_local
from generators.api.pacing import retry_after
from generators.importing.facts import text

MAX_ANSWER = 40_000_000
"""Bytes of an answer or image: a PNG of 16 megapixels, in base64, takes no more."""
MAX_WORDS = 100_000
"""Bytes of a server's words that are looked at: the key is taken out of them before they are cut to a message."""
MAX_MESSAGE = 300
"""Characters of a server's message that are kept."""

REFUSALS = frozenset(
    {
        "content_policy_violation",
        "moderation_blocked",
        "content_filter",
        "responsibleaipolicyviolation",
        "safety_violation",
        "contentfilter",
    }
)
"""Codes, in lower case, by which OpenAI, Azure and compatible servers refuse a prompt or what came of it."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes that no waiting mends."""
KEPT_HEADERS = ("x-request-id", "openai-processing-ms", "openai-version", "openai-model", "date", "server")


class Again(Exception):
    """An answer that may be better the next time.

    Attributes:
        what: what came, in a few words.
        billed: whether it may have been paid for.
        broken: whether it was a success by its status, but held no image of the kind.
        after: seconds that the server asks us to wait.
    """

    def __init__(self, what: str, *, billed: bool, broken: bool = False, after: float | None = None, status: int = 0):
        super().__init__(what)
        self.what, self.billed, self.broken, self.after, self.status = what, billed, broken, after, status


@dataclass(frozen=True)
class Answer:
    """An image as it came, and what came with it."""

    data: bytes = field(repr=False)
    image: Image.Image = field(repr=False)
    told: dict[str, Any]
    """created, revised_prompt, usage and headers, as far as they were given."""


class Client:
    """Asks one endpoint for images. May be used by several threads."""

    def __init__(self, endpoint: Endpoint, key: Secret | None, options: ApiOptions):
        self.endpoint, self._key, self._options = endpoint, key, options
        self._with_format = True
        # No redirects: a key must not follow one, and an answer from elsewhere is not the API's.
        self._http = httpx.Client(timeout=httpx.Timeout(options.timeout, connect=20.0), follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def body(self, model: str, prompt: str) -> dict[str, Any]:
        """What is sent for a prompt."""
        asked = {"model": model, "prompt": prompt, "n": 1, "size": self._options.size, **self._options.parameters}
        return asked | ({"response_format": "b64_json"} if self._with_format else {})

    def ask(self, model: str, prompt: str) -> Answer | Refused:
        """The image for a prompt, or the refusal.

        Raises:
            Again: the answer may be better the next time.
            GeneratorError: it will not.
        """
        body = self.body(model, prompt)
        status, headers, data = self._send("POST", self.endpoint.url, json=body)
        if status == 200:
            return self._image(headers, data)
        error = _error(data)
        if status == 400 and "response_format" in body and "response_format" in f"{error.param} {error.message}":
            self._with_format = False  # gpt-image models give base64 anyway, and refuse to be asked for it
            return self.ask(model, prompt)
        return self._failed(status, headers, error)

    def hide(self, said: str) -> str:
        """A server's words without the key, on one line, and short."""
        kept = self._key.hide(said) if self._key else Secret("").hide(said)
        return " ".join((text(kept[:MAX_MESSAGE]) or "").split())

    def _failed(self, status: int, headers: httpx.Headers, error: _Error) -> Refused:
        codes = {code.lower() for code in (error.code, error.kind, error.inner) if code}
        said = self.hide(error.message) or "without a reason"
        if status in (400, 403, 422, 451) and (codes & REFUSALS or (status == 400 and "safety system" in said)):
            named = next(
                (code for code in (error.code, error.kind, error.inner) if code.lower() in REFUSALS), "refused"
            )
            return Refused(self.hide(named), said)
        if status == 402 or codes & SPENT:
            raise self._final(f"the account has no credit left: {said}", "pay it up, and start the same command again")
        if status in (408, 409, 425, 429) or status >= 500:
            what = f"answered {status} ({said})"
            raise Again(what, billed=False, after=retry_after(headers.get("retry-after")), status=status)
        if status in (401, 403):
            mend = f"set {KEY_VARIABLE} to a key for this API" if self._key is None else "check the key and its rights"
            raise self._final(f"the API does not let us in ({status}: {said})", mend)
        if 300 <= status < 400:
            raise self._final(f"the API redirects elsewhere ({status})", "give its own address as --api-url")
        mend = "check the model's name and --api-url" if status == 404 else "change what is asked for, as it says"
        raise self._final(f"the API does not take the request ({status}: {said})", mend)

    def _final(self, what: str, mend: str) -> GeneratorError:
        return GeneratorError(what, where=self.endpoint.host, mend=mend)

    def _image(self, headers: httpx.Headers, data: bytes) -> Answer:
        answer = _json(data)
        items = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(items, list):
            raise Again(f"an answer that is none of the images API: {self._start(data)}", billed=True, broken=True)
        item = items[0] if items and isinstance(items[0], dict) else {}
        coded, url = item.get("b64_json"), item.get("url")
        if isinstance(coded, str) and coded:
            content = _decode(coded)
        elif isinstance(url, str) and url:
            content = self._download(url)
        else:
            raise Again("an answer without an image", billed=True, broken=True)
        told = {
            "created": answer.get("created") if isinstance(answer.get("created"), int) else None,
            "revised_prompt": text(self._without_key(item.get("revised_prompt"))),
            "usage": self._without_key(_small(answer.get("usage"))),
            "headers": {name: self.hide(headers[name]) for name in KEPT_HEADERS if name in headers},
        }
        return Answer(content, self._opened(content), told)

    def _opened(self, content: bytes) -> Image.Image:
        try:
            image = open_image(content)
        except ImageError as error:
            what = f"{len(content):,} bytes that are no whole image ({self.hide(error.what)})"
            raise Again(what, billed=True, broken=True) from None
        asked = self._options.sides()
        if image.size != asked:
            what = f"an image of {image.width}x{image.height} in place of {asked[0]}x{asked[1]}"
            raise Again(what, billed=True, broken=True)
        return image

    def _start(self, data: bytes) -> str:
        # Hidden first and cut last, or the cut could leave most of a key.
        return repr(self.hide(data[:MAX_WORDS].decode("utf-8", "replace"))[:60]) if data else "nothing"

    def _without_key(self, told: Any) -> Any:
        """JSON data whose texts do not hold the key."""
        if isinstance(told, str):
            return self._key.hide(told) if self._key else told
        if isinstance(told, dict):
            return {self._without_key(name): self._without_key(each) for name, each in told.items()}
        return [self._without_key(each) for each in told] if isinstance(told, list) else told

    def _download(self, url: str) -> bytes:
        """The image at an address that the API gave; the key does not go there."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Again("an address of an image that is none", billed=True, broken=True) from None
        own = (parts.scheme, host if port is None else f"{host}:{port}") == (self.endpoint.scheme, self.endpoint.host)
        if not own and (parts.scheme != "https" or not _public(host)):
            what = f"an address of an image that is not fetched ({self.hide(f'{parts.scheme}://{host}')})"
            raise Again(what, billed=True, broken=True)
        status, _, data = self._send("GET", url)
        if status != 200:
            raise Again(f"an address of an image that answers {status}", billed=True, broken=True)
        return data

    def _send(self, method: str, url: str, **more: Any) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body, which is cut off as too large or too slow."""
        asked = method == "POST"
        headers = self._key.header() if self._key and asked else {}
        deadline = time.monotonic() + self._options.timeout
        buffer = io.BytesIO()
        try:
            with self._http.stream(method, url, headers=headers, **more) as response:
                for part in response.iter_bytes():
                    buffer.write(part)
                    if buffer.tell() > MAX_ANSWER:
                        what = f"an answer of more than {MAX_ANSWER / 1e6:.0f} MB"
                        raise Again(what, billed=response.status_code == 200, broken=True)
                    if time.monotonic() > deadline:
                        raise Again(f"no whole answer within {self._options.timeout:g} s", billed=True)
                return response.status_code, response.headers, buffer.getvalue()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Again(
                f"cannot be reached ({self.hide(str(error)) or type(error).__name__})", billed=not asked
            ) from None
        except httpx.TimeoutException:
            raise Again(f"no answer within {self._options.timeout:g} s", billed=True) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # cut off, or not HTTP: it may have been worked on
            raise Again(f"broke off ({type(error).__name__})", billed=True) from None


@dataclass(frozen=True)
class _Error:
    """What an API says is wrong."""

    message: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""
    inner: str = ""


def _error(data: bytes) -> _Error:
    """Out of `{"error": {"message", "code", "type", "param"}}`, or of what comes in its place."""
    answer = _json(data)
    told = answer.get("error", answer) if isinstance(answer, dict) else None
    if isinstance(told, str):
        return _Error(message=told)
    if not isinstance(told, dict):
        return _Error(message=re.sub(r"<[^>]*>", " ", data[:MAX_WORDS].decode("utf-8", "replace")))
    nested = [told[key] for key in ("innererror", "inner_error") if isinstance(told.get(key), dict)]
    inner: dict[str, Any] = nested[0] if nested else {}

    def said(record: dict[str, Any], key: str) -> str:
        return record[key] if isinstance(record.get(key), str) else ""

    return _Error(
        said(told, "message"), said(told, "code"), said(told, "type"), said(told, "param"), said(inner, "code")
    )


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _decode(coded: str) -> bytes:
    """Base64, with or without `data:image/png;base64,` before it."""
    if coded.startswith("data:"):
        coded = coded.partition(",")[2]
    try:
        return base64.b64decode("".join(coded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Again("base64 that is broken", billed=True, broken=True) from None


def _small(usage: Any) -> Any:
    """The record of tokens, if it is one and short."""
    return usage if isinstance(usage, dict) and len(json.dumps(usage, default=str)) < 2000 else None


def _public(host: str) -> bool:
    """Whether a host may be fetched from: no address of this machine or of a private network."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return bool(host) and not is_local(host) and "." in host and not host.endswith((".local", ".internal"))
