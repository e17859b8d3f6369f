"""Another memory format, and the same training."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import nn
from trainings import train


class Convolution(BaseModel):
    """Learns from images that are a number everywhere, and keeps its maps' formats."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.formats = set()

    def forward(self, drawn, index, mode="loss"):
        x = drawn.float().reshape(-1, 1, 1, 1).expand(-1, 3, 6, 6)
        out = self.conv(x)
        self.formats.add(out.is_contiguous(memory_format=torch.channels_last))
        return {"loss": F.mse_loss(out.mean((1, 2, 3)), 1 - drawn.float())}


def test_the_maps_have_the_format_and_the_training_is_the_same(tmp_path):
    models = []
    for hook in (None, dict(type="attnpool_mm.ChannelsLastHook")):
        torch.manual_seed(0)
        hooks = {} if hook is None else dict(channels_last=hook)
        start = Convolution()
        before = start.conv.weight.detach().clone()
        models.append(train(tmp_path, start, default_hooks=hooks))
        assert not torch.equal(models[-1].conv.weight, before)
    plain, changed = models
    assert (plain.formats, changed.formats) == ({False}, {True})
    weight = changed.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weight, plain.conv.weight.contiguous())
