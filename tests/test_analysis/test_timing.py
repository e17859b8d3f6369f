import torch

from attnpool_mm.analysis.timing import take_turns


def test_steps_take_turns():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = take_turns(steps, 3, torch.device("cpu"))
    assert calls == list("ab") * 4  # one round more than counts
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in times.values())
