"""What the user may set, validated once, before anything is opened."""

from __future__ import annotations

import unicodedata
from collections import Counter
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from singaudit.errors import ConfigError

_MAX_NAME = 16_384


class GateText(BaseModel):
    """A gate as somebody wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str = Field(min_length=1, description="The rule; without a ``name`` one may stand before it.")
    name: str | None = Field(default=None, min_length=1, max_length=16_384, description="Any text.")
    file: str | None = Field(default=None, description="Configuration file that it stands in.")
    line: int = Field(default=1, ge=1, description="Line of that file.")

    @property
    def source(self) -> tuple[str, int] | None:
        """File and line; None where it was given otherwise."""
        return None if self.file is None else (self.file, self.line)

    def written(self) -> str:
        """As --gate takes it."""
        if self.name is None:
            return self.rule
        return '"' + self.name.replace("\\", "\\\\").replace('"', '\\"') + f'" = {self.rule}'


class Waiver(BaseModel):
    """A failed gate that somebody answers for until a date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: str = Field(min_length=1, max_length=16_384, description="The gate's name or its rule.")
    until: date = Field(description="The last day on which it counts.")
    reason: str = Field(min_length=1, max_length=2000)
    model: str | None = Field(default=None, pattern="^sha256:[0-9a-f]{64}$", description="The one model it is for.")


class AuditConfig(BaseModel):
    """Settings of one audit; every field but ``model`` has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Model file, folder, or name such as timm:NAME.")
    arrays: str | None = Field(default=None, min_length=1, description="Folder of arrays, in the place of a model.")
    classes: tuple[str, ...] | None = Field(default=None, description="Class names in logit order.")
    classes_from: str | None = Field(default=None, description="How --classes was given, for the report.")
    images: str | None = Field(default=None, description="Images to audit on: a folder, or shapes:N.")
    label_column: str | None = Field(default=None, min_length=1, description="Column of a table that holds labels.")
    geometry_only: bool = Field(default=False, description="Look at no image, whatever is given.")
    labels: str = Field(default="auto", min_length=1, description="auto, none, or a CSV file with path,label.")
    units: str = Field(
        default="auto", min_length=1, description="auto, none, or the column that names the scene of each image."
    )
    probe: str | None = Field(default=None, description="Unlabelled images that the translator is fitted on alone.")
    translator: str | None = Field(default=None, description="Translator file; None: fitted on the images.")
    vlm: str = Field(default="openai/clip-vit-large-patch14", min_length=1, description="Vision-language model.")
    class_prompts: str | None = Field(default=None, description="File of texts that stand for the classes.")
    concepts: str | None = Field(default=None, description="File of concepts; None: the built-in vocabulary.")
    logits: str | None = Field(default=None, description="Name of the output that holds the logits.")
    features: str | None = Field(default=None, description="Name of the tensor that holds the features.")
    arch: str | None = Field(default=None, min_length=1, description="Architecture of a file that holds weights alone.")
    allow_code: bool = Field(default=False, description="Whether model files that are programs may be run.")
    activation: Literal["auto", "softmax", "sigmoid"] = "auto"
    preprocess: str | None = Field(default=None, description="key=value,... as in the README.")
    gates: tuple[GateText, ...] = Field(default=(), description="Rules over the result's names, or texts of them.")
    waivers: tuple[Waiver, ...] = Field(default=(), description="Failed gates that do not count until a date.")
    policy: dict[str, tuple[str, ...]] = Field(
        default={}, description="Class, or * for all images: concept groups and concepts that must not be ignored."
    )
    gate_on: Literal["upper", "point", "lower"] = "upper"
    generate: int = Field(default=6, ge=0, le=1000, description="Images to make equivalents of; 0: none.")
    toward: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Concept group or text that equivalents are led toward; None: what the findings name.",
    )
    decode: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="unCLIP decoder: folder or name on the hub; None: none.",
    )
    baseline: str | None = Field(
        default=None, min_length=1, description="result.json of an earlier audit of the same images, or its folder."
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="Of the vision-language model.")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = Field(default=None, description="None: 16.")
    model_seconds: float | None = Field(default=None, gt=0, le=1e6, description="Limit on one answer of the model.")
    model_memory: float | None = Field(default=None, gt=0, le=1e6, description="GiB that the model's process may take.")
    seed: int = Field(default=0, ge=0, lt=2**63)
    pack: str | None = Field(default=None, description="Embeddings made earlier by singaudit pack; no model is opened.")
    cache: str = Field(default="auto", min_length=1, description="auto, none, or the folder of the cache.")
    engine: Literal["local", "ray"] = Field(default="local", description="Where the passes over images run.")
    ray_address: str | None = Field(
        default=None, min_length=1, description="Of a Ray cluster; None: one is started here."
    )
    ray_actors: int | None = Field(default=None, ge=1, le=100_000, description="Workers; None: as many as have room.")
    ray_cpus: float = Field(default=1.0, gt=0, le=1024, description="CPUs of each worker.")
    ray_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs of each worker.")
    limit: int | None = Field(default=None, ge=1, description="Audit only the first N images of the source.")

    @model_validator(mode="before")
    @classmethod
    def _arrays_stand_for_a_model(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("arrays") and "model" not in values:
            return {**values, "model": values["arrays"]}
        return values

    @field_validator("gates", mode="before")
    @classmethod
    def _gates_may_be_texts(cls, gates: object) -> object:
        if not isinstance(gates, list | tuple):
            return gates
        return tuple({"rule": gate} if isinstance(gate, str) else gate for gate in gates)

    @field_validator("classes")
    @classmethod
    def _classes_are_distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else check_class_names(names)


_MESSAGES = {"string_unicode": "Input should be text in UTF-8, as it is recorded in the report"}
"""By the type of an error of pydantic's: what says more than its own words."""


