"""The formats: a graph to bytes, and such bytes back to a function, by the program that reads them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from zoo.errors import Option, ResultError
from zoo.export.graph import Graph

INPUT, OUTPUT = "image", "logits"
Exported = Callable[[Tensor], Tensor]  # (N, 3, H, W) float32 from 0 to 1 -> (N, classes) logits


@dataclass(frozen=True)
class Format:
    """`encode` makes a file's bytes of the graph, example images (2, 3, H, W), the export's config and the weights.

    `open` makes a function of such bytes, beside the graph that they were made of; `usage` is a script that does so.
    """

    file: str
    label: str
    encode: Callable[[Graph, Tensor, Mapping[str, Any], bytes], bytes]
    open: Callable[[bytes, Graph], Exported]
    usage: str


def encode(chosen: Format, graph: Graph, example: Tensor, config: Mapping[str, Any], weights: bytes) -> bytes:
    """`graph` in the `chosen` format, silently; `weights` is the run's own file.

    Raises :class:`ResultError`, in one line, where the exporter cannot.
    """
    try:
        with _quiet(), torch.no_grad():
            return chosen.encode(graph, example, config, weights)
    except Exception as problem:  # whatever an exporter makes of a model that it does not know
        line = next(iter(str(problem).strip().splitlines()), "")
        raise ResultError(
            f"{config['model']}: cannot be exported as {chosen.label} by torch {torch.__version__}: "
            f"{type(problem).__name__}: {line[:200]}; choose another format with ",
            Option("to"),
        ) from problem


def _program(graph: Graph, example: Tensor) -> torch.export.ExportedProgram:
    program = torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _open_weights(content: bytes, graph: Graph) -> Exported:
    fresh = copy.deepcopy(graph)
    for tensor in (*fresh.model.parameters(), *fresh.model.buffers()):
        tensor.data.zero_()  # so that what the file lacks is noticed
    fresh.model.load_state_dict(load(content), strict=True)
    return fresh


def _encode_program(graph: Graph, example: Tensor, config: Mapping[str, Any], weights: bytes) -> bytes:
    content = io.BytesIO()
    facts = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    torch.export.save(_program(graph, example), content, extra_files={"config.json": facts})
    return content.getvalue()


def _encode_onnx(graph: Graph, example: Tensor, config: Mapping[str, Any], weights: bytes) -> bytes:
    import onnx

    exported = torch.onnx.export(
        _program(graph, example), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert exported is not None  # it is without dynamo
    model = exported.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *(node for f in model.functions for node in f.node)):
        del part.metadata_props[:]  # where in torch's and this machine's files each operation comes from
    model.doc_string = config["model"]
    # A property is text; lists and mappings are JSON.
    properties = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _open_onnx(content: bytes, graph: Graph) -> Exported:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters: the check finds what goes wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_USE_WEIGHTS = """import json

import torch
import zoo
from safetensors.torch import load_file

config = json.load(open("config.json"))
resize = config["resize"]
size = resize["size"] if resize else config["input_size"]
model = zoo.build(config["model"], config["num_classes"], image_size=size).eval()
model.load_state_dict(load_file("model.safetensors"))
mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
images = torch.rand(1, 3, *config["input_size"])  # pixels / 255, R, G, B
if resize:
    images = torch.nn.functional.interpolate(images, **resize)
logits = model((images - mean) / std)
print(config["classes"][logits.argmax(1).item()])
"""
_USE_PROGRAM = """import json

import torch

config = json.load(open("config.json"))
model = torch.export.load("model.pt2").module()
images = torch.rand(1, 3, *config["input_size"])  # pixels / 255, R, G, B; the program does more
logits = model(images)
print(config["classes"][logits.argmax(1).item()])
"""
_USE_ONNX = """import json

import numpy as np
import onnxruntime

config = json.load(open("config.json"))
session = onnxruntime.InferenceSession("model.onnx")
images = np.random.rand(1, 3, *config["input_size"]).astype(np.float32)  # pixels / 255, R, G, B; the graph does more
(logits,) = session.run(["logits"], {"image": images})
print(config["classes"][logits.argmax(1).item()])
"""
FORMATS: dict[str, Format] = {
    "safetensors": Format(
        "model.safetensors", "safetensors", lambda graph, example, config, weights: weights, _open_weights, _USE_WEIGHTS
    ),
    "torch-export": Format(
        "model.pt2",
        "a program of torch.export",
        _encode_program,
        lambda content, graph: torch.export.load(io.BytesIO(content)).module(),
        _USE_PROGRAM,
    ),
    "onnx": Format("model.onnx", "ONNX", _encode_onnx, _open_onnx, _USE_ONNX),
}
