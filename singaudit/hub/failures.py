"""What goes wrong between this machine and the model hub, as one message each with what to do."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from singaudit.errors import MachineError, SingauditError
from singaudit.hub.caller import Caller

RETRIED = (429, 500, 502, 503, 504)
"""Statuses that may pass: too many requests, and the server's own trouble."""


@dataclass(frozen=True)
class Failure:
    """Why a fetch failed."""

    error: SingauditError
    """For the user."""
    unreachable: bool = False
    """Whether the hub said nothing of the repository itself: what the cache holds may serve then."""


def explained(name: str, revision: str | None, error: BaseException, caller: Caller) -> Failure:
    """The hub's many errors as one message each, with what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error, SingauditError):
        return Failure(error)
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return Failure(
            MachineError(
                f"{name} could not be stored in {constants.HF_HUB_CACHE}: {error.strerror}",
                hint="Free space, or set HF_HOME to a folder that can be written.",
            )
        )
    token = "set HF_TOKEN or run `hf auth login` with an account that has it."
    if isinstance(error, errors.GatedRepoError):
        return Failure(
            caller.error(
                f"{name} is gated on the hub: access has to be granted first",
                hint=f"Ask for access on its page, then {token}",
            )
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return Failure(
            caller.error(
                f"the hub has no {caller.noun} {name}, or it is private",
                hint=f"Check the name; for a private one {token} A local folder is {caller.folder} and has to exist.",
            )
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return Failure(
            caller.error(
                f"the hub's {caller.noun} {name} has no revision {revision}",
                hint="Name a branch, tag or commit after the @.",
            )
        )
    response = getattr(error, "response", None)
    if isinstance(error, errors.HfHubHTTPError) and response is not None and response.status_code not in RETRIED:
        return Failure(
            caller.error(
                f"the hub at {constants.ENDPOINT} refused {name}: status {response.status_code}",
                hint=caller.elsewhere(name),
            )
        )
    if isinstance(error, OSError) and "Consistency check" in text:
        return Failure(
            caller.error(f"{name} arrived incomplete: {text[:200]}", hint=f"Try again. {caller.elsewhere(name)}")
        )
    reason = f"status {response.status_code}" if response is not None else text[:200] or type(error).__name__
    unreachable = caller.error(
        f"{name} could not be had from the hub at {constants.ENDPOINT}: {reason}",
        hint=f"Check the connection, HF_ENDPOINT and proxies. {caller.elsewhere(name)}",
    )
    return Failure(unreachable, unreachable=True)
