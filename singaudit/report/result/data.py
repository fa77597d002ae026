"""What a result rests on: images, vision-language model, translator, and the check that logits stay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text


class SkippedImage(Part):
    """An image left out, and why."""

    name: Text
    reason: Text


class ImageNote(Part):
    """Images that were read in a way worth knowing."""

    note: Text
    images: int
    first: Text = Field(description="Name of the first of them.")


class ImagesPart(Part):
    """A set of images as it was used."""

    source: Text
    found: int
    used: int
    skipped: list[SkippedImage] = Field(description="At most the first 100.")
    skipped_count: int
    duplicates: int = Field(description="Images whose content occurred before, left out.")
    outside: int = Field(default=0, description="Images that the pack holds no embedding of, left out.")
    notes: list[ImageNote] = Field(default=[], description="What to know of how images were read.")
    digest: Text = Field(description="sha256 over the sorted sha256 of the images used.")


class UnitsPart(Part):
    """Scenes: images of one unit show the same and count once."""

    count: int = Field(description="Units.")
    images: int = Field(description="Images in them.")
    how: Literal["found", "column", "none"] = Field(
        description="Near-duplicates found; a column of the user; or every image by itself."
    )
    joined_units: int = Field(description="Units of more than one image.")
    joined: list[list[Text]] = Field(description="Names of their images, largest first: at most 50 units of 20 images.")
    recall: Finite | None = Field(
        default=None, description="Share of near neighbours that a hashed search found; null where it was exact."
    )


class TablePart(Part):
    """A text file that says which images there are, or what they show, as it was read."""

    name: Text = Field(description="Of the file, without folders.")
    sha256: Text


class DataPart(Part):
    """The images the classifier was shown."""

    audit: ImagesPart
    probe: ImagesPart | None
    units: UnitsPart | None = Field(default=None, description="Which of the audited images count as one.")
    probe_units: UnitsPart | None = Field(default=None, description="The same of the probe images.")
    probe_told_apart: Statistic | None = Field(
        default=None,
        description="How well embeddings tell probe from audited images: 0.5 not at all, 1 always; null without any.",
    )
    labels: Literal["true", "predicted"] = Field(description="Which class an image counts under.")
    labels_source: Text
    tables: list[TablePart] = Field(
        default=[], description="Image lists, metadata and label files; the label file last."
    )
    accuracy: Statistic | None = Field(description="Top-1 against the labels, where there are any.")
    chance_accuracy: Finite | None
    class_probe: Statistic | None = Field(
        default=None, description="What a linear probe reads of the true classes from the features: 0 chance, 1 all."
    )
    class_gain: Statistic | None = Field(
        default=None, description="Share of it that a probe of what the logits see lacks; null without true labels."
    )


class PackPart(Part):
    """A pack of embeddings made earlier."""

    name: Text
    sha256: Text = Field(description="Of the whole file.")
    images: int


class ClassReading(Statistic):
    """Share of images of which the vision-language model names the true class; n counts scenes."""

    chance: Finite = Field(description="The same share for labels permuted among the images.")


class EncoderPart(Part):
    """The vision-language model that gave features their meaning."""

    name: Text
    revision: Text = Field(description="Commit on the hub, or sha256 of the local weights.")
    family: Text
    embedding_dim: int
    class_reading: ClassReading | None = Field(
        default=None, description="How well it reads the classes itself; null without true labels."
    )
    runtime: Text = Field(default="", description="What ran its towers and, where that is not the fast way, why.")
    pack: PackPart | None = Field(default=None, description="Where its embeddings came from, if from no model.")


class TranslatorPart(Part):
    """The linear map from features to image embeddings, judged on images it was not fitted on."""

    r2: Statistic
    r2_null_gain: Statistic = Field(description="R2 with all of f, less R2 with P_p f alone.")
    cosine: Statistic
    cosine_shuffled: Statistic = Field(description="The same for another image's embedding, of any class.")
    agreement: Statistic | None = Field(description="Same class read zero-shot from T f and from the embedding.")
    images: int = Field(description="Images it was fitted on (of all folds, when cross-fitted).")
    fitted_on: Literal["other folds", "probe images", "a file's images"]
    folds: int
    penalty: list[Finite] = Field(description="Ridge penalty per fold, chosen inside the training folds.")


class LogitCheck(Part):
    """Largest change of any logit in the classifier's own arithmetic, in units of that logit's spread."""

    removal: Finite
    mean_removal: Finite
    swap: Finite | None = Field(default=None, description="Another image's null component.")
    conditional_mean: Finite | None = Field(
        default=None, description="The null component that the principal one lets expect."
    )
    steering: Finite | None = Field(default=None, description="One typical null norm toward another class's text.")
    steering_calibrated: Finite | None = Field(
        default=None, description="Toward the same, to an image score of 40 degrees, where it can be reached."
    )
    random_equal_norm: Finite = Field(description="A random perturbation of equal norm.")
    principal_equal_norm: Finite = Field(description="A perturbation inside the principal space of equal norm.")
    images: int
