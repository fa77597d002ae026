"""What goes wrong between this machine and the model hub, as one message each with what to do."""

from __future__ import annotations

import errno

from singaudit.errors import LanguageError, MachineError, SingauditError

RETRIED = (429, 500, 502, 503, 504)
"""Statuses that may pass: too many requests, and the server's own trouble."""
UNREACHABLE = "unreachable"
"""Code of the errors in which the hub said nothing about the model itself."""


def remedy(name: str) -> str:
    """What to do where a model cannot be had."""
    return (
        f"Where there is internet, run `singaudit vlm pull {name} -o DIR`, bring DIR here and pass --vlm DIR; or make "
        "a pack there (singaudit pack) and pass --pack FILE."
    )


def explained(name: str, revision: str | None, error: BaseException) -> SingauditError:
    """The hub's many errors as one message each, with what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error, SingauditError):
        return error
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return MachineError(
            f"{name} could not be stored in {constants.HF_HUB_CACHE}: {error.strerror}",
            hint="Free space, or set HF_HOME to a folder that can be written.",
        )
    token = "set HF_TOKEN or run `hf auth login` with an account that has it."
    if isinstance(error, errors.GatedRepoError):
        return LanguageError(
            f"{name} is gated on the hub: access has to be granted first",
            hint=f"Ask for access on its page, then {token}",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return LanguageError(
            f"the hub has no model {name}, or it is private",
            hint=f"Check the name; for a private one {token} A local folder is --vlm DIR and has to exist.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return LanguageError(
            f"the hub's model {name} has no revision {revision}", hint="Name a branch, tag or commit after the @."
        )
    response = getattr(error, "response", None)
    if isinstance(error, errors.HfHubHTTPError) and response is not None and response.status_code not in RETRIED:
        return LanguageError(
            f"the hub at {constants.ENDPOINT} refused {name}: status {response.status_code}", hint=remedy(name)
        )
    if isinstance(error, OSError) and "Consistency check" in text:
        return LanguageError(f"{name} arrived incomplete: {text[:200]}", hint=f"Try again. {remedy(name)}")
    reason = f"status {response.status_code}" if response is not None else text[:200] or type(error).__name__
    found = LanguageError(
        f"{name} could not be had from the hub at {constants.ENDPOINT}: {reason}",
        hint=f"Check the connection, HF_ENDPOINT and proxies. {remedy(name)}",
    )
    found.code = UNREACHABLE
    return found
