"""The backbones compute what the authors' networks compute, keywords and all."""

import pytest
import torch.nn.functional as F
from reference import VECTORS, Case

from attnpool_mm.checkpoint import convert_authors_state_dict
from attnpool_mm.models import attn_pool_backbone

NETWORKS = sorted(path.stem for path in VECTORS.glob("*-*.json"))


def load(arch, state, **kwargs):
    """The backbone with the authors' weights; what is left is the classifier's."""
    converted = convert_authors_state_dict(state, arch)
    backbone = attn_pool_backbone(arch, **kwargs)
    prefix = "backbone."
    own = {k.removeprefix(prefix): v for k, v in converted.items() if prefix in k}
    backbone.load_state_dict(own)
    return backbone, {k: v for k, v in converted.items() if prefix not in k}


def assert_near(outs, case, mode):
    tolerance = {"eval": 1e-4, "train": 1e-2}[mode]
    for i, out in enumerate(outs):
        expected = case[f"{mode}{i}"]
        assert out.shape == expected.shape
        error = (out - expected).abs().max() / expected.abs().max()
        assert error < tolerance, f"{mode} output {i}"
    assert len(outs) == sum(key.startswith(mode) for key in case.arrays)


def test_every_network_is_here():
    assert len(NETWORKS) == 7


@pytest.mark.filterwarnings("ignore:.*is average pooling")  # their prepool
@pytest.mark.parametrize("arch", NETWORKS)
def test_agrees_with_the_authors(arch):
    case = Case(arch)
    outputs = 8 if "mobilenet" in arch else 4
    backbone, rest = load(arch, case.state, out_indices=range(outputs))
    assert rest == {}
    for mode in ("eval", "train"):
        backbone.train(mode == "train")
        assert_near(backbone(case.input), case, mode)


def test_spem_agrees_with_the_authors():
    case = Case("spem_cifar_depth29_c10")
    backbone, head = load("spem-29", case.state)
    for mode in ("eval", "train"):
        backbone.train(mode == "train")
        features = backbone(case.input)[-1].mean((2, 3))
        logits = F.linear(features, head["head.fc.weight"], head["head.fc.bias"])
        penalty = sum(
            (p**2).sum() for n, p in backbone.named_parameters() if n.endswith(".p")
        )
        assert_near([logits, penalty[None]], case, mode)
