"""The models of this package, for the APIs of MMPretrain and MMDetection.

Importing this module puts the classifiers into MMPretrain's model hub, where
`mmpretrain.list_models`, `mmpretrain.get_model` and `ImageClassificationInferencer`
find them by name. MMDetection has no such hub: `config_path` turns a name into the
file that `DetInferencer` and `init_detector` take.

It also makes the loading of checkpoints safe, and of configs in YAML, for these and
for whatever else loads by MMEngine: a checkpoint is data, and one that names code is
refused. `attnpool_mm.checkpoint.use_safe_loading(trust=True)` gives that up.
"""

from difflib import get_close_matches
from pathlib import Path

from mmpretrain.apis import ModelHub

from .checkpoint.mmengine_loading import loading_is_chosen, use_safe_loading
from .utils.errors import ConfigError
from .utils.safe_yaml import use_safe_yaml

# Configs, tools and model index as OpenMMLab's packages carry them: copies in a
# wheel, links in an installed checkout; one that is not installed has none
MIM_FOLDER = Path(__file__).parent / ".mim"
if not MIM_FOLDER.is_dir():
    MIM_FOLDER = Path(__file__).parents[1]


def config_path(name: str) -> str:
    """Return the config file of a model of this package.

    Args:
        name (str): The model's name, which is that of its file, without `.py`.

    Raises:
        ConfigError: There is no such model.

    Example:
        >>> path = config_path('resnet20-spem_1xb64_digits')
        >>> path.endswith('classification/digits/resnet20-spem_1xb64_digits.py')
        True
    """
    configs = MIM_FOLDER / "configs"
    files = {
        path.stem: path
        for path in configs.rglob("*.py")
        # no parts of configs, and no plans
        if not {"_base_", "evidence"} & {*path.relative_to(configs).parts}
    }
    if name not in files:
        close = get_close_matches(name, files, n=3, cutoff=0.4)
        raise ConfigError(
            f"name={name!r}: there is no such model; "
            + (f"close to it: {', '.join(close)}" if close else f"{len(files)} others")
        )
    return str(files[name])


for metafile in sorted(MIM_FOLDER.glob("configs/classification/*/metafile.yml")):
    ModelHub.register_model_index(metafile, config_prefix=MIM_FOLDER)
use_safe_yaml()
if not loading_is_chosen():
    use_safe_loading(torch_load=False)
