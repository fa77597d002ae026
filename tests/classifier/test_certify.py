"""The certificate without images: a bounded one by default, and a thorough one where that does not pass."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from singaudit.classifier.certify import CERTIFIED_IMAGES, certify_on_noise
from singaudit.classifier.interface import Certificate, Preprocessing

PASSED = Certificate("passed", "fp32", 1e-3, 0.0, 0.0, 0.0, 1.0, 1.0, "noise")


@dataclass
class Asked:
    """A classifier that tells what its certificate was asked on."""

    answers: list
    asked: list = field(default_factory=list)
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(12, 20))

    def certify(self, inputs, *, seed=0, device="cpu", gradients=None):
        assert inputs.shape[1:] == (3, 12, 20)
        assert np.isfinite(inputs).all()
        self.asked.append((len(inputs), gradients))
        return replace(PASSED, status=self.answers[len(self.asked) - 1])


@pytest.mark.parametrize(
    ("thorough", "answers", "asked", "said"),
    [
        (True, ["passed"], [(CERTIFIED_IMAGES, None)], "noise (16 images)"),
        (False, ["passed"], [(2, 1)], "noise (2 images, gradient of 1)"),
        (False, ["unsupported"], [(2, 1)], "noise (2 images, gradient of 1)"),
        (False, ["failed", "passed"], [(2, 1), (CERTIFIED_IMAGES, None)], "noise (16 images)"),
    ],
)
def test_few_images_are_enough_where_the_copy_passes(thorough, answers, asked, said):
    classifier = Asked(answers)
    found = certify_on_noise(classifier, thorough=thorough)
    assert (classifier.asked, found.status, found.ran_on) == (asked, answers[-1], said)
