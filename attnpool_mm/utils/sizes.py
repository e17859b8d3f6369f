"""Sizes of memory as a user writes them."""

import re

from .errors import ConfigError

UNITS = {
    **{"": 1, "b": 1},
    **{"kb": 10**3, "mb": 10**6, "gb": 10**9},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
}
SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*([a-z]*)", re.IGNORECASE)


def parse_size(text: str | int, name: str = "size") -> int:
    """Bytes of a size such as '256kB', '1.5 MB' or '64KiB'.

    1 kB is 1000 bytes, as wherever this package prints sizes, and 1 KiB is 1024. The
    letters may be small or capital.

    Args:
        text (str | int): A number with a unit (B, kB, MB, GB, KiB, MiB, GiB), or bytes
            without one.
        name (str): What an error calls it. Default: 'size'.

    Raises:
        ConfigError: It is no such size, or less than a byte.

    Example:
        >>> parse_size('256kB'), parse_size('1.5MiB'), parse_size(1000)
        (256000, 1572864, 1000)
    """
    found = SIZE.fullmatch(str(text).strip())
    unit = UNITS.get(found[2].lower()) if found else None
    size = int(float(found[1]) * unit) if unit else 0
    if size < 1:
        raise ConfigError(
            f"{name}={text!r}: a size of at least one byte is accepted, such as 256kB, "
            "1.5MB, 64KiB or 262144"
        )
    return size
