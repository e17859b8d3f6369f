"""What arguments a class or function takes, where `**kwargs` are handed on too."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable
from functools import cache

# Their classes take what their signatures say; others may do as they like
FRAMEWORKS = {"attnpool_mm", "mmcv", "mmdet", "mmengine", "mmpretrain", "torch"}


@cache
def arguments(kind: Callable) -> dict[str, inspect.Parameter]:
    """The arguments that `kind` takes, by name.

    Where a class hands `**kwargs` on, those of its parents too.

    Example:
        >>> class Parent:
        ...     def __init__(self, depth): pass
        >>> class Child(Parent):
        ...     def __init__(self, stride=2, **kwargs): super().__init__(**kwargs)
        >>> list(arguments(Child))
        ['stride', 'depth']
    """
    taken: dict[str, inspect.Parameter] = {}
    for maker in _makers(kind):
        for name, parameter in _named(maker).items():
            taken.setdefault(name, parameter)
        if _rest(maker) is None:
            break
    return taken


def unknown_arguments(kind: Callable, given: Iterable[str]) -> list[str]:
    """Those of the names `given` that `kind` surely does not take.

    A class that takes `**kwargs` may also take what it mentions in a string, as
    `kwargs.pop('name')` does, and anything, unless it hands them on to its parent.

    Args:
        kind (Callable): The class or function.
        given (Iterable[str]): The names.

    Example:
        >>> unknown_arguments(int.to_bytes, ['length', 'byte_order'])
        ['byte_order']
    """
    taken = arguments(kind)
    unknown = [name for name in given if name not in taken]
    if not unknown:
        return []
    accepted: set[str] = set()
    makers = _makers(kind)
    while makers:
        maker = makers.pop(0)
        rest = _rest(maker)
        if hasattr(maker, "__wrapped__"):  # by a decorator that renames arguments
            accepted |= _strings(maker)
        if rest is None:
            break
        accepted |= _strings(maker)
        targets = _handed_to(maker, rest)
        if not targets or not makers:
            return []
        if targets != {"super()"}:  # a certain class among the parents
            for parent in makers:
                accepted |= _named(parent).keys()
                rest = parent is not object.__init__ and _rest(parent)
                if rest and not _handed_to(parent, rest):
                    return []
    return [name for name in unknown if name not in accepted]


def mentions(kind: Callable) -> set[str]:
    """The strings in the modules that define `kind` and its parents."""
    classes = kind.__mro__ if inspect.isclass(kind) else [kind]
    return set().union(*(_module_strings(c.__module__) for c in classes))


def package_of(kind: Callable) -> str:
    """The name of the package that defines `kind`."""
    return (getattr(kind, "__module__", None) or "").partition(".")[0]


def _makers(kind: Callable) -> list[Callable]:
    """What is called to make a `kind`, and then what hands its arguments on to."""
    if not inspect.isclass(kind):
        return [kind]
    return [vars(c)["__init__"] for c in kind.__mro__ if "__init__" in vars(c)]


def _parameters(maker: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(maker).parameters.values())


def _named(maker: Callable) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        p.name: p for p in _parameters(maker) if p.kind in named and p.name != "self"
    }


def _rest(maker: Callable) -> str | None:
    """The name of its `**kwargs`."""
    names = [p.name for p in _parameters(maker) if p.kind is p.VAR_KEYWORD]
    return names[0] if names else None


@cache
def _tree(maker: Callable) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(maker)))
    except (OSError, TypeError, SyntaxError):  # written in C, or in a shell
        return None


@cache
def _module_strings(module: str) -> frozenset[str]:
    if module == "builtins" or module not in sys.modules:
        return frozenset()
    return frozenset(_strings(sys.modules[module]))


def _strings(source: Callable) -> set[str]:
    constants = (n for n in ast.walk(_tree(source) or ast.Module([], []))
                 if isinstance(n, ast.Constant))  # fmt: skip
    return {node.value for node in constants if isinstance(node.value, str)}


def _handed_to(maker: Callable, rest: str) -> set[str]:
    """Whose `__init__` gets the `**rest` of `maker`, as the source has it."""
    return {
        ast.unparse(node.func.value)
        for node in ast.walk(_tree(maker) or ast.Module([], []))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "__init__"
        and any(
            k.arg is None and getattr(k.value, "id", None) == rest
            for k in node.keywords
        )
    }
