"""The errors a user may meet and what a command ends with; imports nothing of the package: every stage may use it."""

from __future__ import annotations

from enum import IntEnum

_HEAD, _TAIL = 3000, 500
"""Characters of a message that are kept of its beginning and end: what it quotes from a file may be of any length."""


class ExitCode(IntEnum):
    """What a command ends with; 128 and its number where a signal ended it."""

    PASSED = 0
    """Gates passed, or none were set; the command did what it is for."""
    GATE_FAILED = 1
    """A gate failed, and nothing else ever gives 1."""
    WRONG = 2
    """What was typed, or a file that it names, cannot be used."""
    MACHINE_FAILED = 3
    """The machine failed, or singaudit itself."""
    INCONCLUSIVE = 4
    """It cannot be told, or was refused because it could not be shown to be right."""
    INTERRUPTED = 130
    """Ctrl-C, or an interrupt that cost pictures."""


class SingauditError(Exception):
    """A problem that is the input's or the machine's, not a bug: shown as one message, without a traceback.

    The message says what was expected and what arrived; a long one loses its middle. ``hint`` says what to try;
    ``place`` is the text that was read and the position in it where it went wrong.
    """

    exit_code = ExitCode.WRONG
    code = "input"
    default_hint = "Run the command again with --help."
    """What to try where the place that raised it knows nothing better: no message is without a way on."""

    def __init__(self, message: str, *, hint: str = "", place: tuple[str, int] | None = None) -> None:
        if len(message) > _HEAD + _TAIL:
            message = f"{message[:_HEAD]} ... {message[-_TAIL:]}"
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.place = place


class ConfigError(SingauditError):
    """An option, variable or configuration key that cannot be used as given."""

    code = "config"
    default_hint = "Run the command again with --help to see what is accepted."


class ModelError(SingauditError):
    """A model file that cannot be opened, or whose head cannot be found or proved."""

    code = "model"
    default_hint = "Check the file with onnx.checker.check_model, or export it again."


class UnsupportedModelError(ModelError, NotImplementedError):
    """A graph that holds something the shadow copy does not implement; lists all of it at once."""

    code = "unsupported"


class DatasetError(SingauditError):
    """An image source or label source that cannot be read or does not fit the model."""

    code = "dataset"
    default_hint = "Check what --images, --labels and --probe name."


class LanguageError(SingauditError):
    """A vision-language model, translator or concept file that cannot be used."""

    code = "language"
    default_hint = "Check what --vlm and --concepts name."


class ReportError(SingauditError):
    """An output folder, earlier result or report that cannot be read or written."""

    code = "report"
    default_hint = "Choose another folder with -o, or run the audit again."


class MachineError(SingauditError):
    """The machine failed: disk full, out of memory, a worker killed. Exits 3."""

    exit_code = ExitCode.MACHINE_FAILED
    code = "machine"
    default_hint = "Free memory or disk space and run the same command again."


def short(error: BaseException) -> str:
    """The first 300 characters of an error's text, on one line."""
    text = " ".join(str(error).split())
    return text[:300] + ("..." if len(text) > 300 else "")
