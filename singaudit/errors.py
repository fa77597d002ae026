"""The errors a user may meet; imports nothing, so that every stage can raise them."""

from __future__ import annotations


class SingauditError(Exception):
    """A problem that is the input's or the machine's, not a bug: shown as one message, without a traceback.

    The message says what was expected and what arrived; ``hint`` says what to try; ``place`` is the text that was
    read and the position in it where it went wrong.
    """

    exit_code = 2
    code = "input"

    def __init__(self, message: str, *, hint: str = "", place: tuple[str, int] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place


class ConfigError(SingauditError):
    """An option, variable or configuration key that cannot be used as given."""

    code = "config"


class ModelError(SingauditError):
    """A model file that cannot be opened, or whose head cannot be found or proved."""

    code = "model"


class UnsupportedModelError(ModelError, NotImplementedError):
    """A graph that holds something the shadow copy does not implement; lists all of it at once."""

    code = "unsupported"


class DatasetError(SingauditError):
    """An image source or label source that cannot be read or does not fit the model."""

    code = "dataset"


class LanguageError(SingauditError):
    """A vision-language model, translator or concept file that cannot be used."""

    code = "language"


class ReportError(SingauditError):
    """An output folder, earlier result or report that cannot be read or written."""

    code = "report"


class MachineError(SingauditError):
    """The machine failed: disk full, out of memory, a worker killed. Exits 3."""

    exit_code = 3
    code = "machine"
