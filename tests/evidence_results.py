"""Made-up results of plans, in the form of the json that `compare_pools.py` writes."""

import random
from itertools import product

POOLS = {  # pool → accuracy above that of the strided convolution, of the aggressive
    "strided as published": (-4.0, 0.5),
    "strided": (0.0, 1.0),
    "average": (0.2, 1.0),
    "max": (0.5, 1.0),
    "blur": (0.4, 1.05),
    "soft": (0.45, 1.0),
    "LIP": (1.0, 1.1),
    "LIP, original": (1.1, 1.12),
    "Gaussian": (0.3, 1.05),
    "NLP, patch 1": (1.2, 1.3),
    "NLP, patch 2": (0.9, 1.2),
    "NLP, patch 4": (0.6, 1.15),
    "mixed": (1.0, 1.4),
    "deformable": (0.8, 1.35),
}
STRIDES = {
    "standard": (89.0, 0.3, 1.0),
    "aggressive": (86.5, 0.7, 0.5),
    "more aggressive": (81.5, 1.3, 0.25),
}


def run_of(levels, seed, value, **more):
    """A run of a json; `value` is the accuracy of its last epoch."""
    name = "_".join(level.replace(" ", "-") for level in levels.values())
    return {
        "name": f"{name}_seed{seed}",
        "levels": levels,
        "seed": seed,
        "epochs": [{"accuracy/top1": 10.0}, {"accuracy/top1": value}],
        "measures": {},
        "cost": dict(
            shape=[1, 32, 32], parameters=1, flops=1, peak_fused=1, peak_unfused=1
        ),
        "seconds": 60.0,
        "problem": "",
        **more,
    }


def results_of(axes, runs, seeds, reference, **more):
    """The whole json."""
    return {
        "plan": "configs/evidence/made_up.py",
        "metric": "accuracy/top1",
        "seeds": seeds,
        "axes": axes,
        "reference": reference,
        "runs": runs,
        **more,
    }


def made_up(seeds=3):
    """14 pools at three strides, all of one network, as the largest plan has them."""
    draw = random.Random(0)
    axes = dict(network=["ResNet-14"], strides=list(STRIDES), pool=list(POOLS))
    runs, steps = [], {}
    for network, strides, pool in product(*axes.values()):
        base, gain, share = STRIDES[strides]
        better, cost = POOLS[pool]
        levels = dict(network=network, strides=strides, pool=pool)
        costs = dict(
            shape=[1, 32, 32],
            parameters=int(175e3 * cost),
            flops=int(14e6 * share * cost),
            peak_fused=int(33e3 * share * (1.6 if cost < 1 else 2) * cost**0.5),
            peak_unfused=int(33e3 * share * (1.6 if cost < 1 else 2) * cost**3),
        )
        for seed in range(seeds):
            value = round(base + gain * better + draw.gauss(0, 0.25), 2)
            measures = {
                "shift_consistency": round(90 + better + draw.gauss(0, 0.3), 2),
                "corruption/gaussian_noise": round(value - 20, 2),
                "corruption/mean": round(value - 15 + draw.gauss(0, 0.5), 2),
            }
            runs.append(run_of(levels, seed, value, measures=measures, cost=costs))
        steps[runs[-1]["name"].rpartition("_")[0]] = dict(seconds=cost, ratio=cost)
    timing = dict(device="CPU", threads=1, batch_size=64, steps=steps)
    return results_of(axes, runs, seeds, dict(pool="strided"), timing=timing)
