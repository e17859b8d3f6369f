"""The pools compute what the authors' code computes."""

import pytest
from reference import Case, assert_layer_agrees

from attnpool_mm.checkpoint import convert_authors_pool
from attnpool_mm.pooling import (
    AttentionPool2d,
    GaussianPool2d,
    LocalImportancePool2d,
    SelfAttentivePool2d,
)

CASES = {
    "nlp_p1_win": dict(num_heads=4),
    "nlp_p1_nowin": dict(normalize=False),
    "nlp_p2_nowin": dict(patch_size=2, normalize=False),
    "nlp_p4_s2_nowin_odd": dict(in_channels=12, patch_size=4, normalize=False),
    "nlp_p1_s4_win": dict(stride=4, embed_ratio=0.25),
    "nlp_noexp": dict(exp=False),
    "nlp_nosigmoid": dict(sigmoid=False),
    "nlp_nope": dict(position=False),
    "nlp_nobn1": dict(embed_norm=False),
    "nlp_nobn2": dict(restore_norm=False),
    "lip": dict(pool=LocalImportancePool2d),
    "attnpool_s2": dict(pool=AttentionPool2d),
    "gaussian": dict(pool=GaussianPool2d),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_authors(name):
    case = Case(name)
    arguments = {"pool": SelfAttentivePool2d, "in_channels": 16} | CASES[name]
    pool = arguments.pop("pool")(**arguments)
    pool.load_state_dict(convert_authors_pool(case.state, pool))
    # Gaussian pooling draws random numbers in training.
    assert_layer_agrees(pool, case, training=name != "gaussian")
