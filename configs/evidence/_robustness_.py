# Robustness, measured with the final weights on 1,000 of the test images: shifts within
# the margin (CIFAR-10, in the larger plans, has none: there they cut), and corruptions
# that leave a 28-pixel image recognisable, gently.
_base_ = "./_base_.py"

options = {
    "default_hooks.robustness": dict(
        type="attnpool_mm.RobustnessHook",
        num_images=1000,
        max_shift=2,
        corruptions=[
            "gaussian_noise",
            "shot_noise",
            "impulse_noise",
            "defocus_blur",
            "glass_blur",
            "motion_blur",
            "zoom_blur",
            "elastic_transform",
            "pixelate",
            "jpeg_compression",
        ],
        severity=1,
        cache="work_dirs/evidence/corrupted",
    ),
}
