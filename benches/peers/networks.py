"""The networks as the peers read them: ONNX, ONNX in 8 bits, ncnn.

The comparison is about the speed of engines, so all of them get the same weights in a form that
suits them: batch-norm folded in, no scaling of the input, and shapes fixed. YuNet is its authors'
ONNX file at another input size (its exporter has already folded batch-norm); SFace and the
MiniFASNets are built from the f32 twins of the project's own models, which come from the authors'
files with batch-norm folded and nothing else changed.

The input is NCHW f32: YuNet and MiniFASNet read B, G, R of 0-255, SFace (R, G, B - 127.5) / 128.
"""

import importlib.util
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
# All have three input channels.
SIDES = {"yunet": 320, "sface": 112, "minifasnet-v2": 80, "minifasnet-v1se": 80}
# The networks that a peer runs under one name: the liveness networks run as a pair.
PARTS = {"yunet": ["yunet"], "sface": ["sface"], "minifasnet": ["minifasnet-v2", "minifasnet-v1se"]}
SFACE_BLOCKS = 13
SFACE_HALVES = {3, 5, 7, 13}
MINIFASNET_STAGES = [("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2)]


def blob(rgb, name):
    """The input of a network, from pixels [height, width, 3] of R, G, B."""
    if name == "sface":
        planes = (rgb.astype(np.float32) - 127.5) / 128.0
    else:
        planes = rgb[:, :, ::-1].astype(np.float32)
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])


