"""The shadow copy passes the official node tests, and refuses the rest by name."""

from __future__ import annotations

import tomllib

import backend_suite
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from singaudit.classifier.shadow.module import shadow_copy


@pytest.fixture(scope="module")
def expected():
    table = tomllib.loads(backend_suite.TABLE.read_text())
    if table["onnx"] != onnx.__version__:
        pytest.skip(f"the table is that of onnx {table['onnx']}, installed is {onnx.__version__}")
    return table


@pytest.fixture(scope="module")
def whole():
    return backend_suite.outcomes(False, lambda case: True)


def test_the_table_of_what_is_unsupported_is_true(expected, whole):
    listed = {name: reason for reason, names in expected["unsupported"].items() for name in names}
    assert whole["unsupported"] == listed
    assert set(whole["wrong"]) == set(expected["deviating"])


def test_the_whole_suite_passes_but_for_the_table(whole):
    assert len(whole["passed"]) >= 1770


def test_vision_operators_pass_with_weights_bound_as_initializers(expected):
    results = backend_suite.outcomes(True, backend_suite.is_vision)
    assert len(results["passed"]) >= 1160
    assert set(results["wrong"]) <= set(expected["deviating"])
    assert len(results["unsupported"]) <= 12


def test_where_the_copy_deviates_onnx_runtime_does_too(whole):
    for case in backend_suite.cases():
        if case.name in whole["wrong"]:
            (inputs, _) = case.data_sets[0]
            arrays = [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v) for v in inputs]
            session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
            names = [value.name for value in session.get_inputs()]
            reference = session.run(None, dict(zip(names, arrays, strict=True)))[0]
            ours = shadow_copy(case.model)(*(torch.from_numpy(array) for array in arrays))[0]
            np.testing.assert_allclose(ours.numpy(), reference, rtol=1e-5, atol=1e-6)
