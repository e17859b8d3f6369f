# The classifier whose weights the demo's detector starts from: half the width, so that
# it learns in a minute.
_base_ = "../classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"

model = dict(
    backbone=dict(stem_channels=32, base_channels=32), head=dict(in_channels=256)
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
