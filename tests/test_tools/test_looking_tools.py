"""The tools that draw where a network looks: by Grad-CAM, and over a training."""

import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from checkpoint_entry_points import CLASSIFIER, DETECTOR
from config_runs import build_model
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain import get_model
from PIL import Image
from tool_modules import load_tool, run_tool

from attnpool_mm.analysis import record_weights
from attnpool_mm.analysis.cam import class_activation
from attnpool_mm.analysis.maps import draw_maps, mean_weights
from attnpool_mm.checkpoint import load_checkpoint_file

CAM = "visualization/grad_cam.py"
WEIGHTS = "visualization/pooling_weights.py"
ROW = 256 + 22  # with its caption


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small classifier with pools, trained for three epochs, and a detector."""
    folder = tmp_path_factory.mktemp("looking")
    (folder / "classifier.py").write_text(CLASSIFIER)
    (folder / "detector.py").write_text(DETECTOR)
    run_tool(
        "train.py", folder / "classifier.py", "--work-dir", folder / "run",
        "--cfg-options", "train_cfg.max_epochs=3",
        "default_hooks.checkpoint.max_keep_ckpts=-1",
        "default_hooks.checkpoint.interval=1",
    )  # fmt: skip
    model = build_model(Config.fromfile(folder / "detector.py"))
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    torch.save(dict(state_dict=model.state_dict()), folder / "detector.pth")
    picture = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "photo.png"), picture)
    return folder


@pytest.fixture
def here(folder, monkeypatch, tools_undone):
    monkeypatch.chdir(folder)


def assert_alike(picture, expected):
    assert abs(picture.astype(int) - expected).max() <= 3


@pytest.mark.usefixtures("here")
class TestGradCam:
    def test_a_classifiers_row(self, folder, output_of):
        """The map and the weights are those that plain calls give."""
        pytest.importorskip("pytorch_grad_cam")
        words = ("classifier.py", "run/epoch_3.pth", "--num-images", 2, "--target", 3)
        layers = ("--layer", "backbone.layer2", "--method", "layercam")
        output_of(load_tool(CAM), *words, *layers, "--out", "new/cam.png")
        picture = cv2.imread("new/cam.png")[..., ::-1]
        assert picture.shape == (2 * ROW, 4 * 256, 3)

        model = get_model("classifier.py", "run/epoch_3.pth")
        cfg = Config.fromfile("classifier.py")
        image = DATASETS.build(cfg.test_dataloader.dataset)[1]["inputs"]
        inputs = (image[None].float() - 128) / 128

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, x):
                return self.model.head.fc(self.model.extract_feat(x)[-1])

        cam = class_activation(
            Logits().eval(), "model.backbone.layer2", inputs, 3, "layercam"
        )
        with torch.no_grad(), record_weights(model) as weights:
            model.extract_feat(inputs)
        weights = mean_weights({name: w[0] for name, w in weights.items()})
        expected = draw_maps(image.permute(1, 2, 0).numpy(), {"cam": cam, **weights})
        assert_alike(picture[ROW + 22 :], expected[22:])

    def test_a_detectors_rows(self, output_of):
        """Of a network without pools, on a file that is padded; any score counts."""
        pytest.importorskip("pytorch_grad_cam")
        output_of(
            load_tool(CAM), "detector.py", "detector.pth", "--images", "photo.png",
            "--layer", "backbone.layer1", "backbone.layer2", "--out", "cam.jpg",
        )  # fmt: skip
        picture = cv2.imread("cam.jpg")
        assert picture.shape[0] == ROW and picture.shape[1] % 3 == 0
        columns = np.split(picture[22:].astype(int), 3, axis=1)
        assert all(abs(columns[0] - column).mean() > 5 for column in columns[1:])

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--layer backbone.layer9", "'backbone.layer"),
            ("--layer head.fc", "--layer head.fc"),
            ("--target 10", "0 to 9"),
            ("--method cam", "'gradcam'"),
            ("--out a.txt", ".png"),
            ("--images absent.png", "absent.png"),
            ("--num-images 0", "--num-images=0"),
        ],
    )
    def test_errors_are_one_line(self, error_of, words, said):
        pytest.importorskip("pytorch_grad_cam")
        tool = load_tool(CAM)
        words = ("classifier.py", "run/epoch_3.pth", *words.split())
        assert said in error_of(tool, *words)

    def test_files_that_are_no_images(self, folder, error_of):
        pytest.importorskip("pytorch_grad_cam")
        for name, content in (("empty.png", b""), ("text.png", b"no image")):
            (folder / name).write_bytes(content)
            words = ("classifier.py", "run/epoch_3.pth", "--images", name)
            assert f"--images {name}" in error_of(load_tool(CAM), *words)

    def test_classes_are_those_of_the_model(self):
        cfg = Config.fromfile("classifier.py")
        for count, expected in ((3, "012"), (12, [*"0123456789", "10", "11"])):
            cfg.model.head.num_classes = count
            assert load_tool(CAM).names_of(cfg) == list(expected)

    def test_a_missing_package_is_named(self, error_of, monkeypatch):
        monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
        error = error_of(load_tool(CAM), "classifier.py", "run/epoch_3.pth")
        assert "attnpool_mm[cam]" in error


@pytest.mark.usefixtures("here")
class TestWeightsOverATraining:
    def test_a_column_an_epoch(self, folder, output_of):
        """In the order of the epochs, and all on one scale."""
        files = [f"run/epoch_{epoch}.pth" for epoch in (3, 1, 2)]
        words = ("classifier.py", "--checkpoints", *files, "--num-images", 2)
        out = output_of(load_tool(WEIGHTS), *words, "--out-dir", "strips")
        assert sorted(map(str.strip, out.splitlines()))[-1].endswith(".png")
        model = get_model("classifier.py", "run/epoch_1.pth")
        dataset = Config.fromfile("classifier.py").test_dataloader.dataset
        dataset = DATASETS.build(dataset)
        found = {}
        for epoch in (1, 2, 3):
            weights = load_checkpoint_file(f"run/epoch_{epoch}.pth")["state_dict"]
            model.load_state_dict(weights)
            for index in (0, 1):
                inputs = (dataset[index]["inputs"][None].float() - 128) / 128
                with torch.no_grad(), record_weights(model) as weights:
                    model.extract_feat(inputs)
                for name, w in weights.items():
                    mean = w[0].mean(0)
                    found.setdefault(name.removeprefix("backbone."), {})[
                        index, epoch
                    ] = mean
        assert {path.stem for path in (folder / "strips").iterdir()} == set(found)
        for pool, maps in found.items():
            picture = cv2.imread(f"strips/{pool}.png")[..., ::-1]
            assert picture.shape == (2 * ROW, 4 * 256, 3)
            low = min(m.min().item() for m in maps.values())
            high = max(m.max().item() for m in maps.values())
            for index in (0, 1):
                image = dataset[index]["inputs"].permute(1, 2, 0).numpy()
                row = {str(epoch): maps[index, epoch] for epoch in (1, 2, 3)}
                limits = dict.fromkeys(row, (low, high))
                expected = draw_maps(image, row, limits=limits)[22:]
                top = index * ROW + 22
                assert_alike(picture[top : top + 256], expected)

    def test_a_work_folder_and_a_video(self, folder, output_of):
        words = ("classifier.py", "--checkpoints", "run", "--video", "--num-images", 1)
        output_of(load_tool(WEIGHTS), *words, "--out-dir", "video")
        with Image.open(folder / "video/weights.gif") as video:
            assert video.n_frames == 3
            assert video.size == (256 * len(list((folder / "video").iterdir())), ROW)

    def test_what_a_file_lacks_is_not_that_of_the_one_before(self, folder, output_of):
        """Of two files that differ in what the second lacks, the maps differ."""
        files = [folder / f"part{epoch}.pth" for epoch in (1, 2)]
        for epoch, file in enumerate(files, 1):
            saved = load_checkpoint_file(folder / "run/epoch_1.pth")
            saved["meta"] |= dict(epoch=epoch, iter=epoch)
            state = saved["state_dict"]
            for name in [name for name in state if ".pool." in name]:
                state[name] = 9 * state[name]
                if epoch == 2:
                    del state[name]
            torch.save(saved, file)
        words = ("classifier.py", "--checkpoints", *files, "--num-images", 1)
        output_of(load_tool(WEIGHTS), *words, "--partial", "--out-dir", "parts")
        for path in (folder / "parts").iterdir():
            _, first, second = np.split(cv2.imread(str(path))[22:], 3, axis=1)
            assert abs(first.astype(int) - second).max() > 3

    def test_errors_are_one_line(self, folder, error_of):
        tool = load_tool(WEIGHTS)
        shutil.copy(folder / "run/epoch_2.pth", folder / "copy.pth")
        bare = load_checkpoint_file(folder / "run/epoch_2.pth")["state_dict"]
        torch.save(bare, folder / "bare.pth")
        (folder / "empty").mkdir(exist_ok=True)
        first = "run/epoch_1.pth"
        for words, said in (
            ([], "CHECKPOINT"),
            ([first, "--checkpoints", first], "CHECKPOINT"),
            ([first, "--video"], "--video"),
            (["--checkpoints", first, "absent.pth"], "absent.pth"),
            (["--checkpoints", "empty"], "empty"),
            (["--checkpoints", first, "detector.pth"], "detector.pth"),
            (["--checkpoints", first, "bare.pth"], "bare.pth"),
            (["--checkpoints", "run/epoch_2.pth", "copy.pth"], "copy.pth"),
        ):
            options = ("--num-images", 1, "--out-dir", "wrong")
            assert said in error_of(tool, "classifier.py", *words, *options)
        assert not (folder / "wrong").exists()
