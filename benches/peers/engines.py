"""Engines that run networks, each on one thread, behind one interface.

An engine is made for one network; `run(blob)` is only the forward pass, on a prepared input, and
returns the outputs in the order of the ONNX file. No feature of an engine is disabled.
"""

import networks


class Onnxruntime:
    suffix = ".onnx"

    def __init__(self, folder, name):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = str(folder / f"{name}{self.suffix}")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def run(self, blob):
        return self.session.run(None, {"input": blob})


class OnnxruntimeInBytes(Onnxruntime):
    suffix = ".int8.onnx"


class OpenCv:
    def __init__(self, folder, name):
        import cv2

        cv2.setNumThreads(1)
        self.network = cv2.dnn.readNetFromONNX(str(folder / f"{name}.onnx"))
        self.outputs = outputs(folder, name)

    def run(self, blob):
        self.network.setInput(blob)
        return self.network.forward(self.outputs)


class Ncnn:
    bf16 = False

    def __init__(self, folder, name):
        import ncnn

        ncnn.set_omp_num_threads(1)
        self.ncnn, self.network = ncnn, ncnn.Net()
        self.network.opt.num_threads = 1
        self.network.opt.use_bf16_storage = self.bf16
        for load, part in [(self.network.load_param, "param"), (self.network.load_model, "bin")]:
            if load(str(folder / f"{name}.ncnn.{part}")) != 0:
                raise RuntimeError(f"ncnn does not load the {part} of {name}")
        self.outputs = [f"out{index}" for index in range(len(outputs(folder, name)))]

    def run(self, blob):
        extractor = self.network.create_extractor()
        extractor.input("in0", self.ncnn.Mat(blob[0]))
        found = [extractor.extract(name) for name in self.outputs]
        # Views into memory of the extractor, which is freed here.
        return [output.numpy().copy() for _, output in found]


class NcnnInBf16(Ncnn):
    """With half the bits per weight and product, which ncnn does only on request."""

    bf16 = True


def outputs(folder, name):
    """The outputs' names in the order of the ONNX file."""
    import onnx

    model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
    return [output.name for output in model.graph.output]


ENGINES = {
    "onnxruntime": Onnxruntime,
    "onnxruntime-int8": OnnxruntimeInBytes,
    "opencv": OpenCv,
    "ncnn": Ncnn,
    "ncnn-bf16": NcnnInBf16,
}


class Networks:
    """The measured work of one engine: `pass_of(what)` returns a function without arguments
    whose time counts; its result is the outputs of the parts of `what`, part after part."""

    def __init__(self, engine, folder, pictures):
        self.engine, self.folder, self.pictures = ENGINES[engine], folder, pictures

    def pass_of(self, what):
        parts = [
            (self.engine(self.folder, name), networks.blob(self.pictures[name], name))
            for name in networks.PARTS[what]
        ]
        return lambda: [part.run(blob) for part, blob in parts]
