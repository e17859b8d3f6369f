"""What is traced for LiteRT is what PyTorch computes; and what fails says so."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.cnn import HSigmoid
from torch import nn

from attnpool_mm.deploy.micro import (
    DEFAULT_PYTHON,
    MicroExport,
    agreement,
    export_micro,
    export_program,
)
from attnpool_mm.deploy.tiling import tile_attention
from attnpool_mm.pooling import build_pool, pool_names
from attnpool_mm.utils.errors import ConfigError

PYTHON = Path(__file__).parents[2] / DEFAULT_PYTHON
IMAGE = 16


def network(pool, **kwargs):
    """A classifier with a pool whose norms have seen images, in evaluation."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        build_pool(dict(type=pool, **kwargs), 8, 2),
        nn.Conv2d(8, 16, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for _ in range(10):
            model(images(8))
    return model.eval()


def images(count):
    """Noise of several strengths and brightnesses, so that outputs differ."""
    strength = 0.3 + 2 * torch.rand(count, 3, 1, 1)
    return torch.randn(count, 3, IMAGE, IMAGE) * strength + torch.randn(count, 3, 1, 1)


def difference_of(program, model, x):
    """The largest difference between what was traced and the model."""
    with torch.no_grad():
        traced = program.module()(x.permute(0, 2, 3, 1).contiguous())
        return (traced - model(x)).abs().max()


def names_in(program):
    """The operators of what was traced, in one text."""
    return " ".join(str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("pool", ["GaussianPool2d", "DeformableSelfAttentivePool2d"])
def test_rewritten_operators_give_the_same(pool):
    model = network(pool)
    if pool == "DeformableSelfAttentivePool2d":  # which starts with no offsets
        nn.init.normal_(model[3].offset.weight)
    x = images(1)
    program = export_program(model, x)
    assert difference_of(program, model, x) < 1e-5
    # TensorFlow Lite Micro lacks what LiteRT makes of these.
    assert "softplus" not in names_in(program) and "gather" not in names_in(program)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 4, 1), (5, 3, 2)])
@pytest.mark.parametrize("size", [(7, 9), (8, 6)])
def test_means_of_what_is_inside_the_map(size, window, ceil_mode):
    pool = nn.AvgPool2d(*window, ceil_mode=ceil_mode, count_include_pad=False)
    x = torch.randn(1, 3, *size)
    program = export_program(pool, x)
    assert difference_of(program, pool, x) < 1e-6
    (traced,) = program.graph.find_nodes(
        op="call_function", target=torch.ops.aten.avg_pool2d.default
    )
    assert len(traced.args) == 3 and not traced.kwargs  # kernel and stride alone


@pytest.mark.parametrize("blocks", [None, 2])
def test_attention_to_one_token(blocks):
    pool = build_pool(dict(type="SelfAttentivePool2d", normalize=False), 8, 2).eval()
    pool.attention.blocks = blocks
    x = torch.randn(1, 8, 1, 1)
    program = export_program(pool, x)
    assert difference_of(program, pool, x) < 1e-6
    assert "softmax" not in names_in(program)
    assert "dot_product" not in names_in(program)


def fake_python(folder, script):
    """A Python that is none."""
    path = folder / "python"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'No module named litert_torch' >&2; exit 1", "make micro"),
        (
            "printf LiteRT > $2/stage; printf 'Traceback (most recent call last):\n"
            "  in a file\nno such operator\n' >&2; exit 1",
            "^LiteRT failed: no such operator$",
        ),
        ("echo 'LiteRT' > $2/stage; kill -6 $$", "signal 6"),
    ],
)
def test_what_fails_in_the_other_environment(script, said, tmp_path):
    model, target = nn.Flatten(), tmp_path / "model.tflite"
    with pytest.raises(ConfigError, match=said):
        export_micro(model, images(1), target, None, fake_python(tmp_path, script))
    assert not target.exists()


