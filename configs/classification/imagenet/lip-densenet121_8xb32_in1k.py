# LIP-DenseNet-121 by the recipe of its authors, as for lip-resnet50. Their checkpoint:
# tools/model_converters/convert_authors_checkpoint.py --arch lip_densenet121
_base_ = "./lip-resnet50_8xb32_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="attnpool_mm.LIPDenseNet", depth=121),
    head=dict(in_channels=1024),
)
