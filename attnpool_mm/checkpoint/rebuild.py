"""What the names in a checkpoint stand for: functions that check what they are given.

Tensors lie inside their storage, arrays hold numbers of their own, in as many bytes
as their shape says. What the functions make together is not larger than a bound: a
pickle can give one of them the same long argument again and again, in five bytes.
"""

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from .pickled import Name, RefusedError, Vocabulary, checked_keys

MARGIN = 64 * 2**20  # bytes that objects may have more than a file's size explains
SHARING = 8  # how many tensors over one storage are not out of the ordinary
OBJECT = 256  # bytes that a function's result, or a storage, takes beside its contents
ENTRY = 64  # bytes that an entry of a container takes
SIZED = (tuple, list, dict, OrderedDict, Counter, set, torch.Size)
MAX_DIMS = 64  # PyTorch's
MAX_CODE = 8  # letters of NumPy's name of a type of numbers, such as "f8"
STATISTICS = ("min", "max", "current", "mean")
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
HISTORY_BUFFER = "mmengine.logging.history_buffer.HistoryBuffer"
DTYPES = {str(v): v for v in vars(torch).values() if isinstance(v, torch.dtype)}
WITHOUT_STORAGE_TYPE = re.compile(r"torch\.(uint(16|32|64)|float8_\w+)")


@dataclass(frozen=True)
class Storage:
    """The bytes of a storage and the type of what they are; None: any."""

    data: Tensor
    dtype: torch.dtype | None


class _Method:
    """One of `HistoryBuffer`'s own statistics, which it has in any case."""


class _DType:
    """A NumPy type of numbers, with the byte order that its state will say."""

    def __init__(self, code: str) -> None:
        self.value = np.dtype(code)
        if self.value.kind not in "biufc":
            raise RefusedError(f"it has an array of the type {code!r}")

    def set_state(self, state: tuple) -> None:
        version, order, *rest = state
        if version != 3 or order not in ("<", ">", "|", "="):
            raise RefusedError("it has an array of an unknown type")
        if rest != [None, None, None, -1, -1, 0]:
            raise RefusedError("it has an array of a structured or changed type")
        self.value = self.value.newbyteorder(order)


