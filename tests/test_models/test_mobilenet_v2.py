import torch

from attnpool_mm.models import AttnPoolMobileNetV2

NLP = dict(type="SelfAttentivePool2d")


def test_stage_start_pools_the_stages_input():
    backbone = AttnPoolMobileNetV2(pool_cfg=NLP, out_indices=(0, 1))
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))
    stage = backbone.layer2
    assert stage.pool.in_channels == 16
    assert torch.equal(second, stage[1](stage[0](stage.pool(first))))


def test_first_block_pools_the_first_blocks_output():
    backbone = AttnPoolMobileNetV2(
        pool_cfg=NLP, pool_position="first_block", out_indices=(0, 1)
    )
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))
    stage = backbone.layer2
    assert stage.pool.in_channels == 24
    assert torch.equal(second, stage[1](stage.pool(stage[0](first))))


def test_strides_of_one_network_are_not_those_of_another():
    AttnPoolMobileNetV2(strides=(4, 2, 2, 2, 1, 2, 1))
    assert AttnPoolMobileNetV2.arch_settings[0][3] == 1
    assert AttnPoolMobileNetV2().layer1[0].stride == 1
