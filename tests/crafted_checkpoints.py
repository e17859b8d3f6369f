"""Crafted checkpoints: a table of what a hostile or broken file may have in it.

Each is made out of a good checkpoint and is to be refused in one line, or to load and
do no harm: no file `ran` appears, and the folder `victim` stays.
"""

import codecs
import io
import os
import pickle
import random
import struct
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

UTILS = torch._utils
RECONSTRUCT = np.empty(0).__reduce__()[0]
SCALAR = np.float32(1).__reduce__()[0]
TWO_NUMBERS = struct.pack("<2f", 1, 2)
EXTENSION = 240  # a code of `copyreg`'s for private use


class Call:
    """Pickles as a call of `function(*args)`, then a state."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


class New:
    """Pickles as an object of a class made without its constructor, then a state."""

    def __init__(self, cls, *args, state=None):
        self.cls, self.args, self.state = cls, args, state


class Stored:
    """Pickles as a storage with the id that PyTorch gives it, whatever the file has."""

    def __init__(self, numel=2, key="0", kind=torch.FloatStorage, what="storage"):
        self.id = what, kind, key, "cpu", numel


class Opcodes:
    """Pickles as these opcodes."""

    def __init__(self, data):
        self.data = data


class Pickler(pickle._Pickler):
    """In Python, since it writes opcodes as they are given."""

    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Stored) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Opcodes):
            return self.write(obj.data)
        if isinstance(obj, New):
            self.save(obj.cls)
            self.save(obj.args)
            self.write(pickle.NEWOBJ)
            self.save(obj.state)
            return self.write(pickle.BUILD)
        return super().save(obj, save_persistent_id)


def pickled(value, protocol=2):
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def archive(value, storage=TWO_NUMBERS, compression=zipfile.ZIP_STORED):
    """A file as `torch.save` writes it, with one storage, `0`."""
    stream = io.BytesIO()
    data = value if isinstance(value, bytes) else pickled(value)
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("a/data.pkl", data)
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", storage)
        file.writestr("a/version", "3\n")
    return stream.getvalue()


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def tensor(storage=None, offset=0, size=(2,), stride=(1,), hooks=None):
    """A call of PyTorch's own function, on a storage of two numbers."""
    storage, hooks = storage or Stored(), hooks or OrderedDict()
    return Call(
        UTILS._rebuild_tensor_v2, storage, offset, size, stride, False, hooks
    )  # fmt: skip


def dtype(code="f8", state=(3, "<", None, None, None, -1, -1, 0)):
    return Call(np.dtype, code, False, True, state=state)


def array(kind=None, shape=(1,), data=b"\0" * 8, version=1):
    state = (version, shape, kind or dtype(), False, data)
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)


def history(log=None, counts=None, length=10):
    state = {
        "max_length": length,
        "_log_history": np.zeros(1) if log is None else log,
        "_count_history": np.zeros(1) if counts is None else counts,
    }
    return New(HistoryBuffer, state=state)


@dataclass
class Traps:
    """What no checkpoint may touch, and where it is resumed."""

    folder: Path
    work_dir: Path

    @property
    def ran(self):
        return self.folder / "ran"

    @property
    def victim(self):
        return self.folder / "victim"

    @property
    def command(self):
        return f"touch {self.ran}"

    @property
    def text(self):
        """A config that runs the command."""
        return f"import os\nos.system('{self.command}')\nmodel = dict()\n"

    def lay(self):
        self.victim.mkdir(parents=True, exist_ok=True)
        (self.victim / "thesis").write_text("years")
        self.work_dir.mkdir(parents=True, exist_ok=True)
        link = self.work_dir / "best_link.pth"
        link.unlink(missing_ok=True)
        link.symlink_to(self.victim / "thesis")

    def untouched(self):
        thesis = self.victim / "thesis"
        return not self.ran.exists() and thesis.exists() and self.work_dir.is_dir()


