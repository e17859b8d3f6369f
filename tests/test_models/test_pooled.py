"""A pool wherever a network shrinks its map, in the networks of four libraries."""

import copy
import io
import subprocess
import sys

import pytest
import torch
from config_runs import RepeatedRandomFills
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from networks import NETWORKS, REFUSED, from_config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from attnpool_mm.models import find_shrinkings, pool_downsampling, pooled_backbone
from attnpool_mm.pooling import LocalImportancePool2d, SelfAttentivePool2d
from attnpool_mm.registry import MODELS
from attnpool_mm.utils.errors import ConfigError

LIP = dict(type="LocalImportancePool2d")
NLP = dict(type="SelfAttentivePool2d", normalize=False)
POSITIONS = ("block_end", "stage_end", "stage_start")


def maps_of(model, x):
    return tree_leaves(model(x))


def pools_of(model, kind=LocalImportancePool2d):
    return {name: m for name, m in model.named_modules() if isinstance(m, kind)}


def state(model):
    """What a failed call must leave as it was."""
    values = model.state_dict(keep_vars=True)
    return str(model), {name: id(value) for name, value in values.items()}


def in_evaluation(model):
    model.eval()  # which MMPretrain's backbones do not return
    return model


@pytest.fixture(params=NETWORKS)
def plain(request):
    with RepeatedRandomFills():
        return NETWORKS[request.param]()


def test_network(plain):
    """Shapes, names, gradients and evaluation, at the default position."""
    x = torch.rand(2, 3, 64, 64)
    # All that shrinks but pooling layers, which may be replaced by parameters
    places = [p for p in find_shrinkings(plain) if not p.is_stem]
    model = pool_downsampling(copy.deepcopy(plain), LIP)
    pools = pools_of(model)
    assert len(pools) == len(places)
    assert [pool.stride for pool in pools.values()] == [p.stride for p in places]

    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {name.rpartition(".")[0] for name in missing} == {
        f"{name}.{part}" for name in pools for part in ("conv", "norm")
    }

    plain.eval(), model.eval()
    expected, actual = maps_of(plain, x), maps_of(model, x)
    assert [out.shape for out in actual] == [out.shape for out in expected]
    assert all(out.isfinite().all() for out in actual)
    if all(out.dim() == 4 for out in actual):
        assert model.out_channels == tuple(out.shape[1] for out in actual)
        assert model.out_strides == tuple(64 // out.shape[2] for out in actual)

    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # maps of one pixel have no variance
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    sum(out.square().mean() for out in maps_of(model, x)).backward()
    optimizer.step()
    for name in pools:
        assert model.get_parameter(f"{name}.conv.weight").grad.abs().max() > 0
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", [
    "mmpretrain-ResNetV1d", "mmpretrain-ConvNeXt", "mmpretrain-MobileNetV3",
    "mmpretrain-CSPDarkNet", "mmdet-CSPDarknet", "timm-regnety_002",
    "torchvision-mobilenet_v2",
])  # fmt: skip
def test_positions(name, position):
    plain = NETWORKS[name]()
    model = pool_downsampling(copy.deepcopy(plain), LIP, position=position)
    sizes = {}
    for pool_name, pool in pools_of(model).items():
        pool.register_forward_hook(
            lambda _, x, y, n=pool_name: sizes.update({n: (x[0].shape, y.shape)})
        )
    x = torch.rand(1, 3, 64, 64)
    plain.eval(), model.eval()
    shapes = [[o.shape for o in maps_of(m, x)] for m in (plain, model)]
    assert shapes[0] == shapes[1]
    places = [p for p in find_shrinkings(plain, (64, 64)) if not p.is_stem]
    channels = dict(block_end="out_channels", stage_end="stage_channels",
                    stage_start="in_channels")[position]  # fmt: skip
    assert sorted(before[1:] for before, _ in sizes.values()) == sorted(
        (getattr(p, channels), *p.in_size) for p in places
    )
    assert sorted(after[2:] for _, after in sizes.values()) == sorted(
        p.out_size for p in places
    )


