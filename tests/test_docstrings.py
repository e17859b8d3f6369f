"""What docstrings say of arguments is what the signatures say."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "attnpool_mm"
FILES = sorted(PACKAGE.rglob("*.py"))
ENTRY = re.compile(r"(?P<name>\*{0,2}\w+)(?: \((?P<kind>.*?)\))?: (?P<text>.*)")
TREES = {path: ast.parse(path.read_text()) for path in FILES}
CLASSES = {
    node.name: node
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def documented(docstring: str) -> list[tuple[str, str, str]]:
    """Name, type and text of each entry of the section `Args`."""
    lines = docstring.split("\n")
    entries: list[str] = []
    inside = False
    for line in lines:
        if line == "Args:":
            inside = True
        elif inside and not line.strip():
            break
        elif inside and re.match(r"    \S", line):
            entries.append(line.strip())
        elif inside:
            entries[-1] += " " + line.strip()
    found = []
    for entry in entries:
        match = ENTRY.fullmatch(entry)
        assert match, f"no `name (type): text`: {entry}"
        found.append((match["name"], match["kind"] or "", match["text"]))
    return found


def parameters(node: ast.AST) -> dict[str, tuple[str, str | None]] | None:
    """Name → annotation and default; None where another package's class says them."""
    if isinstance(node, ast.FunctionDef):
        args = node.args
        positional = args.posonlyargs + args.args
        defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
        given = dict(
            [
                (arg.arg, (arg.annotation, default))
                for arg, default in zip(positional, defaults, strict=True)
            ]
            + [(f"*{arg.arg}", (arg.annotation, None)) for arg in [args.vararg] if arg]
            + [
                (arg.arg, (arg.annotation, default))
                for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
            ]
            + [(f"**{arg.arg}", (arg.annotation, None)) for arg in [args.kwarg] if arg]
        )
    else:
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return parameters(item)
        bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
        if bases and bases != ["NamedTuple"]:
            known = [CLASSES[base] for base in bases if base in CLASSES]
            return parameters(known[0]) if known else None
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        given = {item.target.id: (item.annotation, item.value) for item in fields}
    return {
        name: (
            ast.unparse(annotation) if annotation else "",
            ast.unparse(default) if default else None,
        )
        for name, (annotation, default) in given.items()
    }


@pytest.mark.parametrize(
    "path", FILES, ids=[path.relative_to(PACKAGE).as_posix() for path in FILES]
)
def test_arguments_have_the_types_and_defaults_of_the_signature(path):
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        entries = documented(ast.get_docstring(node) or "")
        known = parameters(node)
        order = list(known or {})
        names = [name for name, _, _ in entries]
        if known is not None:
            assert names == [name for name in order if name in names], node.name
        for name, kind, text in entries:
            where = f"{path.name}: {node.name}: {name}"
            assert kind, f"{where}: no type"
            if known is None:
                continue
            annotation, default = known[name]
            assert kind == annotation, where
            told = re.search(r"\b[Dd]efault\b", text)
            assert told or default is None, f"{where}: no default"
            simple = re.search(r"Default: (-?[\d.]+|True|False|'\w*')\.$", text)
            if simple and default != "None":
                assert simple[1] == default, where