def changed(base, path, value):
    """The good checkpoint with another value at a path such as 'meta.epoch'."""
    *outer, last = path.split(".")
    result = place = dict(base)
    for key in outer:
        place[key] = dict(place[key])
        place = place[key]
    place[last] = value
    return result


def with_extra(value):
    """A good checkpoint with one more entry, in PyTorch's own format."""
    return lambda base, traps: saved(dict(base, extra=value))


def forged(value):
    """A file with one entry alone, put together by hand."""
    return lambda base, traps: archive({"state_dict": {}, "extra": value})


def hub(key, value):
    """A good checkpoint with another value in the training's state."""

    def build(base, traps):
        made = value(traps) if callable(value) else value
        return saved(changed(base, f"message_hub.runtime_info.{key}", made))

    return build


def odd(path, value):
    return lambda base, traps: saved(changed(base, path, value))


def runs(make):
    """A good checkpoint with an entry that is to run a command."""
    return lambda base, traps: saved(dict(base, extra=make(traps)))


def opcodes(make):
    """A good archive whose pickle has opcodes of its own as its one entry."""
    return lambda base, traps: archive({"extra": Opcodes(make(traps))})


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def tar(base, traps):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Call(os.system, traps.command), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def script_module(base, traps):
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), stream)
    return stream.getvalue()


def overlapping(base, traps):
    """A directory that lists the same bytes many times, as zip bombs do."""
    data = bytearray(archive({"state_dict": {}}, b"\0" * 100_000))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entry, start = file.getinfo("a/data/0"), file.start_dir
    extra = b""
    for i in range(1, 60):
        name = b"a/data/%02d" % i
        extra += struct.pack(
            "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, entry.CRC,
            entry.file_size, entry.file_size, len(name), 0, 0, 0, 0, 0,
            entry.header_offset,
        ) + name  # fmt: skip
    end = data.rindex(b"PK\5\6")
    directory = bytes(data[start:end]) + extra
    count = 4 + 59
    tail = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0
    )
    return bytes(data[:start]) + directory + tail


def twice_named(base, traps):
    stream = io.BytesIO(archive({"state_dict": {}}))
    with zipfile.ZipFile(stream, "a") as file:
        file.writestr("a/Data.pkl", pickled(Call(os.system, traps.command)))
    return stream.getvalue().replace(b"a/Data.pkl", b"a/data.pkl")


def encrypted(base, traps):
    data = bytearray(archive({"state_dict": {}}))
    place = data.index(b"PK\1\2")
    data[place + 8] |= 1
    return bytes(data)


def bit_flip(base, traps):
    data = bytearray(saved(base))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        largest = max(file.infolist(), key=lambda entry: entry.file_size)
    data[largest.header_offset + 200 + largest.file_size // 2] ^= 4
    return bytes(data)


def stream_with(numel):
    """The older format, which says of its storage what is given."""

    def build(base, traps):
        storage = Stored(numel)
        storage.id += (None,)  # a sixth part, for views, in this format
        value = {"state_dict": {"w": tensor(storage)}}
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        head = b"".join(map(pickled, [*parts, value, ["0"]]))
        return head + struct.pack("<q2f", 2, 1, 2)

    return build


def laughs(depth=40, width=10):
    """A list of lists of lists, each there once and referred to ten times."""
    value = ["ha"]
    for _ in range(depth):
        value = [value] * width
    return value


def nested(depth=100_000):
    return b"]" * depth + b"a" * (depth - 1)


def repeated(function, arguments, count, opcodes=b"h\xc8h\xc9R"):
    """A list of what is called and of its results, of five bytes each by default."""
    function, arguments = pickled(function)[2:-1], pickled(arguments)[2:-1]
    start = b"](" + function + b"q\xc8" + arguments + b"q\xc9"
    return Opcodes(start + opcodes * count + b"e")


def many_storages(base, traps):
    """The older format, with one storage referred to very often."""
    storage = Stored()
    storage.id += (None,)
    value = {"state_dict": {}, "extra": repeated(None, storage.id, 10**6, b"h\xc9Q")}
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, ["0"]]
    return b"".join(map(pickled, parts)) + struct.pack("<q2f", 2, 1, 2)


