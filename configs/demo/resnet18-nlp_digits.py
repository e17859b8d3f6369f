# The classifier whose weights the demo's detector starts from.
_base_ = "../classification/digits/resnet18-nlp_b64_digits.py"

randomness = dict(seed=0)
