"""Draw how much classifiers go by shape, and how much by texture, beside humans.

    python tools/analysis_tools/shape_bias.py --csv-dir FOLDER --result-dir FOLDER

MMPretrain's script, with its options: `--model-names NAME`, `--colors 200 50 50` and
`--markers o` say which networks. A network's csv file is what a test on the images of
cue-conflict writes with the metric `ShapeBiasMetric`; those of humans, and icons, are
in https://github.com/bethgelab/model-vs-human.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import (
    HELP,
    find_tool,
    options_of,
    print_help,
    run_tool,
)
from attnpool_mm.utils.errors import ConfigError

SOURCE = "https://github.com/bethgelab/model-vs-human"
ICONS = "resources/shape_bias_icons"


def check(words: list[str], icons: Path) -> None:
    """Check that what the script reads is there; it would download it, or fail.

    Raises:
        ConfigError: Something is not.
    """
    given = options_of(words, "csv-dir", "result-dir")
    if not all(given.values()):
        raise ConfigError("--csv-dir FOLDER and --result-dir FOLDER are needed")
    folder = Path(given["csv-dir"])
    if not any(folder.glob("*.csv")):
        raise ConfigError(
            f"--csv-dir {folder}: there is no csv file; those of humans are in "
            f"{SOURCE}, raw-data/cue-conflict"
        )
    if not any(icons.glob("*.png")):
        raise ConfigError(
            f"{icons}: the icons are not there; copy assets/icons of {SOURCE} to it"
        )
    Path(given["result-dir"]).mkdir(parents=True, exist_ok=True)


def use_pandas() -> None:
    """Give pandas the method that the script calls, which pandas 2 has dropped.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("pandas is needed here: pip install pandas") from error
    pandas.DataFrame.append = lambda self, other: pandas.concat([self, other])


def run() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    asked = bool(HELP & set(words))
    if asked and find_spec("pandas") is None:
        print_help("pip install pandas, and --help lists its options.")
    script = find_tool("mmpretrain", ["analysis_tools/shape_bias.py"])
    use_pandas()
    if not asked:
        check(words, script.parents[2] / ICONS)
    run_tool(script, words)


if __name__ == "__main__":
    with launch.one_line_errors():
        run()