def many_sizes(count=500_000):
    """A tuple of one number of 2000 bits, whose product takes hours."""
    number = pickled(2**2000)[2:-1] + b"q\xc8"
    return Opcodes(b"(" + number + b"h\xc8" * count + b"t")


def long_texts(count=100_000):
    """A list of one text, which is ten billion letters if it is written out."""
    return ["a" * 100_000] * count


def colliding(count=2000):
    """Integers that have the same hash."""
    modulus = 2**61 - 1
    return {1 + i * modulus: i for i in range(count)}


def hostile_attributes(base, traps):
    """A state dict that hides its own methods."""
    pairs = [[key, value] for key, value in base["state_dict"].items()]
    state = {"items": 1, "copy": "no function", "_metadata": "x"}
    return saved(dict(base, state_dict=Call(OrderedDict, pairs, state=state)))


def optimizer(change):
    def build(base, traps):
        state = base["optimizer"]
        groups = [dict(group) for group in state["param_groups"]]
        entries = {key: dict(entry) for key, entry in state["state"].items()}
        made = dict(state, param_groups=groups, state=entries)
        change(made)
        return saved(dict(base, optimizer=made))

    return build


def renamed(base, traps):
    weights = {f"other.{key}": value for key, value in base["state_dict"].items()}
    return saved(dict(base, state_dict=weights))


def reshaped(base, traps):
    weights = {k: torch.ones(3, 5, 7) for k in base["state_dict"]}
    return saved(dict(base, state_dict=weights))