def test_stride_1_is_what_the_network_does():
    """Max-pooling after the block is the block at stride 1, then max-pooling."""
    plain = in_evaluation(from_config("mmpretrain.ResNet", depth=18))
    pooled = copy.deepcopy(plain)
    pool_downsampling(pooled, dict(type="MaxPool2d"), stages=["layer2"])
    by_hand = copy.deepcopy(plain)
    block = by_hand.layer2[0]
    block.conv1.stride = block.downsample[0].stride = (1, 1)
    by_hand.layer2 = nn.Sequential(block, nn.MaxPool2d(2), by_hand.layer2[1])
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(pooled(x)[0], by_hand(x)[0])


def test_operators_at_stride_1():
    """Even kernels keep the size; average pools become identities, or smooth."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 2, 2, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, 2, 1),
    )
    pool_downsampling(network, dict(type="AvgPool2d"), [1, 2])
    x = torch.rand(1, 4, 9, 8)
    assert network[0].stride == (2, 2)
    assert all(network.get_submodule(name)(x).shape == x.shape for name in "23")

    resnet = from_config("mmpretrain.ResNetV1d", depth=50, base_channels=16)
    names = list(resnet.state_dict())
    pool_downsampling(resnet, LIP, stages=["layer3"])
    assert isinstance(resnet.layer3[0].downsample[0], nn.Identity)
    assert [n for n in resnet.state_dict() if ".pool." not in n] == names
    by_3 = dict(depth=50, base_channels=16, strides=(1, 3, 2, 2))
    resnet = pool_downsampling(from_config("mmpretrain.ResNetV1d", **by_3), LIP)
    assert isinstance(resnet.layer2[0].downsample[0], nn.Identity)
    resnest = pool_downsampling(NETWORKS["mmpretrain-ResNeSt"](), LIP)
    smoothing = resnest.layer2[0].avd_layer
    assert (smoothing.kernel_size, smoothing.stride, smoothing.padding) == (
        3,
        1,
        (1, 1),
    )


@pytest.mark.parametrize("stages, expected", [
    ([3], ["layer3.pool"]),
    ([-1 + 3, 4], ["layer2.pool", "layer4.pool"]),
    (["layer2", "layer4.0"], ["layer2.pool", "layer4.pool"]),
    ([1, "layer2.0"], ["maxpool", "layer2.pool"]),
    ([0], ["conv1.pool"]),
], ids=str)  # fmt: skip
def test_stages(stages, expected):
    model = from_config("mmpretrain.ResNet", depth=18)
    pool_downsampling(model, LIP, stages)
    assert list(pools_of(model)) == expected
    assert in_evaluation(model)(torch.rand(1, 3, 64, 64))[0].shape == (1, 512, 2, 2)


class Separable(nn.Module):
    """A convolution in two parts, which has the operators of a block."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Residual(nn.Module):
    """A block whose branch is one."""

    def __init__(self, channels):
        super().__init__()
        self.branch = Separable(channels)
        self.shortcut = nn.Conv2d(channels, channels, 1, 2)

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


class OwnNetwork(nn.Module):
    """Its stem is two convolutions, and `out_channels` a number that it uses."""

    out_channels = 8

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)
        )
        self.stages = nn.ModuleList([Residual(8), Residual(8)])

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x=x)
        return x.expand(-1, self.out_channels, -1, -1)


@pytest.mark.parametrize("position", POSITIONS)
def test_own_network(position):
    places = find_shrinkings(OwnNetwork())
    assert [(p.name, p.is_stem) for p in places] == [
        ("stem.0", True), ("stem.2", True), ("stages.0", False), ("stages.1", False)
    ]  # fmt: skip
    assert places[2].operators == ("stages.0.branch.depthwise", "stages.0.shortcut")
    model = pool_downsampling(OwnNetwork(), LIP, position=position)
    assert list(pools_of(model)) == ["stages.0.pool", "stages.1.pool"]
    assert (model.out_channels, model.out_strides) == (8, (16,))
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 8, 4, 4)


@MODELS.register_module()
class ConvPool2d(nn.Module):
    """A pool of one's own, whose convolutions are none of the network's."""

    def __init__(self, in_channels, stride):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, 1, 1),
            nn.Conv2d(in_channels, in_channels, 3, stride, 1),
        )

    def forward(self, x):
        return self.convs(x)