class Graph:
    """An ONNX graph to which layers of a GGUF file are appended."""

    def __init__(self, twin):
        self.tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(twin).tensors}
        self.nodes, self.constants, self.last = [], [], "input"

    def node(self, operator, inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.last = name
        return name

    def constant(self, name, values):
        values = np.ascontiguousarray(values, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def activation(self, layer):
        if f"{layer}.slope" in self.tensors:
            slope = self.tensors[f"{layer}.slope"].reshape(-1, 1, 1)
            self.node("PRelu", [self.last, self.constant(f"{layer}.slope", slope)])

    def convolution(self, layer, inputs, side=1, stride=1, padding=0):
        """`inputs` 1: depthwise. Rows of the file run over (y, x, input), each zero-padded."""
        rows = self.tensors[f"{layer}.weight"][:, : side * side * inputs]
        kernel = rows.reshape(-1, side, side, inputs).transpose(0, 3, 1, 2)
        names = [
            self.constant(f"{layer}.weight", kernel),
            self.constant(f"{layer}.bias", self.tensors[f"{layer}.bias"]),
        ]
        group = len(kernel) if inputs == 1 else 1
        shape = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        self.node("Conv", [self.last, *names], group=group, **shape)
        self.activation(layer)
        return len(kernel)

    def matrix(self, layer, shape):
        """Over a whole map of that shape (height, width, channels)."""
        columns = int(np.prod(shape))
        rows = self.tensors[f"{layer}.weight"][:, :columns].reshape(-1, *shape)
        rows = rows.transpose(0, 3, 1, 2).reshape(-1, columns)
        names = [
            self.constant(f"{layer}.weight", rows),
            self.constant(f"{layer}.bias", self.tensors[f"{layer}.bias"]),
        ]
        self.node("Gemm", [self.node("Flatten", [self.last]), *names], transB=1)

    def model(self, side, outputs):
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self.nodes[-1].output[0] = "output"
        graph = helper.make_graph(
            self.nodes,
            "network",
            [value("input", [1, 3, side, side])],
            [value("output", [1, outputs])],
            self.constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.checker.check_model(model)
        return model


def yunet(original):
    model = onnx.load(original)
    side = SIDES["yunet"]
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = side
    for output in model.graph.output:
        stride = int(output.name.split("_")[1])
        output.type.tensor_type.shape.dim[1].dim_value = (side // stride) ** 2
    del model.graph.value_info[:]
    model = onnx.version_converter.convert_version(model, OPSET)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def sface(twin):
    graph = Graph(twin)
    channels = graph.convolution("conv_1", 3, side=3, padding=1)
    for number in range(2, 2 + SFACE_BLOCKS):
        stride = 2 if number in SFACE_HALVES else 1
        graph.convolution(f"conv_{number}.depthwise", 1, side=3, stride=stride, padding=1)
        channels = graph.convolution(f"conv_{number}.pointwise", channels)
    graph.matrix("embedding", (7, 7, channels))
    return graph.model(SIDES["sface"], 128)


def minifasnet(twin):
    graph = Graph(twin)
    channels = graph.convolution("conv1", 3, side=3, stride=2, padding=1)
    graph.convolution("conv2_dw", 1, side=3, padding=1)
    for reduction, stage, blocks in MINIFASNET_STAGES:
        channels = block(graph, reduction, channels, stride=2)
        for number in range(blocks):
            before = graph.last
            channels = block(graph, f"{stage}.model.{number}", channels, stride=1)
            excite(graph, f"{stage}.model.{number}.se", channels)
            graph.node("Add", [before, graph.last])
    channels = graph.convolution("conv_6_sep", channels)
    graph.convolution("conv_6_dw", 1, side=5)
    graph.matrix("linear", (1, 1, channels))
    graph.matrix("prob", (1, 1, graph.tensors["linear.bias"].size))
    return graph.model(SIDES["minifasnet-v2"], 3)


def block(graph, name, channels, stride):
    graph.convolution(f"{name}.conv", channels)
    hidden = graph.tensors[f"{name}.conv.bias"].size
    graph.convolution(f"{name}.conv_dw", 1, side=3, stride=stride, padding=1)
    return graph.convolution(f"{name}.project", hidden)


def excite(graph, name, channels):
    """Weighs the channels by their means, if the network has weights for that."""
    if f"{name}.fc1.weight" not in graph.tensors:
        return
    values = graph.last
    graph.node("GlobalAveragePool", [values])
    hidden = graph.convolution(f"{name}.fc1", channels)
    graph.node("Relu", [graph.last])
    graph.convolution(f"{name}.fc2", hidden)
    graph.node("Mul", [values, graph.node("Sigmoid", [graph.last])])


def in_bytes(model, out, crops):
    """onnxruntime's own static quantization: QDQ, per channel, ranges from those crops."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = out.name.removesuffix(".int8.onnx")

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.blobs = iter([{"input": blob(crop, name)} for crop in crops])

        def get_next(self):
            return next(self.blobs, None)

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


def to_ncnn(model, side):
    """ncnn's own converter; its passes fold and fuse what they can. Weights stay f32."""
    # The package's own entry point imports torch, which the program itself does not need.
    program = pathlib.Path(importlib.util.find_spec("pnnx").origin).parent / "pnnx"
    files = [f"ncnn{part}={model.with_suffix(f'.ncnn.{part}')}" for part in ["param", "bin"]]
    with tempfile.TemporaryDirectory() as folder:
        # pnnx writes its other files next to the model.
        source = pathlib.Path(folder, model.name)
        source.symlink_to(model)
        command = [program, source, f"inputshape=[1,3,{side},{side}]f32", "fp16=0", *files]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode != 0 or not model.with_suffix(".ncnn.param").exists():
        raise RuntimeError(f"pnnx made no ncnn model of {model.name}:\n{done.stdout}\n{done.stderr}")


def make(original_yunet, twins, folder, crops):
    """Writes every network in every form to `folder`; `crops` are pictures to calibrate each by."""
    folder, twins = pathlib.Path(folder).resolve(), pathlib.Path(twins)
    makers = {
        "yunet": lambda: yunet(original_yunet),
        "sface": lambda: sface(twins / "sface.gguf"),
        "minifasnet-v2": lambda: minifasnet(twins / "minifasnet-v2.gguf"),
        "minifasnet-v1se": lambda: minifasnet(twins / "minifasnet-v1se.gguf"),
    }
    for name, maker in makers.items():
        path = folder / f"{name}.onnx"
        onnx.save(maker(), path)
        in_bytes(path, folder / f"{name}.int8.onnx", crops[name])
        to_ncnn(path, SIDES[name])