class Rebuilder:
    """Makes the objects of one checkpoint.

    Args:
        size (int): Bytes of the file, which bound those of its objects.
    """

    def __init__(self, size: int) -> None:
        self.left = SHARING * size + MARGIN

    def charge(self, nbytes: int) -> None:
        """Count bytes that are about to be taken.

        Raises:
            RefusedError: Together they are more than the file's size explains.
        """
        self.left -= nbytes
        if self.left < 0:
            raise RefusedError("its objects are much larger than the file")

    def charged(self, function: Callable) -> Callable:
        """A function that is charged for its arguments before it runs.

        What it makes is no larger than they are, but for tensors.
        """

        def call(*arguments: Any) -> Any:
            self.charge(OBJECT + sum(map(_weight, arguments)))
            return function(*arguments)

        return call

    def _all_charged(self, table: Mapping[Hashable, Callable]) -> dict:
        return {key: self.charged(function) for key, function in table.items()}

    def vocabulary(self) -> Vocabulary:
        """Every name that a checkpoint may have."""
        storages = ("torch.storage.UntypedStorage", *(f"torch.{s}" for s in STORAGES))
        return Vocabulary(
            constants=DTYPES | {name: Name(name) for name in storages},
            functions=self._all_charged(
                {
                    "collections.OrderedDict": _ordered_dict,
                    "collections.Counter": _counter,
                    "builtins.set": _set,
                    "builtins.bytes": lambda: b"",
                    "builtins.complex": _complex,
                    "builtins.getattr": _statistic,
                    "_codecs.encode": _encode,
                    "numpy.dtype": _dtype,
                    "numpy.core.multiarray._reconstruct": _empty_array,
                    "numpy.core.multiarray.scalar": _scalar,
                    "torch.Size": _size,
                    "torch.device": _device,
                    "torch._utils._rebuild_tensor": self.tensor,
                    "torch._utils._rebuild_tensor_v2": self.tensor,
                    "torch._utils._rebuild_tensor_v3": self.tensor_of_type,
                    "torch._utils._rebuild_parameter": _parameter,
                }
            ),
            classes=self._all_charged(
                {
                    HISTORY_BUFFER: lambda: HistoryBuffer(),
                    # named by arrays, never called
                    "numpy.ndarray": _refuse,
                }
            ),
            states=self._all_charged(
                {
                    OrderedDict: _set_metadata,
                    HistoryBuffer: _set_history,
                    np.ndarray: _fill_array,
                    _DType: _DType.set_state,
                }
            ),
        )

    def tensor(
        self,
        storage: Storage,
        offset: int,
        size: tuple,
        stride: tuple,
        requires_grad: bool = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Tensor:
        """A tensor over a storage."""
        if storage.dtype is None:
            raise RefusedError("it has a tensor without a type")
        return self._tensor(
            storage, storage.dtype, offset, size, stride, requires_grad, hooks, metadata
        )

    def tensor_of_type(
        self,
        storage: Storage,
        offset: int,
        size: tuple,
        stride: tuple,
        requires_grad: bool,
        hooks: Any,
        dtype: torch.dtype,
        metadata: Any = None,
    ) -> Tensor:
        """A tensor of a type for which PyTorch has no storage type."""
        if type(dtype) is not torch.dtype:
            raise RefusedError("it has a tensor of an unknown type")
        if storage.dtype or not WITHOUT_STORAGE_TYPE.fullmatch(str(dtype)):
            raise RefusedError(f"it has a tensor of the type {dtype}")
        return self._tensor(
            storage, dtype, offset, size, stride, requires_grad, hooks, metadata
        )

    def _tensor(
        self,
        storage: Storage,
        dtype: torch.dtype,
        offset: int,
        size: tuple,
        stride: tuple,
        requires_grad: bool,
        hooks: Any,
        metadata: Any,
    ) -> Tensor:
        if type(storage) is not Storage or hooks or metadata:
            raise RefusedError("it has a tensor with hooks or other additions")
        counts = (*_counts((offset,)), *_counts(size), *_counts(stride))
        if len(size) != len(stride):
            raise RefusedError("it has a tensor of an unknown layout")
        numel = storage.data.numel() // dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if 0 in size:
            last = offset - 1
        if max(counts) >= 2**62 or last >= numel:
            raise RefusedError("it has a tensor that reaches beyond its storage")
        self.charge(math.prod(size) * dtype.itemsize)
        values = storage.data[: numel * dtype.itemsize].view(dtype)
        tensor = values.as_strided(size, stride, offset)
        if requires_grad is True and (dtype.is_floating_point or dtype.is_complex):
            tensor.requires_grad_()
        return tensor


def _weight(value: Any, depth: int = 1) -> int:
    """Bytes of an argument, and of what is in it, that a function may copy."""
    if type(value) in (str, bytes):
        return len(value)
    if type(value) is np.ndarray:
        return value.nbytes
    if type(value) not in SIZED:
        return 0
    own = ENTRY * len(value)
    if depth == 0:
        return own
    items = value.values() if isinstance(value, dict) else value
    return own + sum(_weight(item, depth - 1) for item in items)


def _refuse(*_: Any) -> None:
    raise RefusedError("it makes an array")


def _counts(numbers: Any) -> tuple[int, ...]:
    if type(numbers) not in (tuple, list, torch.Size) or len(numbers) > MAX_DIMS:
        raise RefusedError("it has a tensor or an array of an unknown layout")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise RefusedError("it has a size, stride or offset that is no count")
    return tuple(numbers)


def _parameter(data: Tensor, requires_grad: bool, hooks: Any) -> nn.Parameter:
    if type(data) is not Tensor or hooks:
        raise RefusedError("it has a parameter with hooks or other additions")
    if not (data.is_floating_point() or data.is_complex()):
        requires_grad = False
    return nn.Parameter(data.detach(), requires_grad is True)


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    # A tensor, too, can be taken apart into pairs, of tensors
    kinds = (list, tuple)
    if type(pairs) not in kinds or not all(type(pair) in kinds for pair in pairs):
        raise RefusedError("it makes an ordered dict of what are no pairs")
    pairs = [(key, value) for key, value in pairs]
    checked_keys(key for key, _ in pairs)
    return OrderedDict(pairs)


def _set_metadata(target: OrderedDict, state: Any) -> None:
    """Take the versions of modules, which a state dict has, and nothing else."""
    metadata = state.get("_metadata") if type(state) is dict else None
    if type(metadata) in (dict, OrderedDict) and all(
        type(versions) is dict for versions in metadata.values()
    ):
        target._metadata = metadata


def _counter(counts: dict) -> Counter:
    if type(counts) is not dict or not all(type(n) is int for n in counts.values()):
        raise RefusedError("it has a counter of what are no numbers")
    return Counter(counts)


def _set(items: list) -> set:
    if type(items) is not list:
        raise RefusedError("it makes a set of what is no list")
    checked_keys(items)
    return set(items)


def _complex(real: float, imaginary: float) -> complex:
    return complex(float(real), float(imaginary))


def _encode(text: str, encoding: str) -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise RefusedError("it encodes a text")
    return text.encode("latin1")


def _statistic(owner: Any, name: Any) -> _Method:
    if owner != Name(HISTORY_BUFFER) or name not in STATISTICS:
        of = owner.path if type(owner) is Name else type(owner).__name__
        what = f"{of}.{name if type(name) is str else type(name).__name__}"
        raise RefusedError("it takes attributes", ["builtins.getattr", what])
    return _Method()


def _set_history(history: HistoryBuffer, state: dict) -> None:
    log, counts = state["_log_history"], state["_count_history"]
    length = state["max_length"]
    for array in (log, counts):
        if type(array) is not np.ndarray or array.ndim != 1 or array.dtype.kind == "c":
            raise RefusedError("it has a history that is no row of numbers")
    if len(log) != len(counts) or type(length) is not int or length < 1:
        raise RefusedError("it has a history of unequal lengths")
    history.__init__(log, counts, length)


def _dtype(code: str, align: Any = False, copy: Any = True) -> _DType:
    if type(code) is not str or len(code) > MAX_CODE or align is not False:
        raise RefusedError("it has an array of an unknown type")
    return _DType(code)


def _empty_array(kind: Name, shape: Any, code: Any) -> np.ndarray:
    if kind != Name("numpy.ndarray") or shape != (0,):
        raise RefusedError("it has an array of another class")
    return np.empty(0)


def _fill_array(array: np.ndarray, state: tuple) -> None:
    version, shape, dtype, fortran, data = state
    if array.size or version != 1 or type(dtype) is not _DType:
        raise RefusedError("it has an array of an unknown type")
    shape = _counts(shape)
    # In this order: NumPy would take any buffer
    if type(data) is not bytes or len(data) != math.prod(shape) * dtype.value.itemsize:
        raise RefusedError("it has an array whose bytes are not those of its shape")
    _check_booleans(dtype, data)
    array.__setstate__((1, shape, dtype.value, fortran is True, data))


def _scalar(dtype: _DType, data: bytes) -> np.generic:
    if type(dtype) is not _DType or type(data) is not bytes:
        raise RefusedError("it has a number of an unknown type")
    if len(data) != dtype.value.itemsize:
        raise RefusedError("it has a number of another size than its type's")
    _check_booleans(dtype, data)
    return np.frombuffer(data, dtype.value)[0]


def _check_booleans(dtype: _DType, data: bytes) -> None:
    if dtype.value.kind == "b" and data.strip(b"\0\1"):
        raise RefusedError("it has a boolean that is neither true nor false")


def _size(numbers: tuple) -> torch.Size:
    return torch.Size(_counts(numbers))


def _device(kind: str, index: int | None = None) -> torch.device:
    if type(kind) is not str or (index is not None and type(index) is not int):
        raise RefusedError("it has an unknown device")
    return torch.device(kind) if index is None else torch.device(kind, index)
