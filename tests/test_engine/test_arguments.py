"""Misspelt keys of configs: each is found, with what was meant, and nothing else."""

from copy import deepcopy

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmpretrain.models import ImageClassifier

from attnpool_mm.apis import config_path
from attnpool_mm.engine.arguments import check_arguments, check_option
from attnpool_mm.engine.launch import merge_options
from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.utils.errors import ConfigError

CLASSIFIER = Config.fromfile(config_path("resnet18-nlp-stage-end_1xb64_digits"))
SPEM = Config.fromfile(config_path("resnet164-spem_1xb128_cifar10"))
DETECTOR = Config.fromfile(config_path("faster-rcnn_resnet18-half-nlp_fpn_digits-coco"))
BACKBONE = "model.backbone"
STEP = "train_dataloader.dataset.pipeline.0"
# The config, a key that is misspelt in it, and what was meant
MISSPELT = [
    # of the file's own level
    (CLASSIFIER, "optim_wraper.type", "optim_wrapper"),
    (CLASSIFIER, "load_form", "load_from"),
    (CLASSIFIER, "resum", "resume"),
    (CLASSIFIER, "workdir", "work_dir"),
    (CLASSIFIER, "param_schedulers", "param_scheduler"),
    (CLASSIFIER, "custom_hook", "custom_hooks"),
    (CLASSIFIER, "modle.backbone.depth", "model"),
    # of dicts without a type
    (CLASSIFIER, "auto_scale_lr.enabled", "enable"),
    (CLASSIFIER, "randomness.sed", "seed"),
    (CLASSIFIER, "env_cfg.cudnn_bench", "cudnn_benchmark"),
    (CLASSIFIER, "env_cfg.mp_cfg.start_method", "mp_start_method"),
    (CLASSIFIER, "env_cfg.dist_cfg.back_end", "backend"),
    (CLASSIFIER, "train_cfg.max_epoch", "max_epochs"),
    (CLASSIFIER, "val_cfg.fp_16", "fp16"),
    (CLASSIFIER, "train_dataloader.batchsize", "batch_size"),
    (CLASSIFIER, "train_dataloader.samplers", "sampler"),
    (CLASSIFIER, "optim_wrapper.clip_grad.maxnorm", "max_norm"),
    (CLASSIFIER, "optim_wrapper.paramwise_cfg.norm_decay_mul", "norm_decay_mult"),
    (CLASSIFIER, "optim_wrapper.paramwise_cfg.custom_keys.bn.decay", "decay_mult"),
    (CLASSIFIER, "optim_wrapper.optimzer.lr", "optimizer"),
    (CLASSIFIER, "default_hooks.chekpoint.interval", "checkpoint"),
    (CLASSIFIER, "data_preprocessor.means", "mean"),
    (CLASSIFIER, "log_processor.windowsize", "window_size"),
    # of classes: ours, the frameworks', PyTorch's
    (SPEM, f"{BACKBONE}.pool_postion", "pool_position"),
    (SPEM, f"{BACKBONE}.frozen_stage", "frozen_stages"),
    (SPEM, f"{BACKBONE}.attention_cfg.alfa", "alpha"),
    (SPEM, "model.head.num_class", "num_classes"),
    (SPEM, "optim_wrapper.optimizer.momentun", "momentum"),
    (SPEM, "optim_wrapper.accumulative_count", "accumulative_counts"),
    (SPEM, "param_scheduler.milestone", "milestones"),
    (SPEM, "custom_hooks.0.intervall", "interval"),
    (SPEM, "default_hooks.checkpoint.max_keep_ckpt", "max_keep_ckpts"),
    (SPEM, "train_dataloader.dataset.dataroot", "data_root"),
    (SPEM, "train_dataloader.sampler.shufle", "shuffle"),
    (SPEM, f"{STEP}.crop_sise", "crop_size"),
    (SPEM, "val_evaluator.top_k", "topk"),
    (SPEM, "visualizer.vis_backends.0.save_directory", "save_dir"),
    (DETECTOR, f"{BACKBONE}.pool_cfg.num_head", "num_heads"),
    (DETECTOR, "model.neck.out_channel", "out_channels"),
    (DETECTOR, "model.rpn_head.anchor_generator.scale", "scales"),
    (DETECTOR, "model.roi_head.bbox_head.loss_cls.weight", "loss_weight"),
    (DETECTOR, "model.train_cfg.rpn.assigner.pos_iou_thresh", "pos_iou_thr"),
    (DETECTOR, "val_evaluator.class_wise", "classwise"),
    # types
    (SPEM, "model.type=ImageClasifier", "ImageClassifier"),
    (SPEM, "model.backbone.type=attnpool_mm.AttnPoolResnet", "AttnPoolResNet"),
    (SPEM, "model.backbone.type=mmpretrian.SEResNet", "mmpretrain.SEResNet"),
    (SPEM, "train_dataloader.dataset.type=CIFAR1O", "CIFAR10"),
    (DETECTOR, f"{STEP}.type=LoadImageFromFiles", "LoadImageFromFile"),
    (DETECTOR, "optim_wrapper.optimizer.type=sgd", "SGD"),
    (DETECTOR, "val_evaluator.type=COCOMetric", "CocoMetric"),
]


