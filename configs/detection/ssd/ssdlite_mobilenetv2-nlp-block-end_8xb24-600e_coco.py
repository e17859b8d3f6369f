# Self-attentive pooling in the form that its authors recommend; MMDetection's schedule:
# 600 epochs, 192 images a step.
_base_ = "../../_base_/models/ssdlite_keyword.py"