def test_own_pool_is_a_place_of_its_own():
    model = pool_downsampling(OwnNetwork(), dict(type="ConvPool2d"))
    names = [place.name for place in find_shrinkings(model)]
    assert names == ["stem.0", "stem.2", "stages.0.pool", "stages.1.pool"]
    pool_downsampling(model, LIP)
    assert list(pools_of(model)) == names[2:] and not pools_of(model, ConvPool2d)


class Same(nn.Module):
    def __init__(self, in_channels, stride):
        super().__init__()

    def forward(self, x):
        return x


class Doubled(Same):
    def forward(self, x):
        return torch.cat([x, x], 1)[..., ::2, ::2]


class Looking(Same):
    def forward(self, x):
        return x[..., ::2, ::2] if x.mean() > 0 else -x[..., ::2, ::2]


@pytest.mark.parametrize("pool, match", [
    (Same, r"stages\.0\.pool \(Same\) makes .* 2 times smaller"),
    (Doubled, r"stages\.0\.pool \(Doubled\) makes .* keeps the channels"),
    (Looking, r"stages\.0\.pool \(Looking\) .*values"),
])  # fmt: skip
def test_what_is_no_pool_is_named(pool, match):
    with pytest.raises(ConfigError, match=match):
        pool_downsampling(OwnNetwork(), dict(type=pool))


def test_the_modes_of_modules_stay():
    model = OwnNetwork()
    model.stages[0].eval()
    pool_downsampling(model, LIP)
    assert model.training and not model.stages[0].shortcut.training
    assert model.stages[0].pool.training


def test_a_list_of_pools():
    model = from_config("mmpretrain.ResNet", depth=18)
    pool_downsampling(model, [LIP, None, dict(NLP, num_heads=4)])
    assert list(pools_of(model)) == ["layer2.pool"]
    assert model.layer4.pool.attention.num_heads == 4
    assert model.layer3[0].conv1.stride == (2, 2)
    model = from_config("mmpretrain.ResNet", depth=18)
    pool_downsampling(model, [LIP, NLP], ["layer4", "layer2"])  # in their order
    assert isinstance(model.layer4.pool, LocalImportancePool2d)
    assert isinstance(model.layer2.pool, SelfAttentivePool2d)


def test_a_pool_takes_the_place_of_a_pool():
    model = pool_downsampling(from_config("mmpretrain.ResNet", depth=18), LIP)
    pool_downsampling(model, NLP)
    assert not pools_of(model)
    assert list(pools_of(model, SelfAttentivePool2d)) == [
        f"layer{i}.pool" for i in (2, 3, 4)
    ]


def test_device_and_data_type_are_the_networks():
    model = in_evaluation(from_config("mmpretrain.ResNet", depth=18).double())
    pool_downsampling(model, NLP, ["layer4"])
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert not model.layer4.pool.training
    assert model(torch.rand(1, 3, 32, 32).double())[0].dtype == torch.float64
    meta = pool_downsampling(from_config("mmpretrain.ResNet", depth=18).to("meta"), LIP)
    assert meta.layer4.pool.conv.weight.is_meta


