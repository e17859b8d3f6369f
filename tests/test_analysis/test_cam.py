"""Class activation maps, against the formula of Grad-CAM by plain autograd."""

import cv2
import numpy as np
import pytest
import torch
from checkpoint_entry_points import DETECTOR
from config_runs import build_model
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from attnpool_mm.analysis.cam import (
    METHODS,
    ClassScores,
    check_layer,
    class_activation,
    map_layers,
)
from attnpool_mm.utils.errors import ConfigError

pytest.importorskip("pytorch_grad_cam")


class Network(nn.Module):
    """Layer `b` is followed by layers that change what they are given in place."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, stride=2)
        self.relu, self.twice = nn.ReLU(inplace=True), nn.ReLU()
        self.unused = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.twice(self.twice(self.a(x)))
        self.unused(x)
        x = self.relu(self.b(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def network():
    return Network().eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, 16, 20)


@pytest.mark.parametrize("target", [0, 2])
@pytest.mark.parametrize("layer", ["a", "b"])
def test_the_formula(network, image, layer, target):
    kept = []
    module = getattr(network, layer)
    handle = module.register_forward_hook(lambda m, i, o: kept.append(o) or o.clone())
    score = network(image)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].relu()
    cam = cam.detach().numpy()
    cam = cv2.resize((cam - cam.min()) / (np.ptp(cam) + 1e-7), (20, 16))
    cam = (cam - cam.min()) / (np.ptp(cam) + 1e-7)
    found = class_activation(network, layer, image, target)
    assert found.shape == (16, 20)
    np.testing.assert_allclose(found.numpy(), cam, atol=1e-5)


def test_the_default_target_is_the_class_of_the_largest_score(network, image):
    label = network(image).argmax().item()
    expected = class_activation(network, "b", image, label)
    assert torch.equal(class_activation(network, "b", image), expected)


def test_frozen_layers_stay_frozen(network, image):
    free = class_activation(network, "a", image, 1)
    network.a.requires_grad_(False)
    network.b.weight.requires_grad_(False)
    assert torch.equal(class_activation(network, "a", image, 1), free)
    asked = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert asked == {"a.weight", "a.bias", "b.weight"}
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_every_method(network, image, method):
    found = class_activation(network, "a", image, 1, method)
    assert found.shape == (16, 20)
    assert found.min() >= 0 and found.max() <= 1
    assert not network.a._forward_hooks


def test_layers(network, image):
    network.a.requires_grad_(False)
    assert map_layers(network, image) == ["a", "b", "relu"]
    assert not network.a.weight.requires_grad
    assert not any(module._forward_hooks for module in network.modules())
    network.forward = lambda x: network.unused(network.a(x)).detach().mean((2, 3))
    assert map_layers(network, image) == ["a", "unused"]  # on none depends a score
    assert map_layers(nn.Sequential(nn.Flatten(), nn.Linear(960, 2)), image) == []
    with pytest.raises(ConfigError, match="--layer rel: .*'relu'"):
        check_layer("rel", ["a", "relu"])
    with pytest.raises(ConfigError, match="a, relu"):
        check_layer("something", ["a", "relu"])


def test_a_layer_without_influence(network, image):
    with pytest.raises(ConfigError, match="--layer unused: "):
        class_activation(network, "unused", image, 1)
    with pytest.raises(ConfigError, match="--method=.*'gradcam'"):
        class_activation(network, "a", image, 1, "grad")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.py"
    path.write_text(DETECTOR)
    torch.manual_seed(0)
    model = build_model(Config.fromfile(path)).eval()
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    nn.init.constant_(model.bbox_head.retina_cls.bias, -1)
    return model


def test_a_detectors_scores(detector):
    """They are sums over its detections, and depend on the backbone."""
    sizes = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    image = torch.rand(1, 3, 64, 64)
    samples = [DetDataSample(metainfo=sizes)]
    with torch.no_grad():
        (found,) = detector(image, samples, mode="predict")
    found = found.pred_instances
    median = found.scores.median().item()
    assert set(found.labels.tolist()) == {0, 1}
    scores = ClassScores(detector, samples, 2, median).eval()
    with torch.no_grad():
        sums = scores(image)[0]
    for label in (0, 1):
        chosen = (found.labels == label) & (found.scores >= median)
        torch.testing.assert_close(sums[label], found.scores[chosen].sum())
    alone = ClassScores(detector, samples, 2, 1.0)(image)[0]
    torch.testing.assert_close(alone.sum(), found.scores.max())

    layers = map_layers(scores, image)
    assert {"model.backbone.layer2", "model.backbone.layer3.0.bn1"} <= set(layers)
    assert not any(name.startswith("model.bbox_head") for name in layers)
    for layer in ("model.backbone.layer1", "model.backbone.layer3"):  # the first frozen
        cam = class_activation(scores, layer, image, 1)
        assert cam.shape == (64, 64) and cam.max() == pytest.approx(1, abs=1e-5)
    assert not detector.backbone.conv1.weight.requires_grad
