"""Small torch classifiers, as checkpoints, programs and folders of the hub's layout."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import torch
from torch import nn

from singaudit.torchvision_import import import_torchvision

import_torchvision()
import timm  # noqa: E402

ARCH = "test_resnet"


class Net(nn.Module):
    """Preprocessing inside, any layout: mean colour and its gradients -> features -> logits."""

    def __init__(self, classes=3, layout="nchw", channels=3, dtype="float32", sigmoid=False):
        super().__init__()
        self.layout, self.dtype, self.sigmoid = layout, dtype, sigmoid
        self.conv = nn.Conv2d(channels, 12, 3, 2)
        self.head = nn.Linear(12, classes)

    def forward(self, x):
        if self.dtype == "uint8":
            # A byte has no negative and no mean: only images of whole numbers pass.
            x = torch.bitwise_and(x, 255).float() / 255
        if self.layout == "nhwc":
            x = x.permute(0, 3, 1, 2)
        y = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return torch.sigmoid(y) if self.sigmoid else y


def network(classes=5, seed=0, **options):
    """A timm network of 371,477 weights whose batch statistics do something."""
    torch.manual_seed(seed)
    module = timm.create_model(ARCH, num_classes=classes, **options).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module


def images(shape, count=3, seed=0):
    """(count, *shape) float32."""
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def native(module, inputs):
    """The module's own logits."""
    with torch.inference_mode():
        return module(torch.from_numpy(inputs)).numpy()


def rezipped(path, target, change, compress=zipfile.ZIP_STORED):
    """A copy of a zip archive with ``change(name, data)`` instead of each entry's data."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compress) as new:
        for item in old.infolist():
            new.writestr(item.filename, change(item.filename, old.read(item.filename)))
    return target


def write_json(path, document):
    path.write_text(json.dumps(document))
    return path