@pytest.mark.filterwarnings("error::FutureWarning")  # what a user would see
def test_a_target_that_cannot_be_written(tmp_path):
    """The converter's part is done by hand: a file, outputs and a result."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.tflite").write_bytes(b"new")
    for name in ("litert", "micro"):
        np.save(made / f"{name}.npy", np.zeros((1, 6)))
    parts = dict(arena={}, input={}, output={}, operators=[])
    (made / "result.json").write_text(json.dumps(parts))
    python = fake_python(tmp_path, f"cp {made}/* $2/")
    arguments = (nn.Flatten(), images(1))
    target = tmp_path / "model.tflite"
    exported = export_micro(*arguments, target, None, python)
    assert target.read_bytes() == b"new" and exported.file_bytes == 3
    there = {path.name for path in tmp_path.iterdir()}
    for wrong in (made, target / "a.tflite"):
        with pytest.raises(ConfigError, match=f"{wrong}: it cannot be written"):
            export_micro(*arguments, wrong, None, python)
    assert {path.name for path in tmp_path.iterdir()} == there


def test_what_is_between_0_and_1_is_traced_as_between_0_and_6():
    gate, x = HSigmoid(), 4 * images(1)  # of MobileNetV3
    program = export_program(gate, x)
    assert difference_of(program, gate, x) < 1e-6
    assert "clamp" not in names_in(program)


class Brightest(nn.Module):
    """What torch.export cannot trace: what runs depends on the image."""

    def forward(self, x):
        return x if x.max() > 0 else -x


@pytest.mark.parametrize(("kernel", "padding", "linear"), [(1, 0, True), (3, 1, False)])
def test_a_convolution_of_one_pixel_is_a_linear_layer(kernel, padding, linear):
    conv = nn.Conv2d(3, 5, kernel, padding=padding)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv)
    x = images(1)
    program = export_program(model, x)
    assert difference_of(program, model, x) < 1e-5
    # LiteRT fails at the convolution where the pixel was a token of attention.
    assert ("conv2d" not in names_in(program)) is linear


def test_what_cannot_be_traced():
    with pytest.raises(ConfigError, match="Brightest"):
        export_program(Brightest(), images(1))


def test_agreement():
    truth = np.array([[0.0, 1.0], [3.0, 2.0]])
    other = np.array([[0.5, 1.0], [2.0, 4.0]])
    exported = MicroExport(0, {}, {}, {}, [], {"PyTorch": truth, "LiteRT": other})
    assert agreement(exported) == {"LiteRT": (2.0, 0.5)}


needs_micro = pytest.mark.skipif(
    not PYTHON.exists(), reason="no environment of `make micro`"
)


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("pool", [*pool_names(), "original"])
def test_every_pool(pool, quantized, tmp_path):
    if pool == "original":  # whose windows overlap
        model = network("LocalImportancePool2d", form="original")
        nn.init.constant_(model[3].norm.weight, 0.3)
    else:
        model = network(pool)
    x = images(16)
    exported = export_micro(
        model, x, tmp_path / "model.tflite", x if quantized else None, PYTHON
    )
    values = exported.outputs["PyTorch"]
    limit = 0.1 * np.ptp(values) if quantized else 1e-5
    for difference, _ in agreement(exported).values():
        assert difference < limit
    assert exported.arena["head"] + exported.arena["tail"] == exported.arena["total"]
    assert exported.arena["head"] >= IMAGE * IMAGE * 8 * (1 if quantized else 4)


@pytest.mark.slow
@needs_micro
def test_constants_of_a_large_file_are_in_its_flatbuffer(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 640), nn.Linear(640, 640)
    )
    x = images(16)
    exported = export_micro(model.eval(), x, tmp_path / "model.tflite", x, PYTHON)
    assert exported.file_bytes > 256 * 1024 > exported.arena["total"]
    difference, _ = agreement(exported)["TensorFlow Lite Micro"]
    assert difference < 0.1 * np.ptp(exported.outputs["PyTorch"])


@pytest.mark.slow
@needs_micro
def test_blocks_need_less_than_the_whole_matrix(tmp_path):
    model, x = network("SelfAttentivePool2d", normalize=False), images(4)
    arenas = []
    for limit in (None, 32_000):
        if limit:
            tile_attention(model, x.shape[1:], limit)
        exported = export_micro(model, x, tmp_path / "model.tflite", x, PYTHON)
        arenas.append(exported.arena["head"])
    tokens = IMAGE * IMAGE
    assert arenas[0] > 2 * 2 * 4 * tokens**2 > 4 * arenas[1]
