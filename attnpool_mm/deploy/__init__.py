"""From a trained network to the device: ONNX, int8, a microcontroller, pruning.

A module that needs an extra of this package, `pip install attnpool_mm[onnx]` for
example, says which where it is missing.
"""