REFUSED, LOADS = "refused", "loads"
# What the loader does with it, and what makes it
CASES: dict[str, tuple[str, Callable]] = {
    # code
    "os.system": (REFUSED, runs(lambda t: Call(os.system, t.command))),
    "eval": (REFUSED, runs(lambda t: Call(eval, f"open({str(t.ran)!r}, 'w')"))),
    "exec": (REFUSED, runs(lambda t: Call(exec, t.text))),
    "subprocess": (REFUSED, runs(lambda t: Call(subprocess.Popen, t.command, -1))),
    "nested torch.load": (REFUSED, runs(lambda t: Call(torch.load, "x", None))),
    "attribute of a class": (
        REFUSED,
        with_extra(Call(getattr, HistoryBuffer, "__init__")),
    ),
    "attribute of a tensor": (REFUSED, with_extra(Call(getattr, torch.Tensor, "min"))),
    "a module": (REFUSED, with_extra(torch.nn.Linear(1, 1))),
    "a class": (REFUSED, with_extra(HistoryBuffer)),
    "pickle protocol 4": (
        REFUSED,
        lambda b, t: saved(
            dict(b, extra=Call(os.system, t.command)), pickle_protocol=4
        ),
    ),
    "older format": (
        REFUSED,
        lambda b, t: saved(
            dict(b, extra=Call(os.system, t.command)),
            _use_new_zipfile_serialization=False,
        ),
    ),
    "plain pickle": (
        REFUSED,
        lambda b, t: pickle.dumps(Call(os.system, t.command), 2),
    ),
    "tar": (REFUSED, tar),
    "TorchScript": (REFUSED, script_module),
    "opcode INST": (
        REFUSED,
        opcodes(lambda t: b"(" + text(t.command) + b"ios\nsystem\n"),
    ),
    "opcode OBJ": (
        REFUSED,
        opcodes(lambda t: b"(cos\nsystem\n" + text(t.command) + b"o"),
    ),
    "many names with escapes": (
        REFUSED,
        opcodes(
            lambda t: b"".join(b"c\x1b[2J%d\nx\n0" % i for i in range(5000)) + b"N"
        ),
    ),
    "opcode EXT1": (REFUSED, opcodes(lambda t: b"\x82" + bytes([EXTENSION]) + b")R")),
    "state of a function": (
        REFUSED,
        opcodes(
            lambda t: (
                b"ctorch._utils\n_rebuild_tensor_v2\nN}"
                + (text("__defaults__") + text("x") + b"s\x86b")
            )
        ),
    ),
    "state of a storage": (
        REFUSED,
        forged(Opcodes(pickled(Stored())[2:-1] + b"}b")),
    ),
    "call of a storage": (REFUSED, forged(Opcodes(pickled(Stored())[2:-1] + b")R"))),
    "object of a string": (REFUSED, forged(Opcodes(b"X\1\0\0\0a)\x81"))),
    "methods of a state dict": (LOADS, hostile_attributes),
    # memory
    "object array of raw bytes": (
        REFUSED,
        with_extra(Call(np.ndarray, (1,), np.dtype("O"), b"A" * 8)),
    ),
    "uninitialised array": (REFUSED, with_extra(Call(np.ndarray, (64,), "u1"))),
    "array made by its class": (REFUSED, forged(New(np.ndarray, (64,), "u1"))),
    "object type without state": (REFUSED, forged(array(dtype("O")))),
    "object type with a forged state": (
        REFUSED,
        forged(array(dtype("O", (3, "|", None, None, None, 8, 8, 0)))),
    ),
    "structured type": (
        REFUSED,
        forged(array(dtype("V8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 0)))),
    ),
    "number type with fields": (
        REFUSED,
        forged(array(dtype("f8", (3, "<", None, ("a",), {"a": ("O", 0)}, 8, 1, 0)))),
    ),
    "array of too few bytes": (REFUSED, forged(array(shape=(1000,)))),
    "array of negative size": (REFUSED, forged(array(shape=(-1,)))),
    "array of an overflowing size": (REFUSED, forged(array(shape=(2**62, 4, 2)))),
    "array with a list for bytes": (REFUSED, forged(array(data=[1.0]))),
    "number of an object type": (
        REFUSED,
        forged(Call(SCALAR, dtype("O"), b"A" * 8)),
    ),
    "number of too few bytes": (REFUSED, forged(Call(SCALAR, dtype(), b"A"))),
    "boolean array of other bytes": (
        REFUSED,
        forged(array(dtype("b1", (3, "|", None, None, None, -1, -1, 0)), (1,), b"\7")),
    ),
    "tensor beyond its storage": (REFUSED, forged(tensor(size=(1000,)))),
    "tensor at an offset beyond": (REFUSED, forged(tensor(offset=2**40, size=(1,)))),
    "tensor of a large stride": (REFUSED, forged(tensor(stride=(2**40,)))),
    "tensor of a negative stride": (REFUSED, forged(tensor(stride=(-1,)))),
    "tensor of a negative size": (REFUSED, forged(tensor(size=(-5,)))),
    "tensor of a negative offset": (REFUSED, forged(tensor(offset=-1))),
    "tensor of an overflowing size": (
        REFUSED,
        forged(tensor(size=(2**32, 2**32), stride=(2**32, 2**32))),
    ),
    "tensor over a number": (REFUSED, forged(tensor(storage=7))),
    "tensor with hooks": (REFUSED, forged(tensor(hooks=OrderedDict(a=1)))),
    "storage larger than its entry": (
        REFUSED,
        forged(tensor(Stored(4096), size=(4096,))),
    ),
    "storage of negative size": (REFUSED, forged(tensor(Stored(-2)))),
    "storage that is not there": (REFUSED, forged(tensor(Stored(key="../../1")))),
    "storage of a name with escapes": (
        REFUSED,
        forged(tensor(Stored(key="\x1b[2J\n"))),
    ),
    "storage of two types": (
        REFUSED,
        forged([tensor(), tensor(Stored(1, kind=torch.DoubleStorage), size=(1,))]),
    ),
    "another persistent id": (REFUSED, forged(Stored(what="module"))),
    "storage larger than the file": (REFUSED, stream_with(2**36)),
    "storage larger than its part": (REFUSED, stream_with(4)),
    "uninitialised tensor": (REFUSED, forged(Call(torch.FloatTensor, 64))),
    "huge tensor": (REFUSED, forged(Call(torch.Tensor, 2**42))),
    "huge storage": (REFUSED, forged(Call(torch.UntypedStorage, 2**42))),
    "huge bytearray": (REFUSED, forged(Call(bytearray, 2**42))),
    "sparse tensor of wrong indices": (
        REFUSED,
        forged(
            Call(
                UTILS._rebuild_sparse_tensor,
                torch.sparse_coo,
                (tensor(), tensor(), (2,), True),
            )
        ),
    ),
    "quantized tensor": (
        REFUSED,
        with_extra(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
    ),
    "tensor without storage": (REFUSED, with_extra(torch.empty(2, device="meta"))),
    "tensor of a type by call": (
        REFUSED,
        forged(
            Call(
                torch._tensor._rebuild_from_type_v2, torch.Tensor, torch.Tensor, (), {}
            )
        ),
    ),
    "parameter with a state": (
        REFUSED,
        forged(
            Call(
                UTILS._rebuild_parameter_with_state,
                *(tensor(), True, OrderedDict(), {"data": 1}),
            )
        ),
    ),
    "history of texts": (REFUSED, forged(history(log=["a"]))),
    "histories of unequal lengths": (REFUSED, forged(history(counts=np.zeros(2)))),
    # size
    "compressed entries": (
        REFUSED,
        lambda b, t: archive(
            {"state_dict": {"w": tensor(Stored(2**22), size=(2**22,))}},
            bytes(2**24),
            zipfile.ZIP_DEFLATED,
        ),
    ),
    "overlapping entries": (REFUSED, overlapping),
    "entries of one name": (REFUSED, twice_named),
    "encrypted entries": (REFUSED, encrypted),
    "tensor of stride zero": (
        REFUSED,
        forged(tensor(size=(2**40,), stride=(0,))),
    ),
    "shared lists": (REFUSED, with_extra(laughs())),
    "deep lists": (REFUSED, forged(Opcodes(nested()))),
    "list in itself": (REFUSED, forged(Opcodes(b"]q\x07h\x07a"))),
    "opcode LONG4": (REFUSED, forged(2 ** (8 * 100_000))),
    "keys of one hash": (REFUSED, with_extra(colliding())),
    "keys of other types": (REFUSED, with_extra({(1, 2): 3})),
    "cut off": (REFUSED, lambda b, t: saved(b)[:-2000]),
    "a flipped bit": (REFUSED, bit_flip),
    "noise": (REFUSED, lambda b, t: random.Random(0).randbytes(5000)),
    "nothing": (REFUSED, lambda b, t: b""),
    "a text": (REFUSED, lambda b, t: b"<html>404</html>\n"),
    # what takes far more memory than the file
    "bytes many times": (
        REFUSED,
        forged(repeated(codecs.encode, ("a" * 200_000, "latin1"), 20_000)),
    ),
    "sets many times": (REFUSED, forged(repeated(set, ([*range(10_000)],), 10_000))),
    "histories many times": (
        REFUSED,
        forged(
            repeated(
                HistoryBuffer,
                history(np.zeros(99_999), np.zeros(99_999), 10**6).state,
                *(5000, b"h\xc8)\x81h\xc9b"),
            )
        ),
    ),
    "empty tensors many times": (
        REFUSED,
        forged(
            repeated(
                UTILS._rebuild_tensor_v2,
                (Stored(), 0, (0,) * 16, (1,) * 16, False, OrderedDict()),
                800_000,
            )
        ),
    ),
    "storages many times": (REFUSED, many_storages),
    "a list a million times in itself": (
        REFUSED,
        forged(Opcodes(b"]q\xc8(" + b"h\xc8" * 900_000 + b"e")),
    ),
    "pairs out of a tensor": (
        REFUSED,
        forged(Call(OrderedDict, tensor(size=(5 * 10**6, 2), stride=(0, 0)))),
    ),
    "sizes out of a tensor": (
        REFUSED,
        forged(tensor(size=tensor(size=(10**7,), stride=(0,)))),
    ),
    "array of many sizes": (REFUSED, forged(array(shape=many_sizes()))),
    "number type of many fields": (REFUSED, forged(dtype(",".join(["f8"] * 10**6)))),
    "tensor of a type of long texts": (
        REFUSED,
        forged(
            Call(
                UTILS._rebuild_tensor_v3,
                *(Stored(8, kind=torch.UntypedStorage), 0, (2,), (1,), False),
                *(OrderedDict(), long_texts()),
            )
        ),
    ),
    "attribute of long texts": (
        REFUSED,
        forged(Call(getattr, HistoryBuffer, long_texts())),
    ),
    "storage of long texts": (REFUSED, forged(Stored(long_texts()))),
    "best_ckpt of long texts": (REFUSED, hub("best_ckpt", lambda t: long_texts())),
    # paths
    "best_ckpt elsewhere": (LOADS, hub("best_ckpt", lambda t: str(t.victim))),
    "best_ckpt by a detour": (
        LOADS,
        hub("best_ckpt", lambda t: f"{t.work_dir}/../{t.victim.name}/best_.pth"),
    ),
    "best_ckpt the run's folder": (LOADS, hub("best_ckpt", lambda t: str(t.work_dir))),
    "best_ckpt a link": (
        LOADS,
        hub("best_ckpt", lambda t: str(t.work_dir / "best_link.pth")),
    ),
    "best_ckpt a list": (LOADS, hub("best_ckpt", lambda t: [str(t.victim)])),
    "last_ckpt elsewhere": (LOADS, hub("last_ckpt", lambda t: str(t.victim))),
    "another path": (LOADS, hub("log_dir", lambda t: str(t.victim))),
    "keep_ckpt_ids with a path": (
        REFUSED,
        hub("keep_ckpt_ids", lambda t: [f"/../../{t.victim}", 1, 2]),
    ),
    # texts
    "config in the training's state": (LOADS, hub("cfg", lambda t: t.text)),
    "config in meta": (
        LOADS,
        lambda b, t: saved(changed(changed(b, "meta.cfg", t.text), "meta.config", "")),
    ),
    "config of older MMEngine": (
        LOADS,
        lambda b, t: saved(changed(b, "meta.config", t.text)),
    ),
    # odd contents
    "state_dict a text": (REFUSED, odd("state_dict", "weights")),
    "state_dict None": (REFUSED, odd("state_dict", None)),
    "state_dict of numbers": (REFUSED, odd("state_dict", {"a": 1.0})),
    "integer names of weights": (REFUSED, odd("state_dict", {1: torch.ones(1)})),
    "a name with escapes": (REFUSED, odd("state_dict", {"\x1b[2Jw": torch.ones(1)})),
    "a name of 5000 digits": (
        REFUSED,
        odd("state_dict", {f"features.{'1' * 5000}.conv.0.0.weight": torch.ones(1)}),
    ),
    "integer keys": (REFUSED, lambda b, t: saved({1: torch.ones(1)})),
    "a list": (REFUSED, lambda b, t: saved([b])),
    "meta a text": (REFUSED, odd("meta", "x")),
    "message_hub a list": (REFUSED, odd("message_hub", [1])),
    "log_scalars a text": (REFUSED, odd("message_hub.log_scalars", "x")),
    "log_scalars of texts": (LOADS, odd("message_hub.log_scalars", {"loss": "x"})),
    "best_score a text": (REFUSED, hub("best_score", "high")),
    "best_score of a name with escapes": (REFUSED, hub("best_score\x1b[2J\n", "high")),
    "classes of numbers": (REFUSED, odd("meta.dataset_meta", {"classes": [1]})),
    "dataset_meta a text": (REFUSED, odd("meta.dataset_meta", "x")),
    "optimizer a list": (REFUSED, odd("optimizer", [])),
    "optimizer empty": (LOADS, odd("optimizer", {})),
    "optimizer without groups": (LOADS, odd("optimizer", {"state": {}})),
    "learning rate a text": (
        LOADS,
        optimizer(lambda o: o["param_groups"][0].update(lr="fast")),
    ),
    "momentum of another shape": (
        LOADS,
        optimizer(lambda o: o["state"][0].update(momentum_buffer=torch.ones(3, 3))),
    ),
    "momentum a text": (
        LOADS,
        optimizer(lambda o: o["state"][0].update(momentum_buffer="x")),
    ),
    "scheduler's method a number": (LOADS, odd("param_schedulers", [{"step": 1}])),
    "schedulers a text": (LOADS, odd("param_schedulers", "x")),
    "epoch a text": (LOADS, odd("meta.epoch", "1")),
    "epoch negative": (LOADS, odd("meta.epoch", -3)),
    "seed a text": (LOADS, odd("meta.seed", "x")),
    "no meta": (LOADS, odd("meta", None)),
    "weights of another network": (LOADS, renamed),
    "weights of other shapes": (LOADS, reshaped),
    "no weights": (LOADS, odd("state_dict", {})),
}


# What takes more than gigabytes, or hours, if nothing counts them, and what is said
LARGER = "its objects are much larger than the file"
LARGE = {
    "bytes many times": LARGER,
    "sets many times": LARGER,
    "histories many times": LARGER,
    "empty tensors many times": LARGER,
    "storages many times": LARGER,
    "a list a million times in itself": "nested without end",
    "pairs out of a tensor": "no pairs",
    "sizes out of a tensor": "unknown layout",
    "array of many sizes": "unknown layout",
    "number type of many fields": "unknown type",
    "tensor of a type of long texts": LARGER,
    "attribute of long texts": LARGER,
    "storage of long texts": "no count",
    "best_ckpt of long texts": "texts are too long",
}
# One or more of each kind, for entry points that take seconds
CORE = (
    *("os.system", "attribute of a class", "a module", "pickle protocol 4"),
    *("older format", "opcode INST", "state of a function", "methods of a state dict"),
    *("object array of raw bytes", "uninitialised array", "structured type"),
    *("object type with a forged state", "array of too few bytes"),
    *("tensor beyond its storage", "tensor of an overflowing size"),
    *("storage larger than its entry", "uninitialised tensor", "huge storage"),
    *("sparse tensor of wrong indices", "histories of unequal lengths"),
    *("compressed entries", "overlapping entries", "tensor of stride zero"),
    *("shared lists", "deep lists", "keys of one hash", "cut off", "noise"),
    "bytes many times",
    *("best_ckpt elsewhere", "best_ckpt the run's folder"),
    *("keep_ckpt_ids with a path", "config in the training's state"),
    *("config of older MMEngine", "state_dict a text", "integer keys"),
    *("optimizer empty", "learning rate a text", "momentum of another shape"),
    *("scheduler's method a number", "epoch a text"),
    *("weights of another network", "weights of other shapes"),
)


def craft(name: str, base: dict, traps: Traps) -> Path:
    """Write a crafted checkpoint."""
    traps.lay()
    path = traps.folder / f"{'_'.join(name.split())}.pth".replace("/", "_")
    path.write_bytes(CASES[name][1](base, traps))
    return path
