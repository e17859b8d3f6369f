"""docs/recipes.md: every line trains a small network, and does its part."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from tool_modules import load_tool
from torch import nn

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.models import AttnPoolClassifier

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "recipes.md").read_text()
LINES = dict(re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|$", TEXT, re.M))
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.S)
BASE = "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"
SMALL = (
    "model.backbone.stem_channels=4 model.backbone.base_channels=4 "
    "model.head.in_channels=32 train_dataloader.batch_size=8 "
    "train_dataloader.num_workers=0 train_dataloader.dataset.indices=64 "
    "val_dataloader.num_workers=0 val_dataloader.dataset.indices=8 "
    "test_dataloader=None test_evaluator=None test_cfg=None train_cfg.max_epochs=1"
)


@pytest.fixture
def train(tools_undone, monkeypatch, tmp_path):
    """Train a config by the tool; returns the runner, after its epoch."""
    runners = []
    monkeypatch.setattr(Runner, "train", remembering(Runner.train, runners))
    monkeypatch.chdir(ROOT)

    def run(config, *words):
        tool = load_tool("train.py")
        options = [w for w in words if not w.startswith("--")]
        flags = [w for w in words if w.startswith("--")]
        arguments = [tool.__file__, str(config), "--work-dir", str(tmp_path), *flags]
        arguments += ["--cfg-options", *SMALL.split(), *options]
        monkeypatch.setattr("sys.argv", arguments)
        tool.main()
        return runners.pop()

    return run


def remembering(method, objects):
    def called(self, *args, **kwargs):
        objects.append(self)
        return method(self, *args, **kwargs)

    return called


@pytest.fixture
def trained(train):
    return lambda name, *words: train(BASE, *LINES[name].split(), *words)


def batch_of(runner):
    """A batch as the network gets it in training, and its labels."""
    data = next(iter(runner.train_dataloader))
    return runner.model.data_preprocessor(data, training=True)


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_mixed_batches(trained, name):
    runner = trained(name)
    np.random.seed(0)
    scores = torch.stack([s.gt_score for s in batch_of(runner)["data_samples"]])
    assert scores.shape == (8, 10)
    torch.testing.assert_close(scores.sum(1), torch.ones(8))
    assert ((scores > 0).sum(1) == 2).any()  # two digits in one


def test_label_smoothing(trained):
    model = trained("label smoothing").model.train()
    logits, labels = torch.randn(8, 10), torch.arange(8)
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(model.head.loss_module(logits, labels), expected)


def test_learning_rate_of_a_layer(trained):
    deep = "model.backbone.depth=50", "model.head.in_channels=128"
    runner = trained("a learning rate a layer, less towards the image", *deep)
    rates = {
        parameter: group["lr"]
        for group in runner.optim_wrapper.param_groups
        for parameter in group["params"]
    }
    backbone = runner.model.backbone
    blocks = [backbone.layer1[0], backbone.layer2[0], backbone.layer4[2]]
    weights = [block.conv1.weight for block in blocks]
    first, second, last = (rates[weight] for weight in weights)
    assert 0 < first < second < last < rates[runner.model.head.fc.weight]
    pool = next(backbone.layer4.pool.parameters())
    assert rates[pool] == last


FIND = """
import sys
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS
wrapper = Config.fromfile(sys.argv[1]).optim_wrapper
print(OPTIM_WRAPPERS.get(wrapper.type).__name__)
"""


def test_mixed_precision(train, tmp_path):
    """And from the config that the training writes, with what stands for `--amp`."""
    assert LINES["mixed precision"] == "--amp"
    first = train(BASE, "--amp")
    dumped = tmp_path / Path(BASE).name
    for runner in (first, train(dumped)):
        layer = runner.model.head.fc
        on_cpu = layer.weight.device.type == "cpu"
        with runner.optim_wrapper.optim_context(runner.model):
            out = layer(torch.rand(1, 32).to(layer.weight))
        assert out.dtype == (torch.bfloat16 if on_cpu else torch.float16)
    # MMEngine finds it by its prefix, in a process that has not imported this package
    command = [sys.executable, "-c", FIND, dumped]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == type(first.optim_wrapper).__name__


def test_accumulated_gradients(trained, monkeypatch):
    steps = []
    step = remembering(torch.optim.SGD.step, steps)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    trained("gradients of 4 batches a step")
    assert len(steps) == 64 // 8 // 4


def test_clipped_gradients(trained):
    runner = trained("gradients of a norm of 1 at most")
    wrapper = runner.optim_wrapper
    wrapper.zero_grad()
    (1e4 * runner.model.head.fc.weight.sum()).backward()
    wrapper.step()
    assert runner.model.head.fc.weight.grad.norm().item() == pytest.approx(1, rel=1e-3)


def test_frozen_stages(trained):
    backbone = trained("stem and first stage as they are").model.backbone
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    stages = {name.split(".")[0] for name in frozen}
    assert stages == {"conv1", "bn1", "layer1"}


def test_learning_rate_of_the_backbone(trained):
    runner = trained("learning rate of the backbone, a tenth")
    rates = {
        parameter: group["lr"]
        for group in runner.optim_wrapper.param_groups
        for parameter in group["params"]
    }
    backbone, head = (
        rates[next(part.parameters())]
        for part in (runner.model.backbone, runner.model.head)
    )
    assert backbone == pytest.approx(head / 10)


@pytest.mark.parametrize("name, block", BLOCKS, ids=[name for name, _ in BLOCKS])
def test_configs(train, tmp_path, name, block):
    (tmp_path / name).write_text(block)
    runner = train(tmp_path / name)
    if name.startswith("ema"):
        checkpoint = load_checkpoint_file(tmp_path / "epoch_1.pth")
        last = runner.model.state_dict()["head.fc.weight"]
        averaged = checkpoint["state_dict"]["head.fc.weight"]
        assert not torch.equal(averaged, last)
        assert "ema_state_dict" in checkpoint
    else:
        kinds = {type(a).__name__ for a in
                 runner.model.data_preprocessor.batch_augments.augments}  # fmt: skip
        assert kinds == {"Mixup", "CutMix", "NoneType"}


def test_with_a_head_that_follows(mmpretrain_scope):
    """Both kinds of classifiers of our configs take the two of the model's."""
    recipes = [LINES[name].split() for name in ("MixUp", "label smoothing")]
    for kind in (ImageClassifier, AttnPoolClassifier):
        head = dict(type="LinearClsHead", num_classes=10, in_channels=512)
        cfg = Config(dict(model=dict(
            type=kind, backbone=dict(type="ResNet", depth=18), head=head,
            neck=dict(type="GlobalAveragePooling"),
            data_preprocessor=dict(num_classes=10))))  # fmt: skip
        cfg.model.head.loss = dict(type="CrossEntropyLoss")
        for words in recipes:
            pairs = (word.split("=") for word in words)
            cfg.merge_from_dict(
                {k: float(v) if v[0].isdigit() else v for k, v in pairs}
            )
        model = MODELS.build(cfg.model)
        batch = dict(inputs=[torch.rand(3, 32, 32)] * 2, data_samples=samples())
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        assert losses["loss"].isfinite()


def samples():
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(label) for label in (1, 2)]


def test_every_line_is_trained():
    text = Path(__file__).read_text()
    assert len(LINES) == 9 and all(f'"{name}"' in text for name in LINES)
    assert [name for name, _ in BLOCKS] == ["ema_digits.py", "augmented_digits.py"]


def test_the_command_of_the_page():
    command, *_ = re.findall(r"^    python (tools/train.*?[^\\])\n", TEXT, re.M | re.S)
    script, config, option, *words = command.replace("\\\n", " ").split()
    assert (script, config, option) == ("tools/train.py", BASE, "--cfg-options")
    assert words == [*LINES["MixUp"].split(), *LINES["label smoothing"].split()]
