"""Attention in blocks: the same numbers as PyTorch's, in less memory, in any graph."""

import io
from math import ceil

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.deploy.tiling import tile_attention, untile_attention
from attnpool_mm.models import attn_pool_backbone
from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.pooling.self_attention import SelfAttention
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d", normalize=False)
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d", patch_size=2)
POOLS = [
    NLP,
    dict(NLP, patch_size=2, num_heads=1),
    dict(type="AttentionPool2d"),
    DEFORMABLE,
    dict(type="MixedPool2d", pools=[DEFORMABLE, dict(type="LocalImportancePool2d")]),
]


class Largest(TorchDispatchMode):
    """The values of the largest tensor that is made inside."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.values = max(self.values, result.numel())
        return result


def to_onnx(model, x, **kwargs):
    file = io.BytesIO()
    torch.onnx.export(
        model, (x,), file, dynamo=False, opset_version=17, input_names=["x"], **kwargs
    )
    return file.getvalue()


def run_onnx(graph, x):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


# One block, some that do not divide the tokens, one for each token, more than there are
@pytest.mark.parametrize("blocks", [1, 2, 7, 30, 37, 50])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_blocks_attend_as_multihead_attention(heads, blocks):
    layer = SelfAttention(12, heads).double()
    nn.init.normal_(layer.in_proj_bias)
    parent = nn.MultiheadAttention(12, heads, batch_first=True).double()
    parent.load_state_dict(layer.state_dict())
    layer.blocks = blocks
    inputs = torch.randn(2, 37, 12, dtype=torch.float64)
    expected, _ = parent(inputs, inputs, inputs)
    actual = layer(inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    parameters = [*layer.parameters()], [*parent.parameters()]
    for ours, theirs in zip(*parameters, strict=True):
        (ours,) = torch.autograd.grad(actual.sin().sum(), ours, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected.sin().sum(), theirs, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_an_empty_batch_and_float16():
    layer = SelfAttention(8, 2).eval()
    x = torch.randn(2, 90, 8)
    expected = layer(x)
    layer.blocks = 70  # joined in two steps
    assert layer(x[:0]).shape == (0, 90, 8)
    half = layer.half()(x.half())
    torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=2e-3)
    assert layer(torch.full((1, 90, 8), 6e4).half()).isfinite().all()


@pytest.mark.parametrize("pool_cfg", POOLS, ids=lambda cfg: cfg["type"])
def test_every_pool_with_attention_is_tiled(pool_cfg):
    pool = build_pool(pool_cfg, in_channels=8, stride=2).double().eval()
    x = torch.randn(2, 8, 14, 10, dtype=torch.float64)
    expected = pool(x)
    state = pool.state_dict()
    chosen = tile_attention(pool, (8, 14, 10), limit=1000, bytes_per_value=1)
    ((name, tiles),) = chosen.items()
    assert pool.get_submodule(name).blocks == tiles.blocks > 1
    torch.testing.assert_close(pool(x), expected, rtol=1e-12, atol=1e-13)
    assert pool.state_dict().keys() == state.keys()
    untile_attention(pool)
    assert torch.equal(pool(x), expected)


def test_a_network_within_1e_6():
    network = attn_pool_backbone("resnet18-nlp_headfix2_nowin-2222")
    network.eval()
    x = torch.rand(1, 3, 65, 48)
    with torch.no_grad():
        expected = network(x)[-1]
        chosen = tile_attention(network, (3, 65, 48), limit=4096)
        actual = network(x)[-1]
    assert len(chosen) == 4
    assert all(tiles.matrix_bytes <= 4096 for tiles in chosen.values())
    scale = expected.abs().max()
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [8 * 120, 5000, 8 * 120**2 - 1, 8 * 120**2])
def test_as_few_blocks_as_the_limit_allows(limit):
    pool = SelfAttentivePool2d(4, num_heads=2)
    tiles = tile_attention(pool, (4, 12, 10), limit)["attention"]
    assert (tiles.tokens, tiles.heads) == (120, 2)

    def needed(blocks):  # scores and softmax in float32
        return 2 * 4 * ceil(120 / blocks) * 120

    fewest = next(blocks for blocks in range(1, 121) if needed(blocks) <= limit)
    assert pool.attention.blocks == tiles.blocks == fewest
    assert tiles.matrix_bytes == needed(fewest)


def test_nothing_larger_than_a_block_is_made():
    pool = SelfAttentivePool2d(4, num_heads=2).eval()
    tiles = tile_attention(pool, (4, 24, 24), limit=40_000)["attention"]
    x = torch.rand(1, 4, 24, 24)
    with torch.no_grad(), Largest() as largest:
        pool(x)
    assert largest.values == tiles.matrix_bytes / 8
    live = measure_complexity(pool, (4, 24, 24), 4).peak.live_bytes
    assert live < 576 * 576 * 4  # one matrix of one head


def test_bad_limits_change_nothing():
    network = nn.Sequential(
        SelfAttentivePool2d(4, stride=4), SelfAttentivePool2d(4, normalize=False)
    )
    tile_attention(network, (4, 16, 16), limit=10_000)
    before = [network[i].attention.blocks for i in range(2)]
    for limit, said in ((2047, r"limit=2047.*0\.attention.*2048"), (0, "limit=0")):
        with pytest.raises(ConfigError, match=said):
            tile_attention(network, (4, 16, 16), limit)
    with pytest.raises(ConfigError, match=r"shape=\(5, 16, 16\)"):
        tile_attention(network, (5, 16, 16), limit=10_000)
    with pytest.raises(ConfigError, match="shape=16"):
        tile_attention(network, 16, limit=10_000)
    assert [network[i].attention.blocks for i in range(2)] == before
    assert tile_attention(nn.Conv2d(4, 4, 1), (4, 16, 16), limit=1) == {}


def test_an_onnx_graph_of_any_size():
    pool = SelfAttentivePool2d(4, num_heads=2).eval()
    tile_attention(pool, (4, 9, 11), limit=8 * 99 * 5)
    x = torch.rand(2, 4, 9, 11)
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    graph = to_onnx(pool, x, dynamic_axes=axes)
    untile_attention(pool)
    # Of more tokens, of a number that 20 blocks do not divide, of fewer than 20
    for shape in ((2, 9, 11), (3, 17, 6), (1, 24, 24), (1, 2, 5)):
        x = torch.rand(shape[0], 4, *shape[1:])
        torch.testing.assert_close(run_onnx(graph, x), pool(x), rtol=1e-6, atol=1e-6)


# More heads, or more blocks, than TensorFlow Lite Micro joins at once
@pytest.mark.parametrize("heads, blocks", [(9, 2), (1, 12)])
def test_graphs_of_one_size(heads, blocks):
    pool = SelfAttentivePool2d(9, num_heads=heads).eval()
    x = torch.rand(1, 9, 6, 10)
    expected = pool(x).detach()
    limit = 8 * 60 * (60 // blocks)
    assert tile_attention(pool, (9, 6, 10), limit)["attention"].blocks == blocks
    graph = to_onnx(pool, x)
    traced = torch.jit.trace(pool, x)
    exported = torch.export.export(pool, (x,)).module()
    for actual in (run_onnx(graph, x), traced(x), exported(x)):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    nodes = onnx.load_from_string(graph).graph.node
    assert sum(node.op_type == "Softmax" for node in nodes) == heads * blocks
    assert max(len(node.input) for node in nodes if node.op_type == "Concat") <= 10
