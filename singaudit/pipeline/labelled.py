"""Labelled images for a repair: one pass through the classifier, their classes, and the groups they are balanced by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache, cache_folder
from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.graph.session import providers
from singaudit.classifier.interface import Classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.label_file import LabelFile
from singaudit.dataset.labels import key, label_columns, read_labels, resolve_labels, resolve_units
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Pass, Step
from singaudit.engine.local import run_pass
from singaudit.errors import ConfigError, DatasetError
from singaudit.hub.caller import Progress
from singaudit.metrics.units import Units, find_units, pixel_rows, unit_hashes
from singaudit.pipeline.observe import check_finite, units_of
from singaudit.pipeline.passes.recipes import ClassifierModel, ClassifierRecipe, ThumbnailRecipe
from singaudit.repair.split import Balanced

MOST_VALUES = 200
"""Distinct texts of a column that may still be values of a group; more are names or numbers."""
CLASS = "class"


@dataclass(frozen=True)
class Labelled:
    """Images with what is known of them; n images were used."""

    source: ImageSource
    """Where they come from."""
    images: Pass
    """The pass; step "classifier" holds features (n, m) and logits (n, c)."""
    classes: NDArray[np.intp] | None
    """(n,) the class of each image; None where no labels are known."""
    labels_source: str
    """In words."""
    scenes: Units
    """Which images show the same scene: as a column says, or as found."""
    columns: dict[str, Balanced]
    """Every group that the labels or the source state, by its name as it is compared."""
    given: str | LabelFile = "auto"
    """What --labels names, as it was read."""

    @property
    def features(self) -> NDArray[np.float32]:
        """(n, m)."""
        return self.images.outputs["classifier"][0]

    @property
    def logits(self) -> NDArray[np.float32]:
        """(n, c)."""
        return self.images.outputs["classifier"][1]

    @property
    def units(self) -> list[str]:
        """(n,) the same content hash for all images of a scene."""
        return unit_hashes(self.images.sha256, self.scenes)

    def group(self, name: str) -> Balanced:
        """The stated group of that name. Raises ``ConfigError`` naming those there are."""
        found = self.columns.get(key(name))
        if found is None:
            known = ", ".join(group.name for group in self.columns.values())
            raise ConfigError(
                f"nothing states {name[:80]!r} of the images of {self.source.name}",
                hint=f"There are: {known}."
                if known
                else f"Give it as a column: --labels FILE, CSV with path,label,{name}.",
            )
        return found


def open_labelled(
    config: AuditConfig,
    classifier: Classifier,
    names: Sequence[str],
    progress: Progress,
    looking: Callable[[str, ImageSource], Pass] | None = None,
) -> Labelled:
    """Show the images of ``config`` to the classifier; ``looking`` shows them to more models in the same pass.

    Raises ``SingauditError``.
    """
    stage = "look at the images"
    source = open_source(str(config.images), config.label_column)
    given = read_labels(source, config.labels)
    labels, labels_source = resolve_labels(source, given, class_labels(names), config.label_column)
    columns = label_columns(source, given)
    stated = resolve_units(source, given, config.units)
    images = looking(stage, source) if looking else look(config, classifier, source, progress, stage, True)
    check_finite(classifier, *images.outputs["classifier"])
    used = images.indices
    groups = {}
    for name, (column, where) in columns.items():
        group = _balanced(name, [column[i] for i in used], where)
        if group is not None:
            groups[key(name)] = group
    classes = None if labels is None else np.asarray(labels, np.intp)[used]
    if classes is not None:
        shown = class_labels(names)
        groups[CLASS] = Balanced(CLASS, tuple(shown), classes, labels_source)
    return Labelled(source, images, classes, labels_source, _scenes(config, images, stated, progress), groups, given)


def _scenes(config: AuditConfig, images: Pass, stated: NDArray[np.int64] | None, progress: Progress) -> Units:
    """Which images show the same scene: as a column says, else those whose pixels agree.

    No model is asked, so that the same images are held out whatever is repaired, and whatever reads groups.
    """
    if config.units == "none" or stated is not None:
        return units_of(config, images, stated, progress)
    thumbnails = images.outputs["thumbnail"][0]
    rows = pixel_rows(thumbnails)
    return find_units(rows, rows, thumbnails, progress=lambda done, total: progress("find scenes", done, total))


def class_labels(names: Sequence[str]) -> tuple[str, ...]:
    """The names that labels may have: of one logit with one name, that name's absence comes first."""
    return tuple(names) if len(names) > 1 else (f"not {names[0]}", names[0])


def _balanced(name: str, cells: Sequence[str], where: str) -> Balanced | None:
    """A column as a group; None where it holds too many different texts, or no text."""
    keys = [key(cell) for cell in cells]
    values = sorted(set(keys) - {""})
    if not 1 <= len(values) <= MOST_VALUES:
        return None
    index = {"": -1, **{value: i for i, value in enumerate(values)}}
    return Balanced(name, tuple(values), np.array([index[item] for item in keys], np.intp), where)


def look(
    config: AuditConfig,
    classifier: Classifier,
    source: ImageSource,
    progress: Progress,
    stage: str,
    thumbnails: bool = False,
) -> Pass:
    """One pass of ``source`` through the classifier; features that are in the cache are not computed again.

    ``thumbnails``: make those as well by which scenes are found.
    """
    cache = Cache(cache_folder(config.cache))
    kept = cache.folder is not None
    shelf = cache.shelf("features", forward_identity(classifier, providers(config.device)[0])) if kept else None
    done, count = 0, min(len(source), config.limit or len(source))

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress(stage, done, count)

    recipe = ClassifierRecipe(config.model, model_options(config), classifier.sha256)
    steps = {"classifier": Step(recipe, shelf, ClassifierModel(classifier))}
    if thumbnails:
        steps["thumbnail"] = Step(ThumbnailRecipe(), cache.shelf("thumbnails", {}) if kept else None)
    return run_pass(source, steps, batch_size=config.batch_size or 16, limit=count, progress=advance)


def require_labels(labelled: Labelled) -> NDArray[np.intp]:
    """The classes. Raises ``DatasetError`` where none are known."""
    if labelled.classes is None:
        raise DatasetError(
            f"expected labelled images to fit on; {labelled.labels_source}",
            hint="Put them into one subfolder per class, or give --labels FILE, CSV with path,label.",
        )
    return labelled.classes
