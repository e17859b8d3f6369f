# classification_mobilenet-v2.py for a GPU: full width, all training images, 30 epochs,
# 5 seeds, and every pool at all strides where it fits. 205 trainings; not run here.
_base_ = "./classification_mobilenet-v2.py"

options = {
    "train_dataloader.dataset.indices": None,
    "train_cfg.max_epochs": 30,
    "param_scheduler.1.end": 30,
    "param_scheduler.1.T_max": 29,
    "model.backbone.widen_factor": 1.0,
}
exclude = [dict(strides="more aggressive", pool="NLP, patch 4")]
seeds = 5
