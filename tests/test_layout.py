"""The packages import one another in one direction."""

import ast
from pathlib import Path

import attnpool_mm

ROOT = Path(attnpool_mm.__file__).parent
# Each may import those after it, and none before it.
ORDER = (
    "apis",
    "engine",
    "deploy",
    "analysis",
    "checkpoint",
    "models",
    "datasets",
    "pooling",
    "layers",
    "registry",
    "utils",
    "version",
)


def imported(path):
    """The parts of the package that a file imports, functions' imports included."""
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split("."))
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            module, names = node.names[0].name.split("."), []
        else:
            continue
        module = [part for part in module if part]
        if module[:1] == [ROOT.name]:
            yield from module[1:2] or [name for name in names if name in ORDER]


def test_imports_go_one_way():
    wrong, seen = [], set()
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] in ("__init__", ".mim"):
            continue
        seen.add(parts[0])
        for part in imported(path):
            if ORDER.index(part) < ORDER.index(parts[0]):
                wrong.append(f"{path.relative_to(ROOT)} imports {part}")
    assert wrong == []
    assert seen == set(ORDER)
