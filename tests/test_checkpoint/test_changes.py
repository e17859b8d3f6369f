"""Which weights a training has changed: of a network with parts that do not learn."""

import json

import pytest
import torch
from tool_modules import load_tool
from torch import nn

from attnpool_mm.checkpoint.changes import compare_weights
from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.utils.errors import ConfigError

TOOL = "analysis_tools/unchanged_weights.py"


class Network(nn.Module):
    """`learns` learns, `frozen` is, and no gradient gets to `dead` and to the pool."""

    def __init__(self):
        super().__init__()
        self.frozen, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.frozen.requires_grad_(False)
        self.dead, self.learns = nn.Linear(4, 4), nn.Linear(4, 2)
        self.pool = nn.Module()
        self.pool.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x):
        x = self.norm(self.frozen(x)).mean((2, 3))
        x = x + 0 * self.dead(x)
        value = self.pool.attention.in_proj_weight[8:]  # queries and keys are left out
        return self.learns(x @ value.T)


def copy(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def trained():
    """The weights before and after 20 steps of SGD with weight decay."""
    torch.manual_seed(0)
    model = Network()
    before = copy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.rand(8, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    return before, copy(model)


def test_verdicts(trained):
    changes = compare_weights(*trained)
    assert {change.module: change.verdict for change in changes.modules} == {
        "frozen": "identical",
        "norm": "",
        "dead": "decayed",
        "learns": "",
        "pool.attention.query": "decayed",
        "pool.attention.key": "decayed",
        "pool.attention.value": "",
        "pool.attention.out_proj": "identical",  # which no gradient is computed for
    }
    pools = {change.module for change in changes.modules if change.in_pool}
    assert pools == {c.module for c in changes.modules if "attention" in c.module}
    assert not changes.only_before and not changes.only_after


def test_the_relative_change_is_the_formula(trained):
    before, after = trained
    (found,) = [c for c in compare_weights(*trained).modules if c.module == "learns"]
    old, new = (
        torch.cat([w["learns.weight"].flatten(), w["learns.bias"]]) for w in trained
    )
    assert found.relative == pytest.approx(((new - old).norm() / old.norm()).item())
    assert found.parameters == 4 * 2 + 2


def test_the_threshold():
    before, after = {"a.weight": torch.ones(4)}, {"a.weight": torch.ones(4)}
    after["a.weight"][0] += 0.01  # a change of 0.005
    for threshold, verdict in ((0.006, "nearly"), (0.004, "")):
        (change,) = compare_weights(before, after, threshold).modules
        assert change.relative == pytest.approx(0.005)
        assert change.verdict == verdict
    with pytest.raises(ConfigError, match="threshold=-1"):
        compare_weights(before, after, -1)


def test_what_no_gradient_moves_does_not_count():
    """Neither a schedule's temperature nor counts hide that nothing was learned."""
    convolution, norm = DynamicConv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False)
    network = nn.Sequential(convolution, norm)
    network.register_buffer("index", torch.arange(3))
    before = copy(network)
    convolution.temperature.fill_(1)
    norm(torch.rand(2, 4, 3, 3))
    changes = compare_weights(before, copy(network)).modules
    parameters = {change.module: change.parameters for change in changes}
    assert all(change.verdict == "identical" for change in changes)
    assert sum(parameters.values()) == sum(p.numel() for p in network.parameters())
    learned = (dict(temperature=torch.ones(2)), dict(temperature=torch.zeros(2)))
    (change,) = compare_weights(*learned).modules
    assert change.relative == 1


def test_odd_weights():
    def verdict(before, after):
        (change,) = compare_weights({"a.w": before}, {"a.w": after}).modules
        return change.relative, change.verdict

    zero, one = torch.zeros(2), torch.ones(2)
    assert verdict(zero, zero) == (0, "identical")
    assert verdict(zero, one) == (None, "")
    assert verdict(one, one / 0) == (None, "not finite")
    assert verdict(one, -one) == (2, "")  # no decay
    assert verdict(one.half(), one.half()) == (0, "identical")
    assert verdict(one.bfloat16(), one) == (0, "identical")
    assert verdict(one.to(torch.float8_e4m3fn), 2 * one) == (1, "")
    empty = torch.zeros(0)
    assert verdict(empty, empty) == (0, "identical")


def test_the_tool(trained, tmp_path, output_of, tools_undone):
    """Of wrapped and bare state dicts, with an entry on either side alone."""
    before, after = map(dict, trained)
    before["only.here"] = torch.ones(1)
    after["learns.extra"] = torch.ones(1)
    after["learns.bias"] = torch.ones(3)
    torch.save(before, tmp_path / "a.pth")
    wrapped = {f"module.{name}": value for name, value in after.items()}
    saved = dict(state_dict=wrapped, ema_state_dict=before, meta={})
    torch.save(saved, tmp_path / "b.pth")
    files = [tmp_path / "a.pth", tmp_path / "b.pth"]
    out = output_of(load_tool(TOOL), *files, "--json", tmp_path / "changes.json")
    lines = out.splitlines()
    (frozen,) = [line for line in lines if line.startswith("frozen")]
    assert frozen.split() == ["frozen", "16", "0", "identical"]
    assert "5 of 8 modules" in out
    named = "pool.attention.query, pool.attention.key, pool.attention.out_proj"
    assert f"3 of the 4 modules in pools: {named}" in lines
    result = json.loads((tmp_path / "changes.json").read_text())
    assert result["only_before"] == ["only.here"]
    assert result["only_after"] == ["learns.extra"]
    assert result["other_shape"] == ["learns.bias"]
    assert all(name in out for name in ("only.here", "learns.extra", "learns.bias"))
    assert [m["module"] for m in result["modules"]][0] == "frozen"
    out = output_of(load_tool(TOOL), *files, "--unchanged")
    assert "frozen" in out and "learns  " not in out


def test_errors_are_one_line(tmp_path, error_of, tools_undone):
    tool = load_tool(TOOL)
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    torch.save({"b": torch.ones(1)}, tmp_path / "b.pth")
    a, b = tmp_path / "a.pth", tmp_path / "b.pth"
    assert "no weights in common" in error_of(tool, a, b)
    assert "absent.pth" in error_of(tool, a, tmp_path / "absent.pth")
    assert "--json" in error_of(tool, a, a, "--json", a / "x.json")
    assert "--threshold -1.0" in error_of(tool, a, a, "--threshold", -1)
