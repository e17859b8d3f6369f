"""Reading a pickle as data: its opcodes build containers, and call nothing.

`pickle`, and PyTorch's own restricted unpickler too, call what the file names, with
arguments that the file chooses. Here a name is a `Name`, which cannot be called, and
the few names that checkpoints need stand for functions of ours (`rebuild.py`), which
check their arguments.
"""

import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

# A checkpoint of ten thousand tensors and their optimizer has a fifth of it. One that
# calls no function takes 150 bytes at most, beside what it has of the file.
MAX_OPERATIONS = 5_000_000
KEY_RANGE = 2**60  # integers below have different hashes
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINSTRING", "BINSTRING"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MODULES = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}


class RefusedError(pickle.UnpicklingError):
    """A pickle holds something other than data.

    Attributes:
        names: The names in it that stand for no data, `module.name`.
    """

    def __init__(self, reason: str, names: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.names = sorted(names)


@dataclass(frozen=True)
class Name:
    """What a pickle names, by its name alone."""

    path: str


@dataclass(frozen=True)
class Vocabulary:
    """What the names in a pickle stand for.

    Attributes:
        constants: Names of values.
        functions: Names that are called, and what is called in their place.
        classes: Names of which an object is made, and what makes it.
        states: Type of an object and what gives it its state.
    """

    constants: Mapping[str, Any]
    functions: Mapping[str, Callable]
    classes: Mapping[str, Callable]
    states: Mapping[type, Callable]

    def value(self, path: str) -> Any:
        """What the name is on the stack; None if it is unknown."""
        if path in self.constants:
            return self.constants[path]
        return Name(path) if path in self.functions or path in self.classes else None


def read_pickle(
    stream: BinaryIO, vocabulary: Vocabulary, load_storage: Callable[[Any], Any]
) -> Any:
    """Read one pickle, as `torch.save` writes it, from a stream.

    Args:
        stream (BinaryIO): The stream; afterwards it stands behind the pickle.
        vocabulary (Vocabulary): The names that may be in it.
        load_storage (Callable[[Any], Any]): What is called with a persistent id,
            PyTorch's for a storage.

    Raises:
        RefusedError: It names something else, has opcodes that `torch.save` does not
            write, or gives a function arguments that it does not take.
        Exception: Of any kind, if it is damaged.
    """
    stack: list[Any] = []
    marked: list[list] = []
    memo: dict[int, Any] = {}
    operations = pickletools.genops(stream)
    for count, (opcode, argument, _) in enumerate(operations):
        if count > MAX_OPERATIONS:
            raise RefusedError(f"it has more than {MAX_OPERATIONS} pickle operations")
        name = opcode.name
        if name in VALUES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in TUPLES:
            size = TUPLES[name]
            stack[-size:] = [tuple(_last(stack, size))]
        elif name == "MARK":
            marked.append(stack)
            stack = []
        elif name == "TUPLE":
            items, stack = stack, marked.pop()
            stack.append(tuple(items))
        elif name == "APPENDS":
            items, stack = stack, marked.pop()
            _extend(stack[-1], items)
        elif name == "APPEND":
            item = stack.pop()
            _extend(stack[-1], [item])
        elif name == "SETITEMS":
            items, stack = stack, marked.pop()
            _set_items(stack[-1], items)
        elif name == "SETITEM":
            items = _last(stack, 2)
            del stack[-2:]
            _set_items(stack[-1], items)
        elif name == "GLOBAL":
            path = _path(argument)
            value = vocabulary.value(path)
            if value is None:
                others = islice(operations, MAX_OPERATIONS - count)
                rest = {_path(a) for o, a, _ in others if o.name == name}
                names = {path} | {p for p in rest if vocabulary.value(p) is None}
                raise RefusedError("it names other types", names)
            stack.append(value)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            reduce = name == "REDUCE"
            table = vocabulary.functions if reduce else vocabulary.classes
            stack[-1] = _call(table, stack[-1], arguments)
        elif name == "BUILD":
            state = stack.pop()
            fill = vocabulary.states.get(type(stack[-1]))
            if fill is None:
                raise RefusedError(f"it gives a {type(stack[-1]).__name__} a state")
            fill(stack[-1], state)
        elif name == "BINPERSID":
            stack.append(load_storage(stack.pop()))
        elif name == "STOP":
            (value,) = stack
            return value
        elif name != "PROTO":
            raise RefusedError(
                f"it has the opcode {name}, unlike what torch.save writes"
            )
    raise EOFError("the pickle has no end")


def checked_keys(keys: Iterable[Any]) -> None:
    """Check what a dict or a set is made of.

    Raises:
        RefusedError: A key is neither a string nor an integer of 60 bits at most.
    """
    for key in keys:
        if type(key) is not str and not (type(key) is int and abs(key) < KEY_RANGE):
            raise RefusedError(
                f"it has a key of the type {type(key).__name__}, or a large one"
            )


def _path(argument: str) -> str:
    module, _, name = argument.partition(" ")
    return f"{MODULES.get(module, module)}.{name}"


def _last(stack: list, size: int) -> list:
    if len(stack) < size:
        raise IndexError("the pickle's stack is empty")
    return stack[-size:]


def _extend(target: Any, items: list) -> None:
    if type(target) is not list:
        raise RefusedError(f"it appends to a {type(target).__name__}")
    target.extend(items)


def _set_items(target: Any, items: list) -> None:
    if type(target) not in (dict, OrderedDict, Counter) or len(items) % 2:
        raise RefusedError(f"it sets items of a {type(target).__name__}")
    checked_keys(items[::2])
    target.update(zip(items[::2], items[1::2], strict=True))


def _call(table: Mapping[str, Callable], name: Any, arguments: Any) -> Any:
    function = table.get(name.path) if type(name) is Name else None
    if function is None or type(arguments) is not tuple:
        called = name.path if type(name) is Name else type(name).__name__
        raise RefusedError(f"it calls {called}", [called])
    try:
        return function(*arguments)
    except RefusedError:
        raise
    except Exception as error:  # a wrong number of arguments, or of another kind
        raise RefusedError(f"it calls {name.path} with wrong arguments") from error
