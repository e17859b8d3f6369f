auto_scale_lr = dict(base_batch_size=64)
data_preprocessor = dict(
    mean=[
        127.5,
        127.5,
        127.5,
    ],
    num_classes=10,
    std=[
        127.5,
        127.5,
        127.5,
    ],
    to_rgb=False)
dataset_type = 'attnpool_mm.Digits'
default_hooks = dict(
    checkpoint=dict(_scope_='mmpretrain', interval=1, type='CheckpointHook'),
    logger=dict(_scope_='mmpretrain', interval=10, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmpretrain', type='ParamSchedulerHook'),
    sampler_seed=dict(_scope_='mmpretrain', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmpretrain', type='IterTimerHook'),
    visualization=dict(
        _scope_='mmpretrain', enable=False, type='VisualizationHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
load_from = None
log_level = 'INFO'
max_epochs = 10
model = dict(
    backbone=dict(arch='x', type='RegNet'),
    head=dict(
        in_channels=512,
        loss=dict(type='CrossEntropyLoss'),
        num_classes=10,
        type='LinearClsHead'),
    neck=dict(type='GlobalAveragePooling'),
    type='ImageClassifier')
optim_wrapper = dict(
    optimizer=dict(lr=0.05, momentum=0.9, type='SGD', weight_decay=0.0005))
param_scheduler = [
    dict(convert_to_iter_based=True, end=1, start_factor=0.1, type='LinearLR'),
    dict(
        T_max=9,
        begin=1,
        convert_to_iter_based=True,
        end=10,
        type='CosineAnnealingLR'),
]
randomness = dict(deterministic=False, seed=None)
resume = False
test_cfg = dict()
test_dataloader = dict(
    batch_size=64,
    dataset=dict(
        pipeline=[
            dict(scale=32, type='Resize'),
            dict(type='PackInputs'),
        ],
        split='test',
        test_mode=True,
        type='attnpool_mm.Digits'),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(topk=(1, ), type='Accuracy')
test_pipeline = [
    dict(scale=32, type='Resize'),
    dict(type='PackInputs'),
]
train_cfg = dict(by_epoch=True, max_epochs=10)
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        pipeline=[
            dict(scale=32, type='Resize'),
            dict(crop_size=32, padding=4, type='RandomCrop'),
            dict(type='PackInputs'),
        ],
        split='train',
        type='attnpool_mm.Digits'),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=True, type='DefaultSampler'))
train_pipeline = [
    dict(scale=32, type='Resize'),
    dict(crop_size=32, padding=4, type='RandomCrop'),
    dict(type='PackInputs'),
]
val_cfg = dict()
val_dataloader = dict(
    batch_size=64,
    dataset=dict(
        pipeline=[
            dict(scale=32, type='Resize'),
            dict(type='PackInputs'),
        ],
        split='test',
        test_mode=True,
        type='attnpool_mm.Digits'),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(topk=(1, ), type='Accuracy')
vis_backends = [
    dict(_scope_='mmpretrain', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmpretrain',
    type='UniversalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = '.'
