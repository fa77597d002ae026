"""Valid audit results with plausible numbers, small to hostile, for the report's tests."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from singaudit.metrics.findings import METHOD_VERSION
from singaudit.report.result.audit import AuditResult

HOSTILE = [
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u202c \u2066dog\u2069",
    "line\nbreak\ttab\x1b[31mred\x00",
    "https://example.org/x.png",
    '=HYPERLINK("https://example.org")',
    "w" * 3000,
    "</style><img src=x onerror=alert(1)>",
    "e" + "\u0301" * 200,
]


def stat(value: float, half: float = 0.3, n: int = 800) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def thumbnail(seed: int, colour: tuple[int, int, int] | None = None) -> str:
    rng = np.random.default_rng(seed)
    back = Image.fromarray(rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)).resize((64, 64), 0)
    fill = colour or tuple(int(v) for v in rng.integers(0, 255, 3))
    ImageDraw.Draw(back).ellipse((14, 14, 50, 50), fill=fill)
    file = io.BytesIO()
    back.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _neighbours(seed: int, names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"img-{seed + i}.png",
            "class_name": names[(seed + i) % len(names)],
            "angle_deg": 11.0 + i,
            "thumbnail": thumbnail(seed + 100 * i),
        }
        for i in range(4)
    ]


def _finding(group: str, finding: str, share: float | None) -> dict[str, Any]:
    return {
        "group": group,
        "finding": finding,
        "rule": "no rule is met: carried share 0.4 [0.0, 0.8]"
        if finding == "cannot tell"
        else "carried share 0.81 [0.77, 0.84], null-follow 0.93 of what is possible, probe 0.99 [0.98, 1.00]",
        "sentence": f"{group} is readable from the features, and what carries it is ignored by the head.",
        "values": ["red", "green", "blue", "yellow"],
        "own_value": "zero-shot",
        "margin_deg": stat(38.2),
        "margin_shuffled_deg": stat(-0.4),
        "contrast_deg": stat(32.1),
        "carried_share": stat(share, 0.03) if share is not None else None,
        "null_follow": {**stat(0.94, 0.02), "chance": 0.13, "normalised": stat(0.93, 0.02)},
        "probe": _probe(finding),
        "readable": True,
        "readability": {"score": stat(0.98, 0.01), "basis": "labels"},
        "stable": True,
        "control": _control("findings[colour].contrast_deg", 32.1, 7.0, 1.5),
    }


def _probe(finding: str) -> dict[str, Any]:
    """Probes as they are where the finding is right."""
    null, principal, gain = {
        "strong": (0.98, 0.21, 0.79),
        "partial": (0.62, 0.41, 0.45),
        "redundant": (0.9, 0.95, 0.04),
    }.get(finding, (0.03, 0.95, 0.02))
    return {
        "features": stat(0.99, 0.01),
        "principal": stat(principal, 0.03),
        "null": stat(null, 0.02),
        "gain": stat(gain, 0.02),
    }


def _control(score: str, observed: float, mean: float, spread: float) -> dict[str, Any]:
    return {
        "score": score,
        "observed": observed,
        "control_mean": mean,
        "control_low": mean - 2 * spread,
        "control_high": mean + 2 * spread,
        "percentile": stat(100.0 if observed > mean + 2 * spread else 31.0, 3.0, 99),
        "effect_size": stat((observed - mean) / spread, 0.4, 99),
    }


def _removal(scale: float) -> dict[str, Any]:
    return {
        "image_score_deg": stat(31.4 * scale),
        "attribute_score_deg": stat(4.13 * scale, 0.12),
        "signed_attribute_score_deg": stat(-2.2 * scale, 0.2),
        "ratio": stat(7.6, 0.25),
    }


def _model(names: list[str], name: str) -> dict[str, Any]:
    head = {
        "kind": "Gemm",
        "nodes": ["/head/Gemm"],
        "features": "/pool/Flatten_output_0",
        "logits": "logits",
        "stored_dtype": "float32",
        "activation": "softmax",
        "activation_stated": False,
        "max_error": 3.1e-7,
    }
    return {
        "name": name,
        "sha256": "9b1e" * 16,
        "format": "ONNX, opset 17",
        "class_names": names,
        "class_names_source": "--classes",
        "head": head,
        "runtime": {"mode": "optimised", "difference": 8.4e-7, "reason": ""},
        "preprocessing": {"settings": "size=64,mean=0.5,std=0.5", "source": "the file's metadata", "guessed": []},
    }


def _geometry(classes: int, dim: int) -> dict[str, Any]:
    rank = min(classes, dim)
    values = np.geomspace(9.0, 0.4, rank).tolist()
    return {
        "classes": classes, "feature_dim": dim, "rank": rank, "null_dim": dim - rank,
        "softmax_null_dim": dim - rank + 1,
        "singular_values": values, "tolerance": 6.9e-5, "tolerance_reason": "float32 rounding of the weight's SVD",
        "gap": None, "rank_sensitivity": [{"factor": f, "rank": rank} for f in (0.01, 0.1, 1.0, 10.0, 100.0)],
        "null_energy_share": stat(0.412, 0.012), "near_null": {"fraction": 0.01, "dim": 51, "variance_share": 0.8},
    }  # fmt: skip


def _classes(names: list[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    out = []
    for i, name in enumerate(names):
        sample = rng.normal(-2 + 2 * np.sin(i), 2.0, 100)
        out.append(
            {
                "name": name,
                "images": 100,
                "words": [
                    _word(names[0], "colour", "lost", -12.0 - i, True),
                    _word("snow", None, "gained", 4.0, True),
                ],
                "image_score_deg": stat(30 + 3 * np.cos(i), 1.1, 100),
                "attribute_score_deg": stat(float(np.abs(sample).mean()), 0.4, 100),
                "signed_attribute_score_deg": stat(float(sample.mean()), 0.4, 100),
                "quantiles_deg": np.quantile(sample, np.linspace(0, 1, 21)).tolist(),
            }
        )
    out[-1] |= {"images": 0, "image_score_deg": None, "attribute_score_deg": None, "quantiles_deg": []}
    out[-1]["signed_attribute_score_deg"] = None
    return out


def _concepts(rng: np.random.Generator) -> list[dict[str, Any]]:
    groups = {
        "colour": ["red", "green", "blue", "yellow"],
        "texture": ["smooth", "striped", "dotted"],
        None: ["a photo"],
    }
    return [
        {
            "name": word,
            "group": group,
            "prompt": f"an image of something {word}",
            "attribute_score_deg": stat(float(rng.normal(0, 3))),
            "zero_removal_deg": stat(float(rng.normal(5, 3))),
            "absolute_deg": stat(4.0),
        }
        for group, words in groups.items()
        for word in words
    ]


def _word(name: str, group: str | None, change: str, value: float, angles: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "group": group,
        "change": change,
        "change_deg": stat(value, 0.8, 120),
        "control_deg": -4.2,
        "before_deg": 70.0 if angles else None,
        "after_deg": 70.0 - value if angles else None,
    }


def _words(names: list[str]) -> dict[str, Any]:
    return {
        "lost": [_word(names[0], "colour", "lost", -23.0), _word("green", None, "lost", -11.0)],
        "gained": [_word(names[-1], "texture", "gained", 6.5)],
        "tested": 62,
        "level": 0.05,
    }


def _gallery(names: list[str], count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"img-{i}.png",
            "class_name": names[i % len(names)],
            "predicted": names[i % len(names)],
            "probability": 0.98,
            "image_score_deg": 33.0 + i,
            "attribute_score_deg": 2.0,
            "why": "largest change of reading in its class",
            "words_lost": ["red"],
            "words_gained": ["grey"],
            "thumbnail": thumbnail(i),
            "near_original": _neighbours(i + 1, names),
            "near_equivalent": _neighbours(i + 50, names),
        }
        for i in range(count)
    ]


def _pictures(names: list[str]) -> list[dict[str, Any]]:
    """Equivalents, one of them failed and one without a picture, natural pairs and neighbours."""
    pictures = []
    kinds = ["refined"] * 5 + ["natural pair"] * 3 + ["neighbour"] * 2
    for i, kind in enumerate(kinds):
        made, nothing = kind == "refined", kind == "refined" and i == 4
        control = {
            "logit_difference": 1.5,
            "probability_difference": 0.4,
            "top1_kept": False,
            "null_move": 0.6,
            "image_score_deg": 40.0,
            "attribute_score_deg": -2.0,
            "thumbnail": thumbnail(200 + i),
        }
        numbers = {
            "logit_difference": 0.04,
            "probability_difference": 0.001,
            "top1_kept": True,
            "null_move": 1.3,
            "image_score_deg": 50.0,
            "attribute_score_deg": 20.0 if made else None,
            "probability_after": 0.97,
            "pixel_distance": 40.0,
            "residual": 3.0,
        }
        pictures.append({
            "kind": kind, "group": "colour" if made else "", "value": "red" if made else "",
            "target": "blue" if made else "", "image": f"img-{i}-{names[i % len(names)]}",
            "class_name": names[i % len(names)], "partner": names[1],
            "file": f"pictures/{i:03d}-refined.png" if made else None,
            "original_file": None, **(dict.fromkeys(numbers) if nothing else numbers),
            "success": (i < 3) if made else None,
            "reason": "no equivalent found" if nothing else "the class changed" if i == 3 else "",
            "predicted": names[0], "probability": 0.98, "reach": 0.9 if made else None, "independent_witness": False,
            "control": control if made and not nothing else None, "thumbnail": thumbnail(i),
            "other_thumbnail": "" if nothing else thumbnail(100 + i),
        })  # fmt: skip
    return pictures


def _generation() -> dict[str, Any]:
    return {
        "status": "made", "reason": "", "group": "colour", "toward": "colour", "asked": 5, "logit_bound": 0.05,
        "success": stat(0.6, 0.3, 5), "null_move": stat(1.3, 0.2, 4), "control_null_move": stat(0.6, 0.2, 4),
        "logit_difference": stat(0.04, 0.01, 4), "control_logit_difference": stat(1.5, 0.3, 4),
        "reach": stat(0.9, 0.05, 5),
        "sentence": "3 of 5 images have an equivalent toward another colour with the same logits.",
    }  # fmt: skip


def _gate(rule: str, status: str, value: float | None) -> dict[str, Any]:
    half = (
        {"low": None, "high": None, "n": None} if value is None else {"low": value - 0.1, "high": value + 0.1, "n": 800}
    )
    return {
        "rule": rule,
        "found": "strong" if value is None else str(value),
        "value": value,
        **half,
        "limit": "< 3",
        "status": status,
        "reason": "the interval lies above the limit",
    }


def geometry_only(name: str = "model.onnx") -> AuditResult:
    """What an audit without images finds."""
    geometry = _geometry(8, 64) | {"null_energy_share": None, "near_null": None}
    return AuditResult.model_validate(
        {
            "model": _model([f"class {i}" for i in range(8)], name),
            "geometry": geometry,
            "verdict": {
                "status": "inconclusive",
                "reasons": ["no images were given"],
                "sentence": "The head ignores 56 of 64 dimensions; what they mean was not measured.",
            },
            "not_evaluated": ["Scores: no images were given.", "Concepts: no images were given."],
            "reproduce": {"command": "singaudit run model.onnx", "seed": 0, "precision": "fp32", "versions": {}},
        }
    )


def full(
    names: list[str] | None = None, *, dim: int = 64, status: str = "fail", points: int = 800, name: str = "leaky.onnx"
) -> AuditResult:
    """A complete result; ``names`` are used for classes and everything else that takes a name."""
    hostile = names is HOSTILE
    names = names or ["circle", "square", "triangle", "star", "cross", "ring", "heart", "moon"]
    rng = np.random.default_rng(0)
    scatter = rng.multivariate_normal((-2.2, 31.4), [[4.0, -3.0], [-3.0, 16.0]], points)
    images = {
        "source": names[0] if hostile else "shapes:800",
        "found": 812,
        "used": 800,
        "skipped_count": 2,
        "duplicates": 10,
        "skipped": [{"name": n, "reason": "not an image"} for n in names[:2]],
        "digest": "ab" * 32,
    }
    gates = [
        _gate("scores.attribute_score_deg < 3", "fail", 4.13),
        _gate("finding[colour] not in (strong, partial)", "fail", None),
        _gate("class[circle].attribute_score_deg < 4", "inconclusive", 3.95),
        _gate("translator.r2.low > 0.1", "pass", 0.62),
    ]
    return AuditResult.model_validate(
        {
            "method": {"version": METHOD_VERSION},
            "model": _model(names, names[1] if hostile else name),
            "geometry": _geometry(len(names), dim),
            "data": {
                "audit": images,
                "probe": None,
                "labels": "true",
                "labels_source": names[0] if hostile else "subfolders",
                "accuracy": stat(0.97, 0.01),
                "chance_accuracy": 0.125,
            },
            "encoder": {"name": "builtin:shapes", "revision": "cd" * 32, "family": "clip", "embedding_dim": 64},
            "translator": {
                "r2": stat(0.62, 0.01),
                "r2_null_gain": stat(0.31, 0.01),
                "cosine": stat(0.91, 0.002),
                "cosine_shuffled": stat(0.48, 0.01),
                "agreement": stat(0.93, 0.02),
                "images": 4000,
                "fitted_on": "other folds",
                "folds": 5,
                "penalty": [1.0] * 5,
            },
            "logit_check": {
                "removal": 2.1e-6,
                "mean_removal": 1.9e-6,
                "random_equal_norm": 1.3,
                "principal_equal_norm": 2.9,
                "images": 200,
            },
            "scores": {**_removal(1.0), "mean_removal": _removal(0.8)},
            "controls": [
                {
                    "name": "norm-matched random subspaces",
                    "draws": 99,
                    "images": 800,
                    "scores": [
                        _control("scores.image_score_deg", 31.4, 35.0, 1.0),
                        _control("scores.attribute_score_deg", 4.13, 3.1, 0.3),
                        _control("scores.signed_attribute_score_deg", -2.2, -0.3, 0.5),
                    ],
                }
            ],
            "classes": _classes(names, rng),
            "concepts": _concepts(rng),
            "words": _words(names),
            "findings": [
                _finding("colour", "strong", 0.81),
                _finding("texture", "partial", 0.3),
                _finding("size", "not detected", 0.02),
                _finding("background", "cannot tell", None),
            ],
            "gates": gates if status == "fail" else gates[3:],
            "verdict": {
                "status": status,
                "reasons": ["scores.attribute_score_deg is 4.1 [4.0, 4.3], limit 3"],
                "sentence": "2 of 4 gates failed: what carries colour is ignored by the head.",
            },
            "scatter": {
                "image_score_deg": scatter[:, 1].tolist(),
                "attribute_score_deg": scatter[:, 0].tolist(),
                "class_index": [0] * points,
                "mean": [-2.2, 31.4],
                "covariance": [[4.0, -3.0], [-3.0, 16.0]],
            },
            "gallery": _gallery(names, 12),
            "pictures": _pictures(names),
            "generation": _generation(),
            "pair_search": {"images": 800, "tolerance": 0.1, "min_null": 0.8, "found": 3},
            "warnings": ["softmax was assumed: state --activation"],
            "not_evaluated": ["Generated pictures: not part of this version."],
            "reproduce": {
                "command": "singaudit run leaky.onnx --images shapes:800 --vlm builtin:shapes --seed 0",
                "seed": 0,
                "precision": "fp32",
                "versions": {"singaudit": "0.1.0", "numpy": "2.1.0"},
            },
        }
    )
