"""From a trained network to the device: ONNX, int8, a microcontroller, pruning.

Each module needs an extra of this package, `pip install attnpool_mm[onnx]` for example,
and says which where it is missing.
"""
