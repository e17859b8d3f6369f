"""Bad inputs, each a small change of data and configs that are in order.

`test_engine/test_contents.py` gives them to the checks, `reliability/bad_inputs.py` to
the real commands.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

NAMES = ("apple", "pear", "plum")
DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py',
          'mmdet::_base_/default_runtime.py']
data_root = '{root}/'
load = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=(32, 32))
train_pipeline = [load, dict(type='LoadAnnotations', with_bbox=True), resize,
                  dict(type='PackDetInputs')]
test_pipeline = [load, resize, dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
dataset = dict(type='CocoDataset', data_root=data_root, data_prefix=dict(img='images'),
               metainfo=dict(classes=('apple', 'pear', 'plum')))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='train.json', pipeline=train_pipeline,
                 filter_cfg=dict(filter_empty_gt=True, min_size=8), **dataset))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='val.json', pipeline=test_pipeline, test_mode=True,
                 **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file=data_root + 'val.json', metric='bbox')
test_evaluator = val_evaluator
model = dict(
    backbone=dict(depth=18, base_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    bbox_head=dict(num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
                     clip_grad=dict(max_norm=10))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""
CLASSIFIER = """
default_scope = 'mmpretrain'
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32),
            dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root='{root}', pipeline=pipeline)
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data_prefix='train', **dataset))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_prefix='val', **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32))
data_preprocessor = dict(num_classes=3, mean=[110] * 3, std=[50] * 3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
"""
TEXTS = {"detector": DETECTOR, "classifier": CLASSIFIER}


def write_inputs(folder: Path, root: str | None = None) -> None:
    """Write the two configs and their data, four images a split and three classes.

    The configs name the folder as `root` (default: its path).
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for first, split in ((1, "train"), (11, "val")):
        images, boxes = [], []
        for number in range(first, first + 4):
            name = f"{number}.png"
            pixels = rng.integers(256, size=(24, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / name), pixels)
            images.append(dict(id=number, file_name=name, width=32, height=24))
            for category in (1, 2, 3):
                box = [2 * category, category, 20, 12]
                boxes.append(
                    dict(id=len(boxes) + 1, image_id=number, category_id=category,
                         bbox=box, area=240, iscrowd=0,
                         segmentation=[[2, 2, 22, 2, 22, 14]])
                )  # fmt: skip
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(NAMES)]
        content = dict(images=images, annotations=boxes, categories=categories)
        (folder / f"{split}.json").write_text(json.dumps(content))
        lines = []
        for label, name in enumerate(NAMES):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / split / name / f"{i}.png"), pixels)
                lines.append(f"{name}/{i}.png {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    for name, text in TEXTS.items():
        (folder / f"{name}.py").write_text(text.format(root=root or folder))


@dataclass
class Case:
    """A bad input.

    Attributes:
        name: What is wrong.
        said: What the message must have in it, in this order: keys, names, values.
        options: `--cfg-options`, as words of a command line.
        change: Makes the files bad.
        config: `detector` or `classifier`.
        tool: `train` or `test`.
        words: Other words of the command line.
    """

    name: str
    said: tuple[str, ...]
    options: tuple[str, ...] = ()
    change: Callable[[Path], None] | None = None
    config: str = "detector"
    tool: str = "train"
    words: tuple[str, ...] = ()


def edit(change: Callable[[dict], None], file: str = "train.json") -> Callable:
    """Change the content of a json."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return apply


def without(rows: str, key: str, file: str = "train.json") -> Callable:
    """Take a key from the last of the images, annotations or categories."""
    return edit(lambda content: content[rows][-1].pop(key), file)


def having(rows: str, file: str = "train.json", every: bool = False, **values):
    """Set keys of the last, or every one, of the images, annotations or categories."""

    def change(content: dict) -> None:
        for row in content[rows] if every else content[rows][-1:]:
            row.update(values)

    return edit(change, file)


def text(content: str | bytes, file: str = "train.json") -> Callable:
    """Write something else into a file."""
    content = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(content)


def cut(folder: Path) -> None:
    """Leave half of a json."""
    path = folder / "train.json"
    path.write_bytes(path.read_bytes()[:-200])


def add_folder(folder: Path) -> None:
    """A fourth class."""
    for split in ("train", "val"):
        shutil.copytree(folder / split / "plum", folder / split / "quince")


TRAIN, ANN = "train_dataloader.dataset", "train_dataloader.dataset.ann_file="
CLASSES = f"{TRAIN}.metainfo.classes"
HEAD = "model.bbox_head.num_classes"
NO_EVALUATOR = ("val_evaluator=[]", "format_only=True")
VAL_LIST = ("val_evaluator.ann_file=", "list")
LIST_FILE = (f"{TRAIN}.ann_file=train.txt",)


def detector_case(name: str, change: Callable, *said: str, key: str = ANN) -> Case:
    """A bad json of the training set."""
    return Case(name, (key, *said), change=change)


CLASS_CASES = [
    Case("classes: a string", (f"{CLASSES}='apple'",), (f"{CLASSES}=apple",)),
    Case("classes: in capitals", (CLASSES, "'Apple'", "'apple'"),
         (f"{CLASSES}=(Apple,pear,plum)",)),
    Case("classes: one misspelt", (CLASSES, "'pera'", "'pear'"),
         (f"{CLASSES}=(apple,pera,plum)",)),
    Case("classes: twice the same", (CLASSES, "'apple'"),
         (f"{CLASSES}=(apple,apple,plum)",)),
    Case("classes: numbers", (CLASSES, "1"), (f"{CLASSES}=(1,2,3)",)),
    Case("classes: spelt as in MMDetection 2", ("metainfo.CLASSES", "classes"),
         (f"{TRAIN}.metainfo.CLASSES=(apple,pear,plum)",)),
    Case("classes: a part, and a head for all", (f"{HEAD}=3", f"{HEAD}=2"),
         (f"{CLASSES}=(apple,pear)",)),
    Case("the head has too few classes", (f"{HEAD}=2", "3", f"{HEAD}=3"),
         (f"{HEAD}=2",)),
    Case("the head has too many classes", (f"{HEAD}=80", "3", f"{HEAD}=3"),
         (f"{HEAD}=80",)),
    Case("the files number the classes differently", ("label 0", ANN[:-1], "val"),
         change=edit(lambda c: c["categories"].reverse(), "val.json")),
]  # fmt: skip
FILE_CASES = [
    detector_case("no json", text("a,b,c\n1,2,3\n"), "train.json"),
    detector_case("half a json", cut, "train.json"),
    detector_case("an empty file", text(""), "train.json"),
    detector_case("a picture for a json", text(b"\x89PNG\r\n\x1a\n"), "train.json"),
    detector_case("a list", text("[]"), "list"),
    detector_case("null", text("null"), "NoneType"),
    detector_case("no images", edit(lambda c: c.pop("images")), "images"),
    detector_case("no categories", edit(lambda c: c.pop("categories")), "categories"),
    detector_case("no annotations", edit(lambda c: c.pop("annotations")), "0"),
    detector_case("images by name", edit(lambda c: c.update(images={})), "images"),
    detector_case("images empty", edit(lambda c: c.update(images=[])), "image"),
    *(
        detector_case(f"an annotation without {key}", without("annotations", key), key)
        for key in ("bbox", "area", "category_id", "image_id", "id")
    ),
    *(
        detector_case(f"an image without {key}", without("images", key), key)
        for key in ("width", "height", "file_name", "id")
    ),
    *(
        detector_case(f"a category without {key}", without("categories", key), key)
        for key in ("name", "id")
    ),
    detector_case("an image's id twice", having("images", id=1), "id 1"),
    detector_case("an annotation's id twice", having("annotations", id=1), "id 1"),
    detector_case("a category's id twice", having("categories", id=1), "id 1"),
    Case("a category's name twice", (ANN, "'pear'"),
         (f"{CLASSES}=(apple,pear)", f"{HEAD}=2"),
         having("categories", name="pear")),
    detector_case("an annotation is a list",
                  edit(lambda c: c["annotations"].append([1, 2])), "annotation"),
    detector_case("a width in quotes", having("images", width="32"), "width='32'"),
    detector_case("a file name that is a number", having("images", file_name=7),
                  "file_name=7"),
    detector_case("a category's id is a list",
                  having("annotations", category_id=[1]), "category_id"),
]  # fmt: skip
BOX_CASES = [
    detector_case("a box of three numbers", having("annotations", bbox=[1, 2, 3]),
                  "bbox=[1, 2, 3]"),
    detector_case("a box of strings", having("annotations", bbox=list("1234")),
                  "bbox=['1', '2', '3', '4']"),
    detector_case("a box that is null", having("annotations", bbox=None), "bbox=None"),
    detector_case("a box without end",
                  having("annotations", bbox=[1, 1, float("inf"), 9]), "inf"),
    detector_case("an area in quotes", having("annotations", area="240"), "area='240'"),
    *(
        detector_case(f"all boxes {name}", having("annotations", every=True, **values),
                      "12")
        for name, values in {
            "not numbers": dict(bbox=[float("nan")] * 4),
            "of no size": dict(bbox=[3, 3, 0, 0]),
            "of negative size": dict(bbox=[9, 9, -5, -5]),
            "outside of their images": dict(bbox=[100, 100, 9, 9]),
            "without area": dict(area=0),
            "crowds": dict(iscrowd=1),
            "of an unknown category": dict(category_id=99),
            "of an unknown image": dict(image_id=99),
        }.items()
    ),
    Case("filter_cfg drops every image", (ANN, "12"),
         (f"{TRAIN}.filter_cfg.min_size=100",)),
    Case("the evaluator's boxes lack iscrowd", ("val_evaluator.ann_file=", "iscrowd"),
         change=without("annotations", "iscrowd", "val.json")),
    Case("the evaluator has other images", ("val_evaluator.ann_file=", "train.json"),
         ("val_evaluator.ann_file={root}/train.json",)),
    Case("the evaluator's file is a list", ("val_evaluator.ann_file=", "list"),
         ("val_evaluator.ann_file={root}/list.json",), text("[]", "list.json")),
    Case("validated without annotations", ("val_dataloader", *NO_EVALUATOR),
         change=edit(lambda c: c.pop("annotations"), "val.json")),
    Case("tested without annotations", ("test_dataloader", "test_evaluator=[]"),
         change=edit(lambda c: c.pop("annotations"), "val.json"), tool="test"),
    Case("a missing image", ("data_prefix.img", "1.png"),
         change=lambda folder: (folder / "images/1.png").unlink()),
    Case("an image that is text", ("data_prefix.img", "4.png"),
         change=text("<html>", "images/4.png")),
    Case("an image of no bytes", ("data_prefix.img", "1.png"),
         change=text("", "images/1.png")),
    Case("a folder of images under another name", (f"{TRAIN}.data_prefix=", "img"),
         (f"{TRAIN}.data_prefix=images",)),
    Case("an image in another folder", ("data_prefix.img", "1.png"),
         (f"{TRAIN}.data_prefix.img=train",)),
]  # fmt: skip


def classifier_case(name: str, said: tuple, options=(), change=None, **more) -> Case:
    """A bad input of the classifier."""
    return Case(name, said, options, change, "classifier", **more)


COUNT = "model.head.num_classes"
LABEL_CASES = [
    classifier_case("a folder more than the head has classes", (f"{COUNT}=3", "4"),
                    change=add_folder),
    classifier_case("a smaller head", (f"{COUNT}=2", "3"), (f"{COUNT}=2",)),
    classifier_case("a label past the head", (TRAIN, "label 3", f"{COUNT}=3"),
                    LIST_FILE, text("apple/0.png 0\npear/0.png 3\n", "train.txt")),
    classifier_case("a negative label", (TRAIN, "label -1", f"{COUNT}=3"),
                    LIST_FILE, text("apple/0.png -1\npear/0.png 2\n", "train.txt")),
    classifier_case("a label that is a name", (TRAIN, "'blue'"),
                    LIST_FILE, text("apple/0.png blue\n", "train.txt")),
    classifier_case("a list without labels", (TRAIN,),
                    LIST_FILE, text("apple/0.png\n", "train.txt")),
    classifier_case("an empty list", (TRAIN,), LIST_FILE, text("", "train.txt")),
    classifier_case("samples without labels", (TRAIN,),
                    (f"{TRAIN}.with_label=False",)),
    classifier_case("validated without labels", ("val_dataloader", "test_evaluator=[]"),
                    ("val_dataloader.dataset.with_label=False",)),
    classifier_case("folders without images", (TRAIN,), change=lambda folder: [
        path.unlink() for path in folder.glob("train/*/*")]),
    classifier_case("train and val have other folders",
                    ("label 1", "'pear'", "'peach'"), change=lambda folder: (
                        folder / "val/pear").rename(folder / "val/peach")),
    classifier_case("more names than folders", (TRAIN, "4"),
                    (f"{TRAIN}.metainfo.classes=(a,b,c,d)",)),
    classifier_case("label vectors longer than the head",
                    ("data_preprocessor.num_classes=5", f"{COUNT}=3"),
                    ("data_preprocessor.num_classes=5",
                     "data_preprocessor.to_onehot=True")),
    classifier_case("names without a dict", (f"{TRAIN}.metainfo='apple'",),
                    (f"{TRAIN}.metainfo=apple",)),
    classifier_case("names as a string", (f"{CLASSES}='apple'",),
                    (f"{CLASSES}=apple",)),
    classifier_case("CIFAR-10 and a head for three", (f"{COUNT}=3", "10"),
                    (f"{TRAIN}.type=CIFAR10",)),
    classifier_case("Digits and a head for three", (f"{COUNT}=3", "10"),
                    (f"{TRAIN}.type=attnpool_mm.Digits",)),
    classifier_case("an image that is text", (f"{TRAIN}.data_prefix", "plum/1.png"),
                    change=text("<html>", "train/plum/1.png")),
    classifier_case("a listed image that is missing", (f"{TRAIN}.data_prefix", "9.png"),
                    LIST_FILE, text("apple/9.png 0\n", "train.txt")),
]  # fmt: skip
# An option, and what the message must name besides
VALUES = {
    "train_cfg.max_epochs=0": "train_cfg.max_epochs=0",
    "train_cfg.max_epochs=-1": "train_cfg.max_epochs=-1",
    "train_cfg.max_epochs=1.5": "train_cfg.max_epochs=1.5",
    "train_cfg.max_epochs=ten": "train_cfg.max_epochs='ten'",
    "train_cfg.val_interval=0": "train_cfg.val_interval=0",
    "optim_wrapper.optimizer.lr=nan": "optim_wrapper.optimizer.lr=nan",
    "optim_wrapper.optimizer.lr=inf": "optim_wrapper.optimizer.lr=inf",
    "optim_wrapper.optimizer.lr=-0.1": "optim_wrapper.optimizer.lr=-0.1",
    "optim_wrapper.optimizer.lr=0": "optim_wrapper.optimizer.lr=0",
    "optim_wrapper.optimizer.lr=1e-": "optim_wrapper.optimizer.lr='1e-'",
    "optim_wrapper.optimizer.momentum=nan": "optim_wrapper.optimizer.momentum=nan",
    "optim_wrapper.optimizer.weight_decay=-1": "weight_decay=-1",
    "optim_wrapper.accumulative_counts=0": "optim_wrapper.accumulative_counts=0",
    "optim_wrapper.clip_grad.max_norm=-1": "optim_wrapper.clip_grad.max_norm=-1",
    "train_dataloader.batch_size=0": "train_dataloader.batch_size=0",
    "train_dataloader.batch_size=2.5": "train_dataloader.batch_size=2.5",
    "val_dataloader.batch_size=-4": "val_dataloader.batch_size=-4",
    "train_dataloader.num_workers=-1": "train_dataloader.num_workers=-1",
    "model.data_preprocessor.std=[58,0,57]": "model.data_preprocessor.std=[58, 0, 57]",
    "model.data_preprocessor.std=[58,nan,57]": "model.data_preprocessor.std=[58, nan",
    "model.data_preprocessor.mean=[a,b,c]": "model.data_preprocessor.mean=['a'",
    "model=None": "model",
    "model=resnet": "model='resnet'",
    "train_cfg=None": "train_cfg",
    "optim_wrapper=None": "optim_wrapper",
    "val_evaluator=None": "val_evaluator",
    "train_dataloader.batch_size=None": "train_dataloader.batch_size",
}
VALUE_CASES = [
    *(Case(option, (said,), (option,)) for option, said in VALUES.items()),
    Case("a batch larger than the data, and drop_last",
         ("train_dataloader.batch_size=100", "4", "drop_last"),
         ("train_dataloader.batch_size=100", "train_dataloader.drop_last=True")),
]  # fmt: skip
BROKEN_CONFIGS = {
    "a name that is not defined": ("scope = mmdet\n", ("line 1", "mmdet")),
    "a key that is not there": ("x = dict()['model']\n", ("line 1", "model")),
    "a bracket too few": ("x = dict(\n", ("line 1",)),
    "a base that is not there": ("_base_ = './no.py'\n", ("no.py",)),
    "a base's variable that is not there":
        ("_base_ = './classifier.py'\nx = _base_.modell\n", ("line 2", "modell")),
    "a dict over a number": ("_base_ = './classifier.py'\n"
                             "train_cfg = dict(max_epochs=dict(a=1))\n",
                             ("max_epochs",)),
    "an import that fails": ("custom_imports = dict(imports=['no_such_module'])\n",
                             ("no_such_module",)),
    "no model": ("default_scope = 'mmdet'\n", ("model",)),
    "no default_scope": ("model = dict()\n", ("default_scope=None",)),
    "a picture": ("\x00\x01", ()),
}  # fmt: skip
BROKEN_MODELS = {  # option: what the message must name
    "model.bbox_head.loss_cls.type=FocalLos": "did you mean 'FocalLoss'?",
    "model.backbone.norm_cfg.type=BatchNorm": "norm_cfg.type='BatchNorm'",
    "model.bbox_head.anchor_generator.type=Anchors": "type='Anchors'",
    "model.backbone.depth=17": "invalid depth 17 for resnet",
    "model.neck.num_outs=1": "fpn, line",
}
# What needs a whole command
COMMAND_CASES = [
    *(Case(option, (said,), (option,)) for option, said in BROKEN_MODELS.items()),
    *(
        Case(f"a config file with {name}", ("detector.py", *said),
             change=text(content, "detector.py"))
        for name, (content, said) in BROKEN_CONFIGS.items()
    ),
    Case("a config that is a folder", ("detector.py",), change=lambda folder: (
        (folder / "detector.py").unlink(),
        (folder / "images").rename(folder / "detector.py"))),
    Case("a work folder that is a file", ("work_dir=", "list.json"),
         change=text("[]", "list.json"), words=("--work-dir", "list.json")),
    Case("a work folder that cannot be made", ("work_dir='/proc/new'",),
         words=("--work-dir", "/proc/new")),
    Case("an image that the sample misses", ("1 of", "apple/1.png"),
         change=lambda folder: [
             shutil.copy(folder / "train/plum/0.png", folder / f"train/plum/{i}.png")
             for i in range(2, 8)] + [text("", "train/apple/1.png")(folder)],
         config="classifier", words=("--check-data",)),
    Case("a loss that is no number", ("iteration", "optim_wrapper.optimizer.lr"),
         ("optim_wrapper.optimizer.lr=1e30", "train_cfg.max_epochs=90"),
         config="classifier"),
]  # fmt: skip
CASES = [*CLASS_CASES, *FILE_CASES, *BOX_CASES, *LABEL_CASES, *VALUE_CASES]
