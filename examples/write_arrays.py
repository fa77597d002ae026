"""Write a folder of arrays that `singaudit run --arrays` audits: for models that singaudit does not open.

    python examples/write_arrays.py arrays/
    singaudit run --arrays arrays/ --gate "finding[colour] not in (strong, partial)" -o audit/

What is written here is made up, so that its answer is known: the head goes by shape, `colour` is in the features where
no logit sees it (strong), and `size` is nowhere (not detected). In place of it put what your own framework gives:

- weight (c, m) and bias (c,) of the last layer, and the features (n, m) that it was given for n images;
- embeddings (n, d) of the same images by a vision-language model (CLIP, SigLIP, ...), and its text embeddings of the
  classes (c, d) and of the values of each group (v, d), for instance the mean over "a photo of a red thing", ...
"""

import json
import sys
from pathlib import Path

import numpy as np

CLASSES = ["circle", "square", "star", "cross"]
GROUPS = {"colour": ["red", "green", "blue"], "size": ["small", "large"]}


def write(folder, arrays, names):
    """One .npy file an array, and names.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "names.json").write_text(json.dumps(names, indent=1))


def made_up(images=2000, features=32, width=48, seed=0):
    """Arrays of a head that goes by shape and ignores colour."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(features, features)))[0].T
    seen, ignored = basis[: len(CLASSES)], basis[len(CLASSES) :]
    text = {
        name: (vectors := rng.normal(size=(len(values), width))) / np.linalg.norm(vectors, axis=1, keepdims=True)
        for name, values in {"class": CLASSES, **GROUPS}.items()
    }
    own = {name: rng.integers(0, len(vectors), images) for name, vectors in text.items()}
    f = rng.normal(scale=0.5, size=(images, features)) + 2 * seen[own["class"]] + 2 * ignored[own["colour"]]
    z = sum(vectors[own[name]] for name, vectors in text.items()) + rng.normal(scale=0.1, size=(images, width))
    arrays = {
        "weight": seen.astype(np.float32),
        "bias": np.zeros(len(CLASSES), np.float32),
        "features": f.astype(np.float32),
        "embeddings": z.astype(np.float32),
        "class_texts": text["class"].astype(np.float32),
        "class_labels": own["class"],
    }
    for name in GROUPS:
        arrays[f"group.{name}"] = text[name].astype(np.float32)
        arrays[f"labels.{name}"] = own[name]
    return arrays, {"classes": CLASSES, "groups": GROUPS, "activation": "softmax"}


if __name__ == "__main__":
    write(Path(sys.argv[1]), *made_up())
