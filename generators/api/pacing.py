"""When to ask: no more often than allowed, and again after a failure, each time later."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds before the first and at most before a later attempt, where the server does not say."""
PATIENCE = 300.0
"""Seconds that a server may ask us to wait; a longer wait stops the run, which can go on later."""


class Stopped(Exception):
    """The work was called off while waiting."""


class Clock(Protocol):
    """Time, as far as pacing needs it."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass; raises Stopped as soon as `stop` is set."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(max(seconds, 0.0)):
            raise Stopped


class Pace:
    """Moments at which requests may be made: `rate` a minute, evenly, over all threads."""

    def __init__(self, rate: float | None, clock: Clock):
        self._gap = 60.0 / rate if rate else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock.now()

    def take(self, stop: threading.Event) -> None:
        """Wait until the next request may be made."""
        with self._lock:
            now = self._clock.now()
            moment = max(now, self._next)
            self._next = moment + self._gap
        self._clock.wait(moment - now, stop)

    def hold(self, seconds: float) -> None:
        """No request for so long: the server asked for it."""
        with self._lock:
            self._next = max(self._next, self._clock.now() + seconds)


def backoff(attempt: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds before attempt number `attempt` + 1: doubling, and anywhere in the upper half of that.

    The half that is drawn keeps clients that failed together from coming back together.
    """
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30))
    return longest * (0.5 + 0.5 * draw())


def retry_after(value: str | None, *, today: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms (RFC 9110, 10.2.3); None for any other."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - today()).total_seconds(), 0.0)
