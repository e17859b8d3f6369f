"""`get_complexity.py`: one config layer by layer, or several side by side."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tool_modules import load_tool

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.analysis.cost_plots import draw_comparison
from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.config import build_for_counting

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFIER = str(
    CONFIGS / "classification" / "digits" / "resnet18-nlp-stage-end_1xb64_digits.py"
)
DETECTOR = str(CONFIGS / "demo" / "faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py")


@pytest.fixture(scope="module")
def tool():
    return load_tool("analysis_tools/get_complexity.py")


@pytest.fixture
def run(tool, tmp_path, capsys):
    """What the tool prints, and what it writes with `--json`."""

    def run(*arguments):
        path = tmp_path / "new" / "cost.json"
        tool.run(tool.parse_args([*map(str, arguments), "--json", str(path)]))
        return capsys.readouterr().out, json.loads(path.read_text())

    return run


def measure(config, shape, method="forward", num_bytes=1):
    model = build_for_counting(read_config(config))
    return measure_complexity(model, shape, num_bytes, method)


def in_image(path, color):
    """The part of a picture that has a colour, in [0, 1]."""
    image = cv2.imread(str(path))
    assert image.shape[0] >= 400 and image.shape[1] >= 800
    return (abs(image.astype(int) - color).max(2) < 12).mean()


def test_the_layers_of_a_classifier_add_up(run):
    output, written = run(CLASSIFIER)
    (config,) = written["configs"]
    cost = measure(CLASSIFIER, (3, 32, 32))
    assert config["parameters"] == cost.parameters
    assert config["flops"] == cost.flops == 2 * config["multiply_adds"]
    assert config["peak"]["live_bytes"] == cost.peak.live_bytes
    layers = {layer["name"]: layer for layer in config["layers"]}
    outer = [name for name in layers if not name.endswith("pool")]
    stages = [f"backbone.layer{i}" for i in range(1, 5)]
    assert outer == ["backbone.stem", *stages, "neck", "head"]
    for key in ("parameters", "flops"):
        assert sum(layers[name][key] for name in outer) == config[key]
    live = max(layers[name]["live_bytes"] for name in outer)
    assert live == cost.peak.live_bytes
    pool = next(line for line in output.splitlines() if "layer2.pool" in line)
    assert pool.split()[2] == f"{layers['backbone.layer2.pool']['parameters']:,}"


def test_a_detector_without_its_heads(run, tmp_path):
    picture = tmp_path / "live.png"
    output, written = run(DETECTOR, "--plot", picture, "--bytes", 4)
    (config,) = written["configs"]
    cost = measure(DETECTOR, (3, 128, 128), "extract_feat", 4)
    assert config["method"] == "extract_feat" and config["flops"] == cost.flops
    assert config["peak"]["live_bytes"] == cost.peak.live_bytes
    layers = {layer["name"]: layer for layer in config["layers"]}
    assert not layers["rpn_head"]["ran"] and layers["neck"]["ran"]
    outer = [layer for name, layer in layers.items() if not name.endswith("pool")]
    assert sum(layer["parameters"] for layer in outer) == config["parameters"]
    assert Path(DETECTOR).stem in output.splitlines()[-1]  # whose heads did not run
    assert 0.05 < in_image(picture, (177, 130, 86)) < 0.7  # under the curve


def test_depth_shape_and_options(run):
    options = ["--cfg-options", "model.head.num_classes=7", "--shape", 64, 48]
    (config,) = run(CLASSIFIER, "--depth", 2, *options)[1]["configs"]
    layers = {layer["name"]: layer for layer in config["layers"]}
    assert config["shape"] == [3, 64, 48]
    assert layers["head"]["parameters"] == 7 * 513
    order = list(layers)
    assert order.index("backbone.layer2.0.conv1") < order.index("backbone.layer2.1")
    inside = [f"backbone.layer2.{child}" for child in ("0", "1", "pool")]
    whole = layers["backbone.layer2"]
    assert sum(layers[name]["parameters"] for name in inside) == whole["parameters"]


def test_a_runtime_without_an_operator_for_attention(run):
    shape = (CLASSIFIER, "--shape", 96)
    ideal = run(*shape)[1]["configs"][0]
    model = build_for_counting(read_config(CLASSIFIER))
    cost = measure_complexity(model, (3, 96, 96), attention="unfused")
    output, written = run(*shape, "--attention", "unfused")
    (unfused,) = written["configs"]
    assert unfused["peak"]["live_bytes"] == cost.peak.live_bytes
    assert unfused["arena_bytes"] == cost.arena_bytes
    assert f" {cost.arena_bytes / 1e3:,.1f}\n" in output
    limit = ["--attention-limit", "32kB"]
    tiled = run(*shape, "--attention", "tiled", *limit)[1]["configs"][0]
    assert tiled["flops"] == unfused["flops"] == ideal["flops"]
    peaks = [c["peak"]["live_bytes"] for c in (ideal, tiled, unfused)]
    assert peaks == sorted(peaks) and len(set(peaks)) == 3


def test_configs_side_by_side(run, tmp_path):
    twin = tmp_path / Path(CLASSIFIER).name  # of the same file name
    twin.write_text(
        f"_base_ = {CLASSIFIER!r}\nmodel = dict(head=dict(num_classes=3))\n"
    )
    results, picture = tmp_path / "results.json", tmp_path / "pictures" / "cost.png"
    results.write_text(json.dumps({CLASSIFIER: 98.5, str(twin): 97, DETECTOR: 41}))
    output, written = run(CLASSIFIER, twin, DETECTOR, "--time", "--results", results,
                          "--markdown", "--plot", picture)  # fmt: skip
    head, _, *lines = output.splitlines()[:5]
    assert head.split("|")[-3:-1] == [" time (ms) ", " result "]
    assert len({line.count("|") for line in output.splitlines()[:5]}) == 1
    names = [line.split("|")[1].strip() for line in lines]
    assert names == [CLASSIFIER, str(twin), Path(DETECTOR).stem]
    for line, config in zip(lines, written["configs"], strict=True):
        assert f" {config['peak']['live_bytes'] / 1e3:,.1f} " in line
        assert config["milliseconds"] > 0
    assert [config["result"] for config in written["configs"]] == [98.5, 97, 41]
    assert [config["path"] for config in written["configs"]] == [
        CLASSIFIER, str(twin), DETECTOR
    ]  # fmt: skip
    small, large = (
        written["configs"][1]["parameters"],
        written["configs"][0]["parameters"],
    )
    assert large - small == 7 * 513
    assert in_image(picture, (180, 119, 31)) > 0  # the first point


@pytest.mark.parametrize("count", [2, 40])
def test_every_network_is_named_beside_the_plot(count):
    names = [f"resnet18-nlp-stage-end-{i}_1xb8_stl10" for i in range(count)]
    values = [80 + 7 * i % 5 for i in range(count)]
    figure = draw_comparison(names, range(count), values, "result")
    FigureCanvasAgg(figure).draw()
    (axes,), (legend,) = figure.axes, figure.legends
    listed = [text.get_text() for text in legend.get_texts()]
    assert sorted(listed) == sorted(names)
    heights = [values[names.index(name)] for name in listed]
    assert heights == sorted(values, reverse=True)
    box, plot = legend.get_window_extent(), axes.get_window_extent()
    assert plot.x1 < box.x0 and box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    assert plot.width > 0.3 * figure.bbox.width
    points = [tuple(points.get_offsets()[0]) for points in axes.collections]
    assert sorted(points) == list(zip(range(count), values, strict=True))
    looks = {(*points.get_facecolor()[0], points.get_paths()[0].vertices.tobytes())
             for points in axes.collections}  # fmt: skip
    assert len(looks) == count


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nowhere.py",), "config nowhere.py"),
        ((CLASSIFIER, CLASSIFIER), f"config {CLASSIFIER}"),
        ((CLASSIFIER, DETECTOR, "--shape", "1", "32", "32"), r"shape=(1, 32, 32)"),
        ((CLASSIFIER, "--shape", "3", "4", "5", "6"), "--shape [3, 4, 5, 6]"),
        ((CLASSIFIER, "--bytes", "0"), "--bytes=0"),
        ((CLASSIFIER, "--depth", "-1"), "--depth=-1"),
        ((CLASSIFIER, "--attention", "tiled"), "--attention-limit"),
        ((CLASSIFIER, "--attention-limit", "8kB"), "--attention=fused"),
        (
            (CLASSIFIER, "--attention", "tiled", "--attention-limit", "8 apples"),
            "--attention-limit='8 apples'",
        ),
        (
            (CLASSIFIER, "--attention", "tiled", "--attention-limit", "2"),
            f"config {CLASSIFIER}: limit=2",
        ),
        ((CLASSIFIER, "--plot", "x.nothing"), "--plot x.nothing"),
        ((CLASSIFIER, "--json", "/dev/null/x.json"), "/dev/null is a file"),
        ((CLASSIFIER, "--cfg-options", "model.backbone.type=Nothing"), "Nothing"),
        ((CLASSIFIER, "--results", "nowhere.json"), "--results nowhere.json"),
    ],
)
def test_errors_are_one_line(tool, error_of, monkeypatch, tmp_path, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named in error_of(tool, *arguments)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "--results"),
        ("[1]", "--results"),
        ('{"a": "97", "b": 1}', "--results"),
        ('{"a": 97}', "b.py"),
        ('{"a": 97, "b": 1, "other": 1}', "'other'"),
        ('{"a": 97, "a.py": 97, "b": 1}', "a.py"),
    ],
)
def test_results_that_do_not_fit(tool, error_of, monkeypatch, tmp_path, text, named):
    monkeypatch.chdir(tmp_path)
    Path("results.json").write_text(text)
    assert named in error_of(tool, "a.py", "b.py", "--results", "results.json")


def test_as_a_program():
    """Nothing but the line of the error, from PyTorch's loggers either."""
    tool = Path(__file__).parents[2] / "tools" / "analysis_tools" / "get_complexity.py"
    command = [sys.executable, tool, CLASSIFIER, "--shape", "1", "32", "32"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    *_, error = done.stderr.splitlines()  # warnings of MMEngine 0.10.7 before it
    assert error.startswith("error: ") and "Traceback" not in done.stderr
