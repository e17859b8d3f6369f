"""The arguments that classes take, through what they hand on."""

import inspect

import pytest
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models import FPN, RetinaHead, VFNetHead
from torch import nn

from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.utils.signatures import (
    arguments,
    mentions,
    package_of,
    unknown_arguments,
)


class Parent:
    def __init__(self, depth, width=1):
        pass


class Child(Parent):
    def __init__(self, *args, stride=2, **kwargs):
        self.own = kwargs.pop("own", None)
        super().__init__(*args, **kwargs)


class Closed(Child):
    def __init__(self, stride):
        super().__init__(1, stride=stride)


class Keeping(Parent):
    def __init__(self, **rest):
        super().__init__(1)
        self.rest = rest


class Other:
    def __init__(self, height, **kwargs):
        pass


class Skipping(Child, Other):
    def __init__(self, **kwargs):
        Other.__init__(self, **kwargs)


GIVEN = ["stride", "depth", "own", "height", "any"]


@pytest.mark.parametrize("kind, unknown", [
    (Parent, ["stride", "own", "height", "any"]),
    (Child, ["height", "any"]),
    (Closed, ["depth", "own", "height", "any"]),
    (Keeping, []),
    (Skipping, []),
    (nn.Module, []),
    (dict, []),
])  # fmt: skip
def test_what_a_class_does_not_take(kind, unknown):
    assert unknown_arguments(kind, GIVEN) == unknown


@pytest.mark.parametrize("kind, given, unknown", [
    (FPN, "out_channel", True),
    (AttnPoolResNet, "norm_eval", False),  # of MMPretrain's
    (AttnPoolResNet, "norm_evals", True),
    (RetinaHead, "feat_channels", False),  # of a parent's parent
    (VFNetHead, "dcn_on_last_conv", False),  # of a parent that is called by its name
    (ModulatedDeformConv2dPack, "deformable_groups", False),  # by a decorator
    (nn.utils.clip_grad_norm_, "maxnorm", True),  # a function
])  # fmt: skip
def test_the_frameworks_classes(kind, given, unknown):
    assert unknown_arguments(kind, [given]) == [given] * unknown


def test_names_are_those_of_the_signatures():
    own = set(inspect.signature(Child).parameters) - {"args", "kwargs"}
    assert set(arguments(Child)) == own | set(inspect.signature(Parent).parameters)
    assert "own" in mentions(Child) and package_of(FPN) == "mmdet"
