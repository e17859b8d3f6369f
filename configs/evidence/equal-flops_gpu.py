# equal-flops.py for a GPU: the same networks, all training images, 30 epochs, 5 seeds.
# 65 trainings; not run here. On CIFAR-10 the stem's three channels move the FLOPs by up
# to 4 %: the widths would have to be found anew.
_base_ = "./equal-flops.py"

options = {
    "train_dataloader.dataset.indices": None,
    "train_cfg.max_epochs": 30,
    "param_scheduler.1.end": 30,
    "param_scheduler.1.T_max": 29,
}
seeds = 5