@pytest.mark.parametrize("name", ["mmpretrain-ResNet", "timm-regnety_002"])
def test_copies_and_files(name):
    """A copy has a pool of its own, and so has what is read from a file."""
    model = in_evaluation(pool_downsampling(NETWORKS[name](), LIP))
    x = torch.rand(1, 3, 64, 64)
    expected = maps_of(model, x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    others = [copy.deepcopy(model), torch.load(file, weights_only=False)]
    for other in others:
        assert all(map(torch.equal, maps_of(other, x), expected))
        for pool in pools_of(other).values():
            nn.init.ones_(pool.conv.weight)
            pool.norm.running_mean.fill_(1)
        assert not torch.equal(maps_of(other, x)[-1], expected[-1])
    assert all(map(torch.equal, maps_of(model, x), expected))


def test_export():
    model = pool_downsampling(NETWORKS["timm-regnety_002"](), NLP).eval()
    x = torch.rand(1, 3, 64, 64)
    for exported in (
        torch.export.export(model, (x,)).module(),
        torch.jit.trace(model, x, check_trace=False),
    ):
        torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize("dcn", ["DCN", "DCNv2"])
def test_deformable_convolutions(dcn):
    model = from_config(
        "mmdet.ResNet", depth=50, base_channels=8, stem_channels=8,
        dcn=dict(type=dcn, deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, False, False, True), out_indices=(3,),
    )  # fmt: skip
    pool_downsampling(model, LIP)
    assert in_evaluation(model)(torch.rand(1, 3, 128, 128))[0].shape == (1, 256, 4, 4)
    assert model.layer4[0].conv2.conv_offset.stride == (1, 1)


@pytest.mark.parametrize("kind", ["mmpretrain.ResNet", "mmdet.ResNet"])
def test_freezing_and_norm_eval(kind):
    model = from_config(kind, depth=18, frozen_stages=2, norm_eval=True)
    pool_downsampling(model, LIP)
    for _ in range(2):
        frozen = {n.split(".")[0] for n, p in model.named_parameters()
                  if not p.requires_grad}  # fmt: skip
        assert frozen == {"conv1", "bn1", "layer1", "layer2"}
        assert not model.layer2.pool.training
        model.train()
        assert not model.layer3.pool.norm.training


def test_layer_depth():
    model = pool_downsampling(from_config("mmpretrain.ResNet", depth=50), LIP)
    ends = from_config("mmpretrain.ResNet", depth=50)
    pool_downsampling(ends, LIP, position="stage_end")

    def depths(network, *names):
        return [network.get_layer_depth(f"backbone.{n}", "backbone.") for n in names]

    for network, block in ((model, 0), (ends, 5), (copy.deepcopy(ends), 5)):
        pool, beside = depths(
            network, "layer3.pool.conv.weight", f"layer3.{block}.conv1.weight"
        )
        assert pool == beside
    pool_downsampling(pool_downsampling(model, NLP, ["layer3"]), NLP)
    assert depths(model, "layer3.pool.conv.bias") == depths(model, "layer3.0.x.bias")
    convnext = pool_downsampling(NETWORKS["mmpretrain-ConvNeXt"](), LIP)
    name = "downsample_layers.2.pool.norm.bias"
    assert depths(convnext, name) == depths(convnext, "downsample_layers.2.1.weight")


def test_checkpointing_and_weights_of_a_config(tmp_path):
    plain = from_config("mmpretrain.ResNet", depth=18)
    path = str(tmp_path / "plain.pth")
    torch.save(dict(state_dict=plain.state_dict()), path)
    config = dict(type="mmpretrain.ResNet", depth=18, with_cp=True,
                  init_cfg=dict(type="Pretrained", checkpoint=path))  # fmt: skip
    model = pooled_backbone(config, LIP)
    model.init_weights()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in plain.state_dict().items())
    model(torch.rand(2, 3, 64, 64, requires_grad=True))[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
def test_builder(scope):
    config = dict(
        type="attnpool_mm.PooledBackbone",
        backbone=dict(type="ResNet", depth=18, out_indices=(1, 3)),
        pool_cfg=NLP,
        position="stage_end",
    )
    with DefaultScope.overwrite_default_scope(scope):
        model = MMENGINE_MODELS.build(config)
        plain = MODELS.build(config["backbone"])
    assert type(model) is type(plain)
    assert type(model).__module__.startswith(scope)
    assert (model.out_channels, model.out_strides) == ((128, 512), (8, 32))
    none = pooled_backbone(copy.deepcopy(plain), pool_cfg=None)
    none.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64)
    plain.eval(), none.eval()
    assert all(map(torch.equal, none(x), plain(x)))
    assert none.out_strides == (8, 32)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model = REFUSED[name]()
    before = state(model)
    with pytest.raises(ConfigError, match=type(model).__name__) as error:
        pool_downsampling(model, LIP)
    assert "\n" not in str(error.value)
    assert state(model) == before


