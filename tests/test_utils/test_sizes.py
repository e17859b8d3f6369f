import pytest

from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.sizes import parse_size


@pytest.mark.parametrize("text, size", [
    ("256kB", 256_000),
    ("256 KB", 256_000),
    ("64KiB", 65_536),
    ("1MB", 10**6),
    ("1.5MiB", 1_572_864),
    ("2gb", 2 * 10**9),
    ("0.25kB", 250),
    ("17B", 17),
    (" 1024 ", 1024),
    (1024, 1024),
])  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "kB", "256kBit", "1e6", "-1kB", "0", "0.1B", "1,5MB", "9" * 400, True]
)
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match=f"--limit='?{text}.*256kB"):
        parse_size(text, "--limit")
