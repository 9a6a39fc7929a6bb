"""What an API is asked for, how often and for how much money; and the key, which comes from the environment alone."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from auditkit.errors import GeneratorError

URL_VARIABLE = "AUDITKIT_API_URL"
KEY_VARIABLE = "AUDITKIT_API_KEY"
OPENAI_VARIABLE = "OPENAI_API_KEY"
"""Used for openai.com alone: a key must not go to whatever address is named."""

_RESERVED = ("model", "prompt", "n", "size", "response_format", "stream")
_PATH = "/images/generations"


@dataclass(frozen=True)
class ApiOptions:
    """How an API is used. Nothing here is secret, and but for `price` and what is sent nothing is written down."""

    url: str | None = None
    """Base address, such as https://api.openai.com/v1; None is $AUDITKIT_API_URL."""
    size: str = "1024x1024"
    """WIDTHxHEIGHT, pixels."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Sent with each prompt besides: quality, style, moderation, ..."""
    rate: float | None = None
    """Requests a minute at most; None is no limit of ours."""
    parallel: int = 2
    """Requests at a time."""
    retries: int = 5
    """Further attempts after 429, 5xx and timeouts."""
    timeout: float = 180.0
    """Seconds that one answer may take."""
    max_images: int | None = None
    """Ceiling of paid answers of the whole run, earlier attempts included."""
    max_cost: float | None = None
    """The same in money, in the currency of `price`."""
    price: float | None = None
    """Of one image, in any currency."""

    def check(self) -> None:
        """Raise GeneratorError where a value is out of range."""
        numbers = {"rate": self.rate, "max_cost": self.max_cost, "price": self.price, "timeout": self.timeout}
        for name, value in numbers.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise GeneratorError(f"the {name} of an API must be a number above 0", where=f"{name}={value}")
        if not 1 <= self.parallel <= 32:
            raise GeneratorError("1 to 32 requests can be made at a time", where=f"parallel={self.parallel}")
        if self.retries < 0 or (self.max_images is not None and self.max_images < 1):
            raise GeneratorError(
                "retries are at least 0, and a budget at least 1 image",
                where=f"retries={self.retries}, max_images={self.max_images}",
            )
        if self.max_cost is not None and self.price is None:
            raise GeneratorError(
                "a budget in money needs the price of an image",
                where=f"--max-cost {self.max_cost:g}",
                mend="add --price-per-image, as the provider's price list has it",
            )
        self.sides()
        for name in self.parameters:
            if name in _RESERVED or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
                raise GeneratorError(
                    f"'{name}' cannot be sent as a parameter",
                    where=f"--api-param {name}=...",
                    mend=f"use names as the provider's documentation has them, but none of {', '.join(_RESERVED)}",
                )

    @property
    def ceiling(self) -> str:
        """The budget in words; empty where there is none."""
        said = [f"{self.max_images:,} paid answer{'s' * (self.max_images != 1)}"] if self.max_images is not None else []
        return " or ".join(said + ([f"a cost of {self.max_cost:g}"] if self.max_cost is not None else []))

    def sides(self) -> tuple[int, int]:
        """Width and height, pixels."""
        found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", self.size)
        if found is None:
            raise GeneratorError(
                f"the size '{self.size}' is not WIDTHxHEIGHT", where="--api-size", mend="write it as 1024x1024"
            )
        return int(found[1]), int(found[2])

    def allows(self, paid: int) -> bool:
        """Whether one more answer may be paid for, after `paid` of them."""
        if self.max_images is not None and paid >= self.max_images:
            return False
        cost = (paid + 1) * (self.price or 0)
        return self.max_cost is None or cost <= self.max_cost * (1 + 1e-9)


class Secret:
    """A key. It shows itself nowhere but in the header that it is sent in."""

    def __init__(self, value: str):
        self._value = value

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")

    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"}

    def hide(self, text: str) -> str:
        """`text` without the key, and without what looks like a part of one that a server repeats."""
        text = text.replace(self._value, "[key]") if self._value else text
        return re.sub(r"\b(sk|pk|Bearer)[-_ ][\w*.-]{6,}", "[key]", text)


@dataclass(frozen=True)
class Endpoint:
    """Where an API is, and what may be said of it."""

    url: str = field(repr=False)
    """Of image generation, query included."""
    host: str
    """Host and port, for records and errors."""
    scheme: str
    local: bool
    """Whether it is this machine."""

    @classmethod
    def of(cls, url: str | None) -> Endpoint:
        """The endpoint at a base address.

        Raises:
            GeneratorError: no address is given, or it is none that a key may be sent to.
        """
        mend = f"give --api-url, or set {URL_VARIABLE}, such as https://api.openai.com/v1"
        given = url or os.environ.get(URL_VARIABLE, "")
        if not given:
            raise GeneratorError("no API is named to ask", where="--api-url", mend=mend)
        try:
            parts = urlsplit(given.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not host:
            raise GeneratorError("that is not the address of an API", where="--api-url", mend=mend)
        if parts.username or parts.password:
            raise GeneratorError(
                "the address holds a user or password",
                where=f"--api-url, host {host}",
                mend=f"take it out; a key belongs into {KEY_VARIABLE}",
            )
        path = parts.path.rstrip("/")
        path = path if path.endswith(_PATH) else path + _PATH
        return cls(
            url=urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")),
            host=host if port is None else f"{host}:{port}",
            scheme=parts.scheme,
            local=is_local(host),
        )


def read_key(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> Secret | None:
    """The key for an endpoint, out of the environment; None where there is none, as servers of one's own need none.

    Raises:
        GeneratorError: the key cannot be sent as it is, or would be sent unencrypted to another machine.
    """
    name = KEY_VARIABLE
    value = environment.get(KEY_VARIABLE, "").strip()
    host = endpoint.host.partition(":")[0]
    if not value and (host == "openai.com" or host.endswith(".openai.com")):
        name = OPENAI_VARIABLE
        value = environment.get(OPENAI_VARIABLE, "").strip()
    if not value:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{8,4096}", value):
        raise GeneratorError(
            f"{name} does not hold a key: it is too short, or has spaces, line breaks or other signs in it",
            where=f"environment, {name}",
            mend="set it to the key alone",
        )
    if endpoint.scheme != "https" and not endpoint.local:
        raise GeneratorError(
            "the key would be sent unencrypted to another machine",
            where=f"--api-url, host {endpoint.host}",
            mend=f"use https, or unset {name} if the server needs no key",
        )
    return Secret(value)


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