@pytest.mark.parametrize("kwargs, match", [
    (dict(stages=[9]), r"stages: 9.*4: layer4\.0"),
    (dict(stages=["layer1"]), r"stages: 'layer1'.*2: layer2\.0"),
    (dict(stages=[True]), "stages: True"),
    (dict(stages="layer2"), "stages='layer2'"),
    (dict(stages=[]), r"stages=\[\]"),
    (dict(pool_cfg=[LIP, LIP]), r"pool_cfg=.* 3 .*layer2\.0, layer3\.0, layer4\.0"),
    (dict(pool_cfg="nlp"), "pool_cfg='nlp'"),
    (dict(pool_cfg={}), "pool {}"),
    (dict(pool_cfg=dict(LIP, stride=2)), "'stride': 2"),
    (dict(pool_cfg=dict(type="NoPool")), "type='NoPool'"),
    (dict(pool_cfg=dict(NLP, num_heads=0)), "num_heads=0"),
    (dict(position="first_block"), "position='first_block'"),
    (dict(image_size=224), "image_size=224"),
    (dict(image_size=(0, 224)), r"image_size=\(0, 224\)"),
], ids=str)  # fmt: skip
def test_bad_arguments(kwargs, match):
    model = from_config("mmpretrain.ResNet", depth=18)
    before = state(model)
    with pytest.raises(ConfigError, match=match) as error:
        pool_downsampling(model, **{"pool_cfg": LIP, **kwargs})
    assert "\n" not in str(error.value)
    assert state(model) == before


class Functional(nn.Module):
    """A block that shrinks one of its two maps outside of its modules."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, 2, 1)
        self.conv2 = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        return self.conv2(self.conv1(x) + nn.functional.avg_pool2d(x, 2))


class Twice(nn.Module):
    """Runs a block once more than a pool may run."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1))

    def forward(self, x):
        return self.body(self.body(self.stem(x)))


class Reused(nn.Module):
    """Has one pooling layer for all of its stages."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, 4, 3, 1, 1) for i in (3, 4, 4))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        for conv in self.convs:
            x = self.pool(conv(x))
        return x


class Mirrored(nn.Module):
    """Runs a block on a map and on its mirror image."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return torch.cat([self.block(x), self.block(x.flip(3)).flip(3)], 1)


def test_a_pool_after_what_runs_twice():
    """At the stage's end it runs once, on what a network of stride 1 gives."""
    block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Mirrored(block))
    plain = copy.deepcopy(network)
    plain[1].block[0].stride = (1, 1)
    average = dict(type="AvgPool2d")
    pool_downsampling(network, average, position="stage_end")
    x = torch.rand(1, 3, 16, 16)
    expected = nn.functional.avg_pool2d(plain(x), 2)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("network, match", [
    (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), "Sequential"),
    (nn.Sequential(nn.Conv2d(3, 4, 3, 2)), "0: 0"),
    (nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), Functional()), r"1 \(Functional\)"),
    (Twice(), r"Twice.*body\.pool 2"),
    (Reused(), r"Reused.*pool.* 3 times"),
    (nn.Linear(3, 4), "Linear"),
    (nn.Sequential(nn.LazyConv2d(4, 3, 2)), "Sequential"),
    (torch.fx.symbolic_trace(OwnNetwork()), "OwnNetwork"),
], ids=lambda v: getattr(v, "_get_name", lambda: v)())  # fmt: skip
def test_networks_that_cannot_be_pooled(network, match):
    before = str(network)
    with pytest.raises(ConfigError, match=match) as error:
        pool_downsampling(network, LIP)
    assert "\n" not in str(error.value)
    assert str(network) == before


WITHOUT_MMCV = """
import sys
for name in ("mmcv", "mmdet", "mmpretrain", "cv2", "pycocotools"):
    sys.modules[name] = None  # importing it is an error
import torch, torchvision
from attnpool_mm.layers import SPEM
from attnpool_mm.models import pool_downsampling
from attnpool_mm.pooling import SelfAttentivePool2d
model = torchvision.models.resnet18(weights=None)
pool_downsampling(model, dict(type="SelfAttentivePool2d", normalize=False))
print(model(torch.rand(2, 3, 64, 64)).shape, type(model.layer2.pool).__name__)
"""


def test_without_mmcv():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_MMCV],
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.stdout) == (
        "",
        "torch.Size([2, 1000]) SelfAttentivePool2d\n",
    )
