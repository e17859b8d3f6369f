# equal-memory.py for a GPU: the same networks, all training images, 30 epochs, 5 seeds.
# 40 trainings; not run here.
_base_ = "./equal-memory.py"

options = {
    "train_dataloader.dataset.indices": None,
    "train_cfg.max_epochs": 30,
    "param_scheduler.1.end": 30,
    "param_scheduler.1.T_max": 29,
}
seeds = 5
