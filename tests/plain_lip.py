"""LIP's networks as functions of a state dict that has the names of its authors.

In evaluation, from the paper's equations, with PyTorch's functions alone.
"""

import torch
import torch.nn.functional as F

BLOCKS = {"lip_resnet50": (3, 4, 6, 3), "lip_resnet101": (3, 4, 23, 3)}
DENSE_BLOCKS = (6, 12, 24, 16)


class State(dict):
    """Random float64 tensors, made when they are first asked for."""

    def get(self, name, *shape):
        if name not in self:
            fan_in = max(1, torch.Size(shape[1:]).numel())
            self[name] = torch.randn(shape).double() * (2 / fan_in) ** 0.5
        assert self[name].shape == shape, name
        return self[name]

    def conv(self, x, name, out, kernel=1, stride=1):
        weight = self.get(f"{name}.weight", out, x.shape[1], kernel, kernel)
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2)

    def batch_norm(self, x, name):
        channels = x.shape[1]
        if f"{name}.weight" not in self:
            self[f"{name}.weight"] = torch.rand(channels).double() * 0.3 + 0.7
            self[f"{name}.bias"] = torch.randn(channels).double() * 0.1
            # so that values stay of usual size
            self[f"{name}.running_mean"] = x.mean((0, 2, 3))
            self[f"{name}.running_var"] = x.var((0, 2, 3)) + 0.1
            self[f"{name}.num_batches_tracked"] = torch.tensor(7)
        scale, shift, mean, var = (
            self[f"{name}.{leaf}"]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, var, scale, shift)

    def instance_norm(self, x, name):
        scale, shift = (
            self.get(f"{name}.{leaf}", x.shape[1]) for leaf in ("weight", "bias")
        )
        return F.instance_norm(x, weight=scale, bias=shift)

    def logit(self, x, conv, norm, out, kernel=1):
        return 12 * self.instance_norm(self.conv(x, conv, out, kernel), norm).sigmoid()

    def hidden(self, x, name):
        for i, kernel in ((1, 1), (2, 3)):
            x = self.conv(x, f"{name}.conv{i}", 128, kernel)
            x = self.instance_norm(x, f"{name}.bn{i}").relu()
        return x

    def linear(self, x, name, classes):
        weight = self.get(f"{name}.weight", classes, x.shape[1])
        return F.linear(x, weight, self.get(f"{name}.bias", classes))


def importance_pool(x, logit, window):
    """Sums of weighted pixels over sums of weights; padded pixels have weight zero."""
    sums = [
        F.conv2d(
            t, torch.ones(t.shape[1], 1, window, window, dtype=t.dtype), stride=2,
            padding=window // 2 if window % 2 else 0, groups=t.shape[1],
        )
        for t in (x * logit.exp(), logit.exp())
    ]  # fmt: skip
    return sums[0] / sums[1]


def lip_resnet(state, x, arch, classes=10):
    """The last map and the scores; `state` is filled where it is empty."""
    x = state.batch_norm(state.conv(x, "conv1", 64, 7, 2), "bn1").relu()
    logit = state.logit(x, "maxpool.logit.conv", "maxpool.logit.bn", 64, 3)
    x = importance_pool(x, logit, 3)
    for stage, blocks in enumerate(BLOCKS[arch], 1):
        for block in range(blocks):
            shrinks = stage > 1 and block == 0
            x = _bottleneck(
                state, x, f"layer{stage}.{block}", 32 * 2**stage, block == 0, shrinks
            )
    return x, state.linear(x.mean((2, 3)), "fc", classes)


def _bottleneck(state, x, name, width, projects, shrinks):
    shortcut = x
    out = state.batch_norm(state.conv(x, f"{name}.conv1", width), f"{name}.bn1").relu()
    if shrinks:
        hidden = state.hidden(x, f"{name}.bottleneck_shared.logit")

        def pool(x, part):
            part = f"{name}.{part}.postprocessing"
            logit = state.logit(hidden, f"{part}.conv", f"{part}.bn", x.shape[1])
            return importance_pool(x, logit, 3)

        out = state.conv(pool(out, "conv2.0"), f"{name}.conv2.1", width)
        shortcut = pool(x, "downsample.lip")
    else:
        out = state.conv(out, f"{name}.conv2", width, 3)
    out = state.batch_norm(out, f"{name}.bn2").relu()
    out = state.batch_norm(state.conv(out, f"{name}.conv3", 4 * width), f"{name}.bn3")
    if projects:
        shortcut = state.conv(shortcut, f"{name}.downsample.conv", 4 * width)
        shortcut = state.batch_norm(shortcut, f"{name}.downsample.bn")
    return (out + shortcut).relu()


def lip_densenet(state, x, arch, classes=10):
    """The last map and the scores of LIP-DenseNet-121."""
    x = state.conv(x, "features.conv0", 64, 7, 2)
    x = state.batch_norm(x, "features.norm0").relu()
    name = "features.pool0.logit"
    x = importance_pool(x, state.logit(x, f"{name}.conv1", f"{name}.bn1", 64, 3), 3)
    for i, layers in enumerate(DENSE_BLOCKS, 1):
        for j in range(1, layers + 1):
            name = f"features.denseblock{i}.denselayer{j}"
            new = state.batch_norm(x, f"{name}.norm1").relu()
            new = state.conv(new, f"{name}.conv1", 128)
            new = state.batch_norm(new, f"{name}.norm2").relu()
            x = torch.cat([x, state.conv(new, f"{name}.conv2", 32, 3)], 1)
        if i == len(DENSE_BLOCKS):
            break
        name = f"features.transition{i}"
        x = state.batch_norm(x, f"{name}.norm").relu()
        x = state.conv(x, f"{name}.conv", x.shape[1] // 2)
        name = f"{name}.pool.logit"
        hidden = state.hidden(x, name)
        logit = state.logit(hidden, f"{name}.conv3", f"{name}.bn3", x.shape[1])
        x = importance_pool(x, logit, 2)
    x = state.batch_norm(x, "features.norm5").relu()
    return x, state.linear(x.mean((2, 3)), "classifier", classes)
