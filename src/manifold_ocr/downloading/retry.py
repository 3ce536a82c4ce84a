"""Try again what may pass by waiting; give up at once on what never will."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from manifold_ocr.errors import UserError

Result = TypeVar("Result")
ATTEMPTS = 6
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))


class TransientError(Exception):
    """A failure that may pass; `wait` is the server's own word on how long, in seconds."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def with_retries(
    action: Callable[[], Result], what: str, sleep: Callable[[float], None] | None = None
) -> Result:
    """Return `action()`, tried up to 6 times with exponential backoff (1, 2, 4 ... s) and jitter.

    Raises:
        UserError: the last attempt failed too; anything but `TransientError` passes through.
    """
    pause = sleep or time.sleep
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise UserError(
                    f"{what}: {error}; gave up after {ATTEMPTS} attempts. What arrived is kept: "
                    "run the same command later and it goes on from there"
                ) from error
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            pause(min(LONGEST_WAIT, wait if error.wait is None else max(error.wait, 0.0)))
    raise AssertionError("unreachable")


def refusal(status: int, what: str, url: str) -> UserError:
    """Return the error for a status that waiting does not mend, with what to do about it."""
    advice = {
        401: "it wants a login: set HF_TOKEN to an access token (for the hub: Settings, "
        "Access Tokens), or check the name if it should be public",
        403: "the token has no access: accept the data set's terms on its page with the "
        "account of HF_TOKEN, or ask its owner",
        404: "not found: check name, file and revision",
        410: "gone: its publisher removed it",
        416: "the server has less than was fetched before: delete the .part file",
    }
    return UserError(f"{what}: HTTP {status} from {url}: {advice.get(status, 'refused')}")


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (dates are ignored)."""
    return float(value) if value and value.strip().isdigit() else None
