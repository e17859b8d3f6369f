"""Checkpoints are data: ours and MMEngine's load, code in them does not run."""

import argparse
import io
import itertools
import os
import pickle
import socket
import struct
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch.utils.data import DataLoader

from attnpool_mm.checkpoint import load_checkpoint_file, use_safe_loading
from attnpool_mm.utils.errors import ConfigError

NUMBERS = itertools.count()  # MMEngine keeps what a run of a name has logged

SCHEMES = mmengine_checkpoint.CheckpointLoader


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class TinyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.layer(inputs).square().mean()}


def make_runner(work_dir, **settings):
    return Runner(
        TinyModel(),
        str(work_dir),
        train_dataloader=DataLoader([{"inputs": torch.ones(2)}] * 4, batch_size=2),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        param_scheduler={"type": "StepLR", "step_size": 1, "gamma": 0.5},
        default_scope="mmengine",
        experiment_name=f"run{next(NUMBERS)}",
        **settings,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A runner that has trained, and the folder with its checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    runner = make_runner(folder)
    runner.train()
    return runner, folder


@pytest.fixture
def safe_loading(tools_undone):
    """`use_safe_loading`, undone after the test."""
    return use_safe_loading


def trap(folder, **save_options):
    """A checkpoint that creates the file `ran` when it is loaded unsafely."""
    ran = folder / "ran"
    checkpoint = {"state_dict": {}, "x": Call(os.system, f"touch {ran}")}
    torch.save(checkpoint, folder / "evil.pth", **save_options)
    return folder / "evil.pth", ran


def test_the_trap_works(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    path, ran = trap(tmp_path)
    load_checkpoint_file(path, trust=True)
    assert ran.exists()


@pytest.mark.parametrize(
    "save_options",
    [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}],
    ids=["zip", "legacy", "protocol4"],
)
def test_code_is_refused(tmp_path, save_options):
    path, ran = trap(tmp_path, **save_options)
    with pytest.raises(ConfigError, match="refused") as caught:
        load_checkpoint_file(path)
    message = str(caught.value)
    assert str(path) in message and "--trust-checkpoint" in message
    if "pickle_protocol" not in save_options:
        assert f"{os.system.__module__}.system" in message
    assert not ran.exists()


def test_plain_pickle_runs_nothing(tmp_path):
    ran = tmp_path / "ran"
    for protocol in (0, 2, 4):
        data = pickle.dumps({"x": Call(os.system, f"touch {ran}")}, protocol)
        (tmp_path / "a.pkl").write_bytes(data)
        with pytest.raises(ValueError, match="a.pkl"):
            load_checkpoint_file(tmp_path / "a.pkl")
        assert not ran.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (Call(getattr, HistoryBuffer, "__init__"), "getattr"),
        (Call(getattr, torch.Tensor, "min"), "getattr|torch.*Tensor"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path, value, name):
    torch.save({"x": value}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=f"a.pth: refused: .*{name}"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_forged_object_array_is_refused(tmp_path):
    """A dtype's pickled state could declare pointers to be plain bytes."""
    forged = Call(np.dtype, "O", False, True)
    forged.call = (*forged.call, (3, "|", None, None, None, 8, 8, 0))
    torch.save({"x": forged}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="refused"):
        load_checkpoint_file(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x80\x02}q\x00.", None])
def test_what_is_no_checkpoint(tmp_path, trained, content):
    if content is None:
        whole = (trained[1] / "epoch_2.pth").read_bytes()
        content = whole[: len(whole) // 2]
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint .*a.pth"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        load_checkpoint_file(tmp_path / "absent.pth")


def test_a_checkpoint_is_a_dict(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: .*list"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_numpy_numbers_load(tmp_path):
    values = [
        np.arange(6.0).reshape(2, 3),
        np.arange(3, dtype=np.int32),
        np.array([True, False]),
        np.float32(1.5),
        np.int64(7),
    ]
    torch.save({"x": values}, tmp_path / "a.pth")
    loaded = load_checkpoint_file(tmp_path / "a.pth")["x"]
    for actual, value in zip(loaded, values, strict=True):
        assert type(actual) is type(value) and actual.dtype == value.dtype
        np.testing.assert_array_equal(actual, value)


def test_names_of_both_numpy_versions_load(tmp_path):
    """Files of NumPy 1 name `numpy.core`, files of NumPy 2 `numpy._core`."""
    value = np.arange(4.0)
    for module in ("core", "_core"):
        data = pickle.dumps({"x": value, "size": torch.Size([1])}, 2)
        for here in (b"numpy._core.", b"numpy.core."):
            data = data.replace(here, f"numpy.{module}.".encode())
        assert f"cnumpy.{module}.multiarray\n".encode() in data
        torch.save({}, tmp_path / "a.pth")
        reader = torch._C.PyTorchFileReader(str(tmp_path / "a.pth"))
        writer = torch._C.PyTorchFileWriter(str(tmp_path / "b.pth"))
        for record in reader.get_all_records():
            if record == "data.pkl":
                writer.write_record(record, data, len(data))
            elif record not in ("version", ".data/serialization_id"):
                content = reader.get_record(record)
                writer.write_record(record, content, len(content))
        writer.write_end_of_file()
        loaded = load_checkpoint_file(tmp_path / "b.pth")["x"]
        np.testing.assert_array_equal(loaded, value)


@pytest.mark.parametrize(
    "map_location",
    [None, "cpu", torch.device("cpu"), {"cpu": "cpu"}, lambda storage, place: storage],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_where_tensors_go(tmp_path, map_location, zipped):
    weights = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.tensor([True, False])}
    weights["c"] = weights["a"][1:]  # over the same storage
    path = tmp_path / "a.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint_file(path, map_location)
    torch.testing.assert_close(loaded, weights, rtol=0, atol=0)
    loaded["a"].zero_()
    assert not loaded["c"].any()


def test_a_device_that_is_not_there(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="map_location='cpux'"):
        load_checkpoint_file(tmp_path / "a.pth", "cpux")


@pytest.mark.parametrize("zipped", [True, False])
def test_every_kind_of_tensor_loads_as_it_was(tmp_path, zipped):
    kinds = [
        *(torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8),
        *(torch.int16, torch.int32, torch.int64, torch.complex64, torch.uint16),
    ]
    weights = {str(kind): torch.arange(6).to(kind).view(2, 3) for kind in kinds}
    weights |= {"scalar": torch.tensor(3), "empty": torch.empty(0, 4)}
    weights |= {"parameter": torch.nn.Parameter(torch.ones(2)), "size": torch.Size([2])}
    weights |= {"expanded": torch.ones(1).expand(1000)}
    path = tmp_path / "a.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint_file(path)
    for name, value in weights.items():
        assert type(loaded[name]) is type(value)
        if name != "size":
            assert loaded[name].stride() == value.stride()
            assert loaded[name].requires_grad == value.requires_grad
    torch.testing.assert_close(loaded, weights, rtol=0, atol=0)


def test_checkpoint_of_a_runner_loads(trained):
    runner, folder = trained
    checkpoint = load_checkpoint_file(folder / "epoch_2.pth")
    assert checkpoint["meta"]["epoch"] == 2
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(checkpoint["state_dict"][name], value)
    loss = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    expected = runner.message_hub.get_scalar("train/loss")
    np.testing.assert_array_equal(loss.data[0], expected.data[0])
    assert loss.statistics("mean", 2) == pytest.approx(expected.mean(2))
    state = checkpoint["optimizer"]["state"]
    assert all("momentum_buffer" in entry for entry in state.values()) and state


def test_mmengine_resumes_safely(tmp_path, trained, safe_loading):
    safe_loading()
    runner = make_runner(tmp_path)
    runner.resume(str(trained[1] / "epoch_1.pth"))
    assert runner.epoch == 1
    runner.train()
    for name, value in trained[0].model.state_dict().items():
        torch.testing.assert_close(runner.model.state_dict()[name], value)


def test_mmengine_refuses_code(tmp_path, safe_loading):
    safe_loading()
    path, ran = trap(tmp_path)
    runner = make_runner(tmp_path / "work")
    with pytest.raises(ConfigError, match="evil.pth: refused"):
        runner.load_checkpoint(str(path))
    assert not ran.exists()


def test_resume_does_not_evaluate_the_config(tmp_path, trained, safe_loading):
    ran = tmp_path / "ran"
    checkpoint = load_checkpoint_file(trained[1] / "epoch_1.pth")
    checkpoint["meta"]["config"] = f"import os\nos.system('touch {ran}')\n"
    torch.save(checkpoint, tmp_path / "a.pth")
    safe_loading()
    runner = make_runner(tmp_path / "work")
    runner.resume(str(tmp_path / "a.pth"))
    assert runner.epoch == 1 and not ran.exists()


def test_other_loads_in_the_process_are_held_to_data(tmp_path, safe_loading):
    path, ran = trap(tmp_path)
    safe_loading()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert not ran.exists()


def test_downloads_are_held_to_data(tmp_path, monkeypatch, safe_loading):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path, ran = trap(folder)
    name = f"evil-{sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(folder / name)  # as if downloaded before
    safe_loading()
    with pytest.raises(ConfigError, match=f"{name}: refused"):
        SCHEMES.load_checkpoint(f"https://host.invalid/a/{name}?download=1")
    assert not ran.exists()


class Pages(BaseHTTPRequestHandler):
    """Sends what the test has put into `pages`: whole, or not."""

    def do_GET(self):
        body, how = self.server.pages[self.path]
        self.server.asked.append(self.path)
        if how == "not HTTP":
            return self.wfile.write(b"hello\n")
        self.send_response(200)
        if how == "in parts":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n" % len(body) + body[:100]
        elif how:
            self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body if how == "whole" else body[: len(body) // 2])
        if how == "reset":
            time.sleep(0.2)  # until the headers are read
            option = socket.SO_LINGER, struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, *option)
            os.close(self.connection.detach())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch, safe_loading):
    """A server of this computer's, and a hub folder that is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    safe_loading()
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.pages, server.asked, server.hub = {}, [], tmp_path / "hub/checkpoints"
        server.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def weights(value):
    stream = io.BytesIO()
    torch.save({"weight": torch.full((1000,), float(value))}, stream)
    return stream.getvalue()


def first_weight(url):
    return SCHEMES.load_checkpoint(url, logger="silent")["weight"][0].item()


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("how", ["cut", "reset", "in parts", "not HTTP"])
def test_half_a_download_is_no_checkpoint(server, how):
    url = f"{server.url}/a/best.pth"
    server.pages["/a/best.pth"] = weights(1), how
    with pytest.raises(ConfigError, match="best.pth: a download failed") as caught:
        first_weight(url)
    assert "\n" not in str(caught.value) and files_in(server.hub) == []
    server.pages["/a/best.pth"] = weights(1), "whole"
    assert first_weight(url) == 1


def test_what_is_not_there_is_said_in_one_line(server):
    gone = f"{server.url[:-1]}x/a.pth"
    for url in (gone, "http://127.0.0.1:1/a.pth", "http://[x/a.pth"):
        with pytest.raises(ConfigError, match="a download failed") as caught:
            first_weight(url)
        assert "\n" not in str(caught.value) and url in str(caught.value)


def test_each_url_has_a_file_of_its_own(server):
    paths = ["/a/best.pth", "/b/best.pth", "/b/best.pth?v=2", "/", "/c-20210831.pth"]
    for value, path in enumerate(paths):
        server.pages[path] = weights(value), "whole"
    for _ in range(2):
        found = [first_weight(server.url + path) for path in paths]
        assert found == [*range(len(paths))]
    assert server.asked == paths  # each once


def test_a_name_with_a_digest_stands_for_its_content(server):
    body = weights(3)
    name = f"net-{sha256(body).hexdigest()[:8]}.pth"
    server.pages[f"/{name}"] = body, "whole"
    file = server.hub / name  # where `torch.hub` and MMEngine have it
    server.hub.mkdir(parents=True)
    file.write_bytes(body[:99])
    assert first_weight(f"{server.url}/{name}") == 3
    assert file.read_bytes() == body
    assert first_weight(f"http://127.0.0.1:1/other/{name}") == 3


def test_a_digest_of_something_else_is_no_reason_to_fail(server):
    """As in torchvision's `efficientnet_b0_rwightman-3dd342df.pth`."""
    path = "/net-3dd342df.pth"
    server.pages[path] = weights(3), "whole"
    for _ in range(2):
        assert first_weight(server.url + path) == 3
    assert server.asked == [path]
    assert not (server.hub / path[1:]).exists()


def test_without_a_network_what_others_have_fetched_is_taken(server):
    server.hub.mkdir(parents=True)
    (server.hub / "best.pth").write_bytes(weights(5))
    assert first_weight("http://127.0.0.1:1/best.pth") == 5
    server.pages["/best.pth"] = weights(6), "whole"
    assert first_weight(f"{server.url}/best.pth") == 6


def test_trust_undoes_the_restriction(tmp_path, safe_loading):
    path, ran = trap(tmp_path)
    safe_loading()
    safe_loading(trust=True)
    SCHEMES.load_checkpoint(str(path))
    assert ran.exists()
