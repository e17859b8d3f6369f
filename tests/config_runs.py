"""Running configs: building them, a training step and a prediction, at small sizes."""

from contextlib import contextmanager

import pytest
import torch
from data_files import (
    write_cifar,
    write_coco,
    write_imagenet,
    write_mnist,
    write_stl10,
)
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    HOOKS,
    MODELS,
    PARAM_SCHEDULERS,
    DefaultScope,
    init_default_scope,
)
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.structures import DataSample
from torch.overrides import TorchFunctionMode

from attnpool_mm.datasets import scenes_of, write_composed_coco
from attnpool_mm.engine.adjustments import set_dataloader_defaults
from attnpool_mm.engine.preflight import datasets_of

LOADERS = ("train", "val", "test")
COMPOSED = {"digits": "digits_coco", "fashion-mnist": "fashion_coco"}


@contextmanager
def write_data_sets(folder):
    """Write all data sets that the configs name, small, in their true formats.

    CIFAR's files are not those that MMPretrain has the checksums of: within the
    context, whose value is a monkeypatch, it has those of these files.
    """
    written = {10: write_cifar(folder / "cifar10")}
    written[100] = write_cifar(folder / "cifar100", 100)
    write_mnist(folder / "mnist")
    write_mnist(folder / "fashion-mnist")
    write_stl10(folder / "stl10")
    write_imagenet(folder / "imagenet")
    # COCO's numbers go to 90, for 80 categories
    categories = {
        name: i + 1 + i // 8 for i, name in enumerate(CocoDataset.METAINFO["classes"])
    }
    for split in ("train2017", "val2017"):
        write_coco(folder / "coco", split, categories=categories)
    for split in ("train", "val"):
        for source, name in COMPOSED.items():
            scenes = scenes_of(source, split, folder / source)
            write_composed_coco(scenes, folder / name, 4, progress=False)
    with pytest.MonkeyPatch.context() as known:
        for dataset in (CIFAR10, CIFAR100):
            sums = written[len(dataset.METAINFO["classes"])]
            for split in ("train_list", "test_list"):
                names = [name for name, _ in getattr(dataset, split)]
                known.setattr(dataset, split, [[name, sums[name]] for name in names])
            meta = dataset.meta
            known.setattr(dataset, "meta", {**meta, "md5": sums[meta["filename"]]})
        yield known


def shrink(cfg):
    """Two images a batch, of few pixels.

    A detector takes few proposals, and gives boxes however low their scores are, and
    however small they are.
    """
    few = dict(nms_pre=100, max_per_img=50)
    if "rpn_head" in cfg.model:
        cfg.model.train_cfg.rpn_proposal.update(few)
        cfg.model.train_cfg.rcnn.sampler.num = 32
        cfg.model.test_cfg.rpn.update(few)
        cfg.model.test_cfg.rcnn.score_thr = 0
    elif cfg.default_scope == "mmdet":
        cfg.model.test_cfg.update(few, score_thr=0, conf_thr=0, min_bbox_size=-1)
    # it counts a runner's steps
    cfg.model.get("data_preprocessor", {}).pop("batch_augments", None)
    for name in LOADERS:
        loader = cfg[f"{name}_dataloader"]
        loader.update(batch_size=2, num_workers=0)
        for _, dataset in datasets_of(loader.dataset, ""):
            if dataset.type.endswith("STL10"):
                dataset.check = "format"  # the whole set's size is not this one's
        for step in _steps(loader.dataset):
            _shrink_step(step)
    set_dataloader_defaults(cfg)


def _steps(dataset):
    """The steps of a data set's pipelines, those of its wrappers too."""
    for step in dataset.get("pipeline") or []:
        yield step
        for choice in step.get("transforms") or []:  # of `RandomChoice`
            yield from choice if isinstance(choice, list) else [choice]
    if "dataset" in dataset:
        yield from _steps(dataset.dataset)


