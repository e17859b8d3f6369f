import pytest

from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.extras import require


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ConfigError, match=r"no_such_package.*attnpool_mm\[onnx\]"):
        require("no_such_package", "onnx")