@pytest.mark.parametrize(
    ("cfg", "option", "meant"), MISSPELT, ids=[option for _, option, _ in MISSPELT]
)
def test_what_is_misspelt_is_named_beside_what_was_meant(cfg, option, meant):
    key, _, value = option.partition("=")
    cfg = deepcopy(cfg)
    with pytest.raises(ConfigError) as caught:
        merge_options(cfg, {key: value or 1})
        check_arguments(cfg)
    error = str(caught.value)
    assert key.partition(".")[0] in error and f"{meant}'?" in error


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (f"{BACKBONE}.pool_cfg.exp", "no"),
        (f"{BACKBONE}.pool_cfg.position", "False1"),
        (f"{BACKBONE}.norm_eval", "yes"),
        ("default_hooks.checkpoint.save_optimizer", "off"),
        ("train_dataloader.sampler.shuffle", "ture"),
        ("resume", "yes"),
    ],
)
def test_words_are_no_flags(option, value):
    cfg = deepcopy(CLASSIFIER)
    merge_options(cfg, {option: value})
    with pytest.raises(ConfigError, match=f"{option}='{value}'"):
        check_arguments(cfg)


class Other(AttnPoolResNet):
    """A backbone of one's own, that takes a part of a config as it likes."""

    def __init__(self, own=None, **kwargs):
        self.spice = kwargs.pop("spice", None)
        super().__init__(**kwargs)


class Picky(ImageClassifier):
    """A model that takes an option out of its backbone's config."""

    def __init__(self, backbone, **kwargs):
        self.speed = backbone.pop("speed", None)
        super().__init__(backbone, **kwargs)


@pytest.mark.parametrize("options", [
    {"model.train_cfg.new": 1},
    {f"{BACKBONE}.type": Other, f"{BACKBONE}.spice": 1},
    {f"{BACKBONE}.type": Other, f"{BACKBONE}.own": dict(type="SEResNet", a=1)},
    {"model.type": Picky, f"{BACKBONE}.speed": 1},
    {"custom_hooks": [dict(type="EMAHook", momentum=1e-3, priority="LOW")]},
    {"param_scheduler": [dict(type="LinearLR", convert_to_iter_based=True)]},
    {"find_unused_parameters": True},
    {"compile.mode": "default"},
    {f"{BACKBONE}.norm_cfg": dict(type="BN", requires_grad=False)},
    {f"{BACKBONE}.init_cfg": dict(type="Kaiming", layer="Conv2d", a=1)},
    {"optim_wrapper.paramwise_cfg.custom_keys.bn.lars_exclude": True},
])  # fmt: skip
def test_what_is_no_mistake(options):
    cfg = deepcopy(CLASSIFIER)
    merge_options(cfg, options)
    check_arguments(cfg)
    wrong = "dep" + "ths"  # which this file mentions nowhere
    cfg.model.backbone[wrong] = 1
    with pytest.raises(ConfigError, match=wrong):  # it is still looked at
        check_arguments(cfg)


@pytest.mark.parametrize("path", [
    "mmdet::albu_example/mask-rcnn_r50_fpn_albu-1x_coco.py",
    "mmdet::autoassign/autoassign_r50-caffe_fpn_1x_coco.py",
    "mmdet::dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "mmdet::detr/detr_r50_8xb2-150e_coco.py",
    "mmdet::queryinst/queryinst_r50_fpn_1x_coco.py",
    "mmdet::vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco.py",
    "mmpretrain::barlowtwins/barlowtwins_resnet50_8xb256-coslr-300e_in1k.py",
    "mmpretrain::cae/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py",
    "mmpretrain::resnest/resnest50_32xb64_in1k.py",
    "mmpretrain::twins/twins-pcpvt-base_8xb128_in1k.py",
])  # fmt: skip
def test_the_frameworks_own_configs(path):
    check_arguments(get_config(path))


def test_parts_that_are_not_used_are_not_looked_at():
    cfg = deepcopy(CLASSIFIER)
    merge_options(cfg, {"train_dataloader.x": 1, "optim_wrapper.optimizer.type": "X"})
    check_arguments(cfg, ("test",))
    check_arguments(cfg, which=())
    with pytest.raises(ConfigError, match="train_dataloader.x"):
        check_arguments(cfg, ("train",))


@pytest.mark.parametrize("text, wrong", [
    ("optim_wraper = dict(optimizer=dict(lr=1))", "optim_wraper"),
    ("load_form = 'a.pth'", "load_form"),
    ("lr = 0.1", ""),
    ("custom_hook = dict(type='EMAHook')\ncustom_hooks = [custom_hook]", ""),
])  # fmt: skip
def test_variables_of_a_config_file(tmp_path, text, wrong):
    path = tmp_path / "config.py"
    path.write_text(f"_base_ = '{CLASSIFIER.filename}'\n{text}\n")
    cfg = Config.fromfile(path)
    if not wrong:
        check_arguments(cfg)
        check_option(cfg, text.split()[0])  # it may be given another value
        return
    with pytest.raises(ConfigError, match=wrong):
        check_arguments(cfg)


def test_a_new_key_beside_one_like_it_is_warned_of():
    with pytest.warns(UserWarning, match="'score_thr'"):
        check_option(DETECTOR, "model.test_cfg.rcnn.score_thresh")
