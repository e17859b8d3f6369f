"""PyTorch's two file formats, read as data: the zip archive and the older stream."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .pickled import Name, RefusedError, read_pickle
from .rebuild import STORAGES, Rebuilder, Storage

ZIP_MAGIC = b"PK\x03\x04"
STREAM_MAGIC = 0x1950A86A20F9469CFC6C
STREAM_VERSION = 1001
ENCRYPTED = 0x1
MAX_KEY = 50  # letters of a storage's name in a message


class NotACheckpointError(ValueError):
    """A file is damaged, or in no format of PyTorch's."""


@dataclass(frozen=True)
class StorageId:
    """What a pickle says of a storage: its name in the file, its type, its place."""

    key: str
    dtype: torch.dtype | None
    location: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes of the storage."""
        return self.numel * (self.dtype.itemsize if self.dtype else 1)

    @property
    def short(self) -> str:
        """The name in the file, for messages."""
        return ascii(self.key[:MAX_KEY])[1:-1]

    @classmethod
    def of(cls, identity: Any) -> "StorageId":
        """Read a persistent id of PyTorch's.

        Raises:
            RefusedError: It is none of a storage.
        """
        if type(identity) is not tuple or len(identity) not in (5, 6):
            raise RefusedError("it refers to something other than a storage")
        what, kind, key, location, numel, *view = identity
        texts = all(type(text) is str for text in (key, location))
        if what != "storage" or type(kind) is not Name or not texts or view not in (
            [], [None]
        ):  # fmt: skip
            raise RefusedError("it refers to something other than a storage")
        dtype = STORAGES.get(kind.path.removeprefix("torch."))
        if dtype is None and kind.path != "torch.storage.UntypedStorage":
            raise RefusedError(f"it has a storage of the type {kind.path}")
        if type(numel) is not int or numel < 0:
            raise RefusedError("it has a storage whose size is no count")
        return cls(key, dtype, location, numel)


def read_checkpoint(file: BinaryIO, map_location: Any = None) -> Any:
    """Read what `torch.save` wrote.

    Args:
        file (BinaryIO): The file, open for reading, at its start.
        map_location (Any): As in `load_checkpoint_file`. Default: None.

    Raises:
        RefusedError: It is something other than data, or compressed.
        NotACheckpointError: It is damaged, or no such file.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        magic = file.read(len(ZIP_MAGIC))
        file.seek(0)
        read = _read_zip if magic == ZIP_MAGIC else _read_stream
        return read(file, size, map_location)
    except (RefusedError, torch.cuda.OutOfMemoryError):
        raise
    except zipfile.BadZipFile as error:
        raise NotACheckpointError(f"damaged ({error})") from error
    except Exception as error:  # a damaged file can fail with any type
        raise NotACheckpointError("not a PyTorch checkpoint, or damaged") from error


def _read_zip(file: BinaryIO, size: int, map_location: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = _checked_entries(archive, size)
        (pickled,) = (name for name in entries if name.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in entries and archive.read(order) != b"little":
            raise RefusedError("it is of a computer with the other byte order")
        storages: dict[str, Storage] = {}

        def load(identity: Any) -> Storage:
            name = StorageId.of(identity)
            if name.key not in storages:
                entry = entries.get(f"{root}data/{name.key}")
                if name.nbytes != (entry.file_size if entry else 0):
                    raise RefusedError(f"its storage {name.short} is of another size")
                data = torch.empty(name.nbytes, dtype=torch.uint8)
                if entry:
                    with archive.open(entry) as record:
                        _read_into(record, data)
                storages[name.key] = _placed(name, data, map_location)
            return _same_type(storages[name.key], name)

        stream, made = io.BytesIO(archive.read(pickled)), Rebuilder(size)
        return read_pickle(stream, made.vocabulary(), made.charged(load))


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name: as large in memory as in the file, and each a part of it."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        raise RefusedError("two of its entries have the same name")
    for entry in entries.values():
        plain = entry.compress_type == zipfile.ZIP_STORED
        if not plain or entry.file_size != entry.compress_size:
            raise RefusedError("it is compressed, which torch.save does not do")
        if entry.flag_bits & ENCRYPTED:
            raise RefusedError("it is encrypted")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise RefusedError("its entries overlap")
    return entries


def _read_stream(file: BinaryIO, size: int, map_location: Any) -> Any:
    """Read the format before PyTorch 1.6, in which OpenMMLab publishes its weights.

    The storages stand behind the pickle that names them, so it is read twice.
    """
    names: dict[str, StorageId] = {}
    named = 0  # bytes of them

    def note(identity: Any) -> Storage:
        nonlocal named
        name = StorageId.of(identity)
        if names.setdefault(name.key, name) is name:
            named += name.nbytes
        if named > size:
            raise RefusedError("its storages are larger than the file")
        data = torch.empty(name.nbytes, dtype=torch.uint8, device="meta")
        return Storage(data, name.dtype)

    def read(load: Callable[[Any], Any]) -> Any:
        made = Rebuilder(size)
        return read_pickle(file, made.vocabulary(), made.charged(load))

    if read(_refuse_storage) != STREAM_MAGIC:
        raise NotACheckpointError("not a PyTorch checkpoint")
    version, system = read(_refuse_storage), read(_refuse_storage)
    if version != STREAM_VERSION or system.get("little_endian") is not True:
        raise RefusedError("it is of another version, or has the other byte order")
    start = file.tell()
    read(note)
    storages = {}
    for key in read(_refuse_storage):
        (numel,) = struct.unpack("<q", file.read(8))
        if type(key) is not str or key not in names:
            raise RefusedError("it has a storage without a name")
        if numel != names[key].numel:
            raise RefusedError(f"its storage {names[key].short} is of another size")
        data = torch.empty(names[key].nbytes, dtype=torch.uint8)
        _read_into(file, data)
        storages[key] = _placed(names[key], data, map_location)
    file.seek(start)

    def load(identity: Any) -> Storage:
        name = StorageId.of(identity)
        return _same_type(storages[name.key], name)

    return read(load)


def _refuse_storage(identity: Any) -> None:
    raise RefusedError("it refers to a storage where there is none")


def _read_into(source: BinaryIO, data: Tensor) -> None:
    if data.numel() and source.readinto(memoryview(data.numpy())) != data.numel():
        raise NotACheckpointError("it ends too early")


def _same_type(storage: Storage, name: StorageId) -> Storage:
    if storage.dtype != name.dtype:
        raise RefusedError(f"its storage {name.short} has two types")
    return storage


def _placed(name: StorageId, data: Tensor, map_location: Any) -> Storage:
    """Put a storage where `map_location` says."""
    if name.dtype == torch.bool:  # whose only bytes are 0 and 1
        data = (data != 0).view(torch.uint8)
    if callable(map_location):
        moved = map_location(data.untyped_storage(), name.location)
        if moved is not None:
            data = torch.empty(0, dtype=torch.uint8, device=moved.device).set_(moved)
    elif isinstance(map_location, dict):
        data = data.to(map_location.get(name.location, "cpu"))
    elif map_location is not None:
        data = data.to(map_location)
    return Storage(data, name.dtype)
