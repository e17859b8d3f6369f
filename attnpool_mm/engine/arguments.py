"""A config's keys, each held against what takes it, before anything is built."""

import re
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from inspect import Parameter
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry
from mmengine.runner import Runner

from ..registry import MODELS as OURS
from ..registry import SCOPE
from ..utils.checks import nearest
from ..utils.config import registered, registered_names, type_name
from ..utils.errors import ConfigError
from ..utils.signatures import (
    FRAMEWORKS,
    arguments,
    mentions,
    package_of,
    unknown_arguments,
)
from .places import (
    ANY,
    HOOK_NAMES,
    PARTS,
    PARTS_OF_LOADERS,
    TAKEN,
    Registries,
    plain_dicts,
    runner_keys,
    sections,
)

RESERVED = {"type", "_scope_", "_delete_"}
BOOLEANS = ("true", "false", "yes", "no", "none", "on", "off")


def check_arguments(
    cfg: Config, which: Sequence[str] = ("train", "val", "test")
) -> None:
    """Check that each key of a config is one that something takes.

    A dict with a type is held against the signature of the class, or function; the
    others, a data loader's for example, against what MMEngine does with them. A
    variable of a config file passes, unless it is nearly a section's name and read
    nowhere.

    Args:
        cfg (Config): A whole config.
        which (Sequence[str]): The parts that are used, of `train`, `val` and `test`;
            without any, it is the model alone. Default: ('train', 'val', 'test').

    Raises:
        ConfigError: A key is not taken, a type is not registered, or a flag is a
            word. The message has the key, and the nearest that is known.
    """
    _check_variables(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        for key, value, names in plain_dicts(cfg, which):
            for name in sorted(value.keys() - RESERVED - set(names)):
                raise ConfigError(
                    f"{key}.{name}: there is no such option; {nearest(name, names)}"
                )
        if which:
            _check_hooks(cfg.get("default_hooks") or {})
        check = _TypedDicts()
        for section, registries in sections(which).items():
            parts = PARTS_OF_LOADERS if section.endswith("loader") else PARTS
            check(section, cfg.get(section), registries, parts)


def _check_hooks(hooks: dict) -> None:
    for name, hook in hooks.items():
        if isinstance(hook, dict) and "type" not in hook:
            known = {*HOOK_NAMES, *hooks} - {name}
            raise ConfigError(
                f"default_hooks.{name} has no type; {nearest(name, known)}"
            )


def check_option(cfg: Config, option: str) -> None:
    """Check the key of an option of the command line, before it is merged.

    Where a dict has no type, only those who read it know what may be in it: there a
    new key that is nearly one of the old ones is warned of.

    Args:
        cfg (Config): The config, without the option.
        option (str): The key, such as `model.backbone.depth`.

    Raises:
        ConfigError: Neither the config nor a runner has such a section.
    """
    section, *keys = option.split(".")
    known = runner_keys(cfg) | cfg.keys()
    if section not in known:
        raise ConfigError(
            f"--cfg-options {option}: nothing reads {section!r}; "
            f"{nearest(section, known)}"
        )
    value = cfg.get(section)
    for key in keys:
        if not isinstance(value, dict):
            return
        if key not in value:
            others = () if "type" in value else value
            close = get_close_matches(key, others, n=1, cutoff=0.7)
            if close:
                warnings.warn(
                    f"--cfg-options {option}: {key} is new there; did you mean "
                    f"{close[0]!r}?",
                    stacklevel=2,
                )
            return
        value = value[key]


def _check_variables(cfg: Config) -> None:
    text = cfg.text or ""
    for name in cfg.keys() - runner_keys(cfg):
        close = get_close_matches(name, arguments(Runner), n=1, cutoff=0.85)
        assigned = re.search(rf"^{name}\b", text, re.MULTILINE)
        if close and assigned and not re.search(rf"[^\n]\b{name}\b", text):
            raise ConfigError(
                f"{name} is read nowhere; did you mean {close[0]!r}? (a variable of "
                "the config's own needs another name)"
            )
    for name, parameter in arguments(Runner).items():
        _check_flag(name, parameter, cfg.get(name))


def _check_flag(key: str, parameter: Parameter, value: Any) -> None:
    """A word is true, whatever it says; some flags take others than these."""
    is_flag = parameter.annotation is bool or isinstance(parameter.default, bool)
    if (
        is_flag
        and isinstance(value, str)
        and get_close_matches(value.lower(), BOOLEANS, n=1)
    ):
        raise ConfigError(f"{key}={value!r}: True or False is accepted")


class _TypedDicts:
    """Checks the dicts with a type in a config's value."""

    def __init__(self) -> None:
        self.found: dict[tuple, list[tuple[Callable, Collection[str]]]] = {}

    def __call__(
        self,
        key: str,
        value: Any,
        registries: Registries = ANY,
        parts: dict[str, Registries] = PARTS,
        owner: Callable | None = None,
    ) -> None:
        """Check one value.

        Args:
            key (str): Where it is in the config.
            value (Any): A dict, or a list of them; anything else passes.
            registries (Registries): Those that the type is of. Default: `ANY`.
            parts (dict[str, Registries]): The registries of the types in it, by their
                keys. Default: `PARTS`.
            owner (Callable | None): The class that the value is an argument of.
                Default: None.

        Raises:
            ConfigError: As in `check_arguments`.
        """
        if isinstance(value, list | tuple):
            for i, inner in enumerate(value):
                self(f"{key}.{i}", inner, registries, parts, owner)
        if not isinstance(value, dict):
            return
        with _scope(value.get("_scope_")):
            if "type" in value:
                owner = self._check_dict(key, value, registries, owner)
                if owner is None:
                    return
            for name, inner in value.items():
                registries = parts.get(name, ANY)
                if owner and package_of(owner) not in FRAMEWORKS:
                    if name not in parts:
                        continue
                    registries = ANY
                self(f"{key}.{name}", inner, registries, PARTS, owner)

    def _check_dict(
        self, key: str, value: dict, registries: Registries, owner: Callable | None
    ) -> Callable | None:
        """Check one dict; return what its type names, None for none that is known."""
        given = [str(name) for name in value if name not in RESERVED]
        best: tuple[list[str], Callable] | None = None
        found = self._look_up(value["type"], registries)
        if not found and owner and package_of(owner) == SCOPE:
            ours = OURS.module_dict.get(value["type"])  # it looks there first
            found = [(ours, ())] if ours else []
        for kind, taken in found:
            unknown = _unknown(kind, [n for n in given if n not in taken])
            if best is None or len(unknown) < len(best[0]):
                best = unknown, kind
        if best is None:
            if registries is ANY or not isinstance(value["type"], str):
                return None
            names = registered_names(value["type"], registries)
            raise ConfigError(
                f"{key}.type={value['type']!r} is not registered; "
                f"{nearest(value['type'], names)}"
            )
        unknown, kind = best
        if unknown and owner:  # which may take some for itself
            unknown = [name for name in unknown if name not in mentions(owner)]
        taken = arguments(kind)
        if unknown:
            raise ConfigError(
                f"{key}.{unknown[0]}: {type_name(value)} has no such argument; "
                f"{nearest(unknown[0], taken)} ({key}._delete_=True drops what a base "
                "config gives)"
            )
        for name in taken.keys() & value.keys():
            _check_flag(f"{key}.{name}", taken[name], value[name])
        return kind

    def _look_up(
        self, kind: Any, registries: Registries
    ) -> list[tuple[Callable, Collection[str]]]:
        """What a type names in each registry, and what is taken before it."""
        if not isinstance(kind, str):
            taken = set().union(*(TAKEN.get(r, ()) for r in registries))
            return [(kind, taken)] if callable(kind) else []
        scope = DefaultScope.get_current_instance()
        key = (kind, registries, scope and scope.scope_name)
        if key not in self.found:
            if registries is ANY:
                registries = tuple(r for r in ANY if _may_have(r, kind))
            self.found[key] = [
                (found, TAKEN.get(registry, ()))
                for registry in registries
                if (found := registered(kind, registry)) is not None
            ]
        return self.found[key]


def _unknown(kind: Callable, given: Sequence[str]) -> list[str]:
    """The arguments that a type does not take, or surely does not by this name."""
    taken = arguments(kind)
    return unknown_arguments(kind, given) or [
        name
        for name in given
        if name not in taken
        and get_close_matches(name, taken, n=1, cutoff=0.9)
        and name not in mentions(kind)
    ]


def _scope(name: str | None) -> AbstractContextManager:
    current = DefaultScope.get_current_instance()
    if name is None or (current and current.scope_name == name):
        return nullcontext()
    return MODELS.switch_scope_and_registry(name)


def _may_have(registry: Registry, kind: str) -> bool:
    """Whether a registry has a type, as far as the frameworks are imported.

    To ask MMEngine takes long if it has not, and imports all that may have it.
    """
    known = (registry, *registry.children.values())
    return "." in kind or any(kind in r.module_dict for r in known)