# Pixels of detectors
SMALL = {1333: 133, 1280: 320, 800: 80, 640: 160, 416: 160, 320: 160, -320: -80}


def _shrink_step(step):
    """Classifiers get 64x64 pixels at most, detectors about 130x80 or 160x160."""
    for key in ("scale", "scales", "crop_size", "img_scale", "size", "border"):
        size = step.get(key)
        if isinstance(size, int):
            step[key] = min(size, 64)
        elif size is not None:
            step[key] = _small(size)


def _small(size):
    if isinstance(size, int):
        return SMALL.get(size, size)
    return type(size)(map(_small, size))


class RepeatedRandomFills(TorchFunctionMode):
    """Fills large tensors with the same few random values over and over.

    Random values for all of a ResNet-50's weights take longer than a training step.
    """

    few = 2**16

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        fills = func in (torch.Tensor.normal_, torch.Tensor.uniform_)
        if not fills or args[0].numel() <= self.few:
            return func(*args, **kwargs)
        flat = args[0].view(-1)
        first = func(flat[: self.few], *args[1:], **kwargs)
        for chunk in flat[self.few :].split(self.few):
            chunk.copy_(first[: len(chunk)])
        return args[0]


def build_model(cfg):
    """Build the model of a config, without its pretrained weights."""
    init_default_scope(cfg.default_scope)
    backbone = cfg.model.backbone
    for part in (backbone, backbone.get("backbone", {})):
        part.pop("init_cfg", None)  # pretrained weights are not here
    if "data_preprocessor" in cfg:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    with RepeatedRandomFills():
        return MODELS.build(cfg.model)


def backward(model, batch, some_unused=False):
    """Check that the loss of a batch is finite and reaches every parameter.

    Unless the config says that some are unused, to a training in several processes.
    """
    model.train()
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    unused = [n for n, p in model.named_parameters()
              if p.requires_grad and p.grad is None]  # fmt: skip
    assert bool(unused) == some_unused, unused


def fake_batch(cfg, size=64):
    """Two images of random pixels, with labels or boxes."""
    shape = (3, size, size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(2)]
    samples = []
    for _ in images:
        if cfg.default_scope == "mmpretrain":
            samples.append(DataSample().set_gt_label(1))
        else:
            meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1, 1))
            sample = DetDataSample(metainfo=meta)
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[4.0, 4, 40, 36], [20, 24, 60, 60]]),
                labels=torch.tensor([0, 1]),
            )
            samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def train_and_predict(model, batch):
    """A backward pass, and the predictions after it."""
    backward(model, batch)
    model.eval()
    return model.test_step(batch)


def train_a_step(cfg, model):
    """A step of the config's optimizer on the first batch of its training data.

    A step of its own length: two images are too few for the learning rate, and the
    warm-up makes it next to nothing. Schedulers and hooks are built too. Returns the
    optimizer wrapper.
    """
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = cfg.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        scheduler = dict(scheduler, optimizer=wrapper)
        if scheduler.pop("convert_to_iter_based", False):
            scheduler["by_epoch"] = False
        PARAM_SCHEDULERS.build(scheduler)
    for hook in cfg.get("custom_hooks") or []:
        HOOKS.build({k: v for k, v in hook.items() if k != "priority"})
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    assert len(batch["inputs"]) == 2
    backward(model, batch, cfg.get("find_unused_parameters", False))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1, error_if_nonfinite=True)
    for group in wrapper.optimizer.param_groups:
        group["lr"] = 1e-3
    wrapper.optimizer.step()
    return wrapper


def evaluate(cfg, model):
    """The config's metrics of its first batch of test data, and the predictions."""
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    batch = next(iter(loader))
    model.eval()
    with torch.no_grad():
        predictions = model.test_step(batch)
    evaluator.process(data_samples=predictions, data_batch=batch)
    return evaluator.evaluate(len(predictions)), predictions
