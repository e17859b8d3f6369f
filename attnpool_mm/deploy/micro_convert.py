"""Convert, quantize and run a network for a microcontroller.

    python micro_convert.py FOLDER

A script for the Python of `make micro`, which has no attnpool_mm;
`attnpool_mm.deploy.micro` runs it. FOLDER holds `program.pt2`, an exported program of
one image (1, H, W, C), `images.npy` (N, H, W, C) to run it on, and for int8
`calibration.npy` of the same shape. It writes `model.tflite`, `result.json`, and the
outputs of each runtime as `RUNTIME.npy`. `stage` names what it is doing.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.utils.qsv_utils import min_max_update
from tflite_micro.python.tflite_micro import runtime

SIGNATURE = "serving_default"  # the name that litert-torch gives the only one
# TensorFlow Lite Micro's int8 softmax stops the process where the exponentials of a
# row add up to 2^9 or more, as over 600 tokens alike, and its codes, of 1/256, are zero
# for a share below 1/512. It has no int8 square root, and an int8 division refuses a
# divisor whose code is that of zero.
KEPT_FLOAT = ("SOFTMAX", "SQRT", "DIV")
ARENA_LIMIT = 2**31 - 1  # only what is used of it takes memory


def convert(program: Path, target: Path) -> None:
    """Convert an exported program to a LiteRT file in float32."""
    exported = torch.export.load(program)
    images = exported.example_inputs[0]
    # Folding: what is made of constants alone, such as positions, is one constant.
    model = litert_torch.convert(
        exported.module(), images, runtime_constant_folding=True
    )
    model.export(str(target))


def quantize(content: bytes, images: np.ndarray) -> bytes:
    """Make a float32 file int8, weights by channel, by the ranges on images.

    The ranges are the least and the largest value of all images. The quantizer's own
    default is a moving average, of which the first image is most.

    Above 256 KiB of constants the quantizer writes them behind the flatbuffer, where
    TensorFlow Lite Micro does not look: it takes them for activations, and computes
    with what is in its arena. Here they are put inside.
    """
    tool = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
    for name in KEPT_FLOAT:
        tool.update_quantization_recipe(".*", name, algorithm_key="no_quantize")
    runner = Interpreter(model_content=content).get_signature_runner(SIGNATURE)
    (name,) = runner.get_input_details()
    calibrator = Calibrator(
        bytearray(content), num_threads=1, qsv_update_func=min_max_update
    )
    data = [{name: image[None]} for image in images]
    calibrator.calibrate({SIGNATURE: data}, tool._recipe_manager)
    ranges = calibrator.get_model_qsvs()
    for found in ranges.values():
        # A range of nothing gives a scale that stops TensorFlow Lite Micro; zero is
        # exact in any.
        if found and not np.any(found["min"]) and not np.any(found["max"]):
            found["min"], found["max"] = found["min"] - 1, found["max"] + 1
    written = tool.quantize(ranges).quantized_model
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(written))
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def quantized(image: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """An image (H, W, C) as the file's input, (1, H, W, C)."""
    if details["dtype"] is np.float32:
        return image[None]
    scale, zero = details["quantization"]
    info = np.iinfo(details["dtype"])
    codes = np.clip(np.round(image / scale) + zero, info.min, info.max)
    return codes.astype(details["dtype"])[None]


def real(output: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """The real values of an output of the file."""
    if details["dtype"] is np.float32:
        return output.copy()
    scale, zero = details["quantization"]
    return (output.astype(np.float32) - zero) * scale


def run_litert(content: bytes, images: np.ndarray) -> np.ndarray:
    """Outputs (N, classes) of LiteRT."""
    runner = Interpreter(model_content=content, num_threads=1)
    runner.allocate_tensors()
    (entry,), (exit_,) = runner.get_input_details(), runner.get_output_details()
    outputs = []
    for image in images:
        runner.set_tensor(entry["index"], quantized(image, entry))
        runner.invoke()
        outputs.append(real(runner.get_tensor(exit_["index"]), exit_))
    return np.concatenate(outputs)


def run_micro(content: bytes, images: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Outputs (N, classes) of TensorFlow Lite Micro, and the bytes of its arena."""
    details = Interpreter(model_content=content)
    (entry,), (exit_,) = details.get_input_details(), details.get_output_details()
    runner = runtime.Interpreter.from_bytes(content, arena_size=ARENA_LIMIT)
    outputs = []
    for image in images:
        runner.set_input(quantized(image, entry), 0)
        runner.invoke()
        outputs.append(real(runner.get_output(0), exit_))
    with captured_stderr() as text:
        runner.print_allocations()
    found = re.findall(r"Arena allocation (\w+) (\d+) bytes", text[0])
    return np.concatenate(outputs), {name: int(count) for name, count in found}


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """What C++ code writes to the standard error, as the only item, afterwards."""
    text = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        text.append(file.read().decode())


def operators(content: bytes) -> list[dict[str, Any]]:
    """The file's operators in their order, with types, shapes and bytes of tensors."""
    runner = Interpreter(model_content=content)

    def tensor(index: int) -> dict[str, Any]:
        details = runner._get_tensor_details(index, 0)
        dtype, shape = np.dtype(details["dtype"]), details["shape"].tolist()
        return dict(dtype=dtype.name, shape=shape, bytes=dtype.itemsize * _size(shape))

    return [
        dict(
            name=operator["op_name"],
            inputs=[tensor(i) for i in operator["inputs"] if i >= 0],
            outputs=[tensor(i) for i in operator["outputs"]],
        )
        for operator in runner._get_ops_details()
    ]


def _size(shape: list[int]) -> int:
    return int(np.prod(shape))


def describe(details: dict[str, Any]) -> dict[str, Any]:
    """Type, shape and, of int8, scale and zero point of an input or output."""
    scale, zero = details["quantization"]
    return dict(
        dtype=np.dtype(details["dtype"]).name,
        shape=details["shape"].tolist(),
        scale=float(scale),
        zero_point=int(zero),
    )


def main(folder: Path) -> None:
    """Do all of it, in FOLDER."""

    def stage(name: str) -> None:
        (folder / "stage").write_text(name)

    target = folder / "model.tflite"
    stage("the conversion to LiteRT")
    convert(folder / "program.pt2", target)
    content = target.read_bytes()
    if (folder / "calibration.npy").exists():
        stage("the quantization to int8")
        content = quantize(content, np.load(folder / "calibration.npy"))
        target.write_bytes(content)
    images = np.load(folder / "images.npy")
    stage("LiteRT")
    np.save(folder / "litert.npy", run_litert(content, images))
    stage("TensorFlow Lite Micro")
    outputs, arena = run_micro(content, images)
    np.save(folder / "micro.npy", outputs)
    runner = Interpreter(model_content=content)
    result = dict(
        arena=arena,
        input=describe(runner.get_input_details()[0]),
        output=describe(runner.get_output_details()[0]),
        operators=operators(content),
    )
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
