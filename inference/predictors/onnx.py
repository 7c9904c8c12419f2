"""A network on ONNX Runtime, in double precision: equal to numpy's, on one or several threads, without torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inference.contract.network import Activation, NetworkSpec, Single
from inference.contract.schema import Floats
from inference.predictors import inline_rows

OPSET = 17
IR = 8
"""Old enough for every ONNX Runtime that our extra allows."""


class OnnxPredictor:
    """The graph of a NetworkSpec, built from its weights."""

    lanes = 1

    def __init__(self, spec: NetworkSpec, weights: Mapping[str, Single], threads: int = 1) -> None:
        self.name = f"onnx {threads} threads" if threads > 1 else "onnx"
        self.inline_rows = inline_rows(spec)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(graph(spec, weights), options, providers=["CPUExecutionProvider"])

    def __call__(self, features: Single) -> Floats:
        """Raw outputs, float64 of shape (rows, outputs)."""
        outputs: Floats = self._session.run(None, {"features": features})[0]
        return outputs


def graph(spec: NetworkSpec, weights: Mapping[str, Single]) -> bytes:
    """The network as an ONNX model: float32 features in, float64 arithmetic, float64 outputs."""
    nodes = [helper.make_node("Cast", ["features"], ["h0"], to=TensorProto.DOUBLE)]
    constants = []
    last = len(spec.hidden)
    for layer in range(last + 1):
        weight = np.ascontiguousarray(weights[f"layers.{layer}.weight"].T, dtype=np.float64)
        constants.append(numpy_helper.from_array(weight, f"w{layer}"))
        constants.append(numpy_helper.from_array(weights[f"layers.{layer}.bias"].astype(np.float64), f"b{layer}"))
        out = "outputs" if layer == last else f"z{layer}"
        nodes.append(helper.make_node("Gemm", [f"h{layer}", f"w{layer}", f"b{layer}"], [out]))
        if layer < last:
            nodes += _activation(spec.activation, out, f"h{layer + 1}")
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, spec.inputs])],
        [helper.make_tensor_value_info("outputs", TensorProto.DOUBLE, [None, spec.outputs])],
        constants,
    )
    content: bytes = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="sagestage"
    ).SerializeToString()
    return content


def _activation(kind: Activation, value: str, result: str) -> list[NodeProto]:
    match kind:
        case Activation.RELU:
            return [helper.make_node("Relu", [value], [result])]
        case Activation.TANH:
            return [helper.make_node("Tanh", [value], [result])]
        case Activation.SILU:
            gate = f"{value}_gate"
            return [
                helper.make_node("Sigmoid", [value], [gate]),
                helper.make_node("Mul", [value, gate], [result]),
            ]
