# The classifier whose weights the demo's detector starts from.
_base_ = "../classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