def make_config(**values: object) -> AuditConfig:
    """An ``AuditConfig`` from untrusted values. Raises ``ConfigError`` that names every wrong one."""
    try:
        return AuditConfig.model_validate(values)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {_MESSAGES.get(item['type'], item['msg'])}, "
            f"got {str(item['input'])[:80]!r}"
            for item in error.errors()
        )
        raise ConfigError(f"expected valid settings: {found}", hint="See singaudit run --help.") from error


def check_class_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names stripped and normalised (NFC). Raises ``ConfigError`` on empty or duplicate ones."""
    cleaned = tuple(unicodedata.normalize("NFC", name).strip() for name in names)
    if not cleaned:
        raise ConfigError("expected at least one class name, got none", hint="For example: --classes dog,cat.")
    empty = [i for i, name in enumerate(cleaned) if not name]
    if empty:
        raise ConfigError(
            f"expected a name for each class, the one at position {empty[0] + 1} of {len(cleaned)} is empty",
            hint="Give a name to every logit, in logit order.",
        )
    seen: set[str] = set()
    for name in cleaned:
        # Others are shown escaped or not at all; a text with this one is cut short wherever C reads it.
        if "\0" in name:
            raise ConfigError(
                f"expected class names of characters that print, {name[:60]!r} holds a zero byte",
                hint="Correct the name.",
            )
        if len(name) > _MAX_NAME:
            raise ConfigError(
                f"expected class names of at most {_MAX_NAME} characters, one has {len(name)}",
                hint="Shorten it, or check that the names stand one a line.",
            )
        if name in seen:
            raise ConfigError(
                f"expected distinct class names, {name!r} occurs more than once",
                hint="Tell the classes apart, e.g. by an added word.",
            )
        seen.add(name)
    return cleaned


def told_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that occur more than once with their logit's number: ImageNet has two cranes.

    Raises ``ConfigError`` as ``check_class_names`` does.
    """
    cleaned = [unicodedata.normalize("NFC", name).strip() for name in names]
    counts = Counter(cleaned)
    return check_class_names(
        tuple(f"{name} ({index})" if name and counts[name] > 1 else name for index, name in enumerate(cleaned))
    )
