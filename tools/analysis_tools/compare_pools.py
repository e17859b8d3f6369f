"""Run a plan: train networks that differ in pool, strides or anything, and compare.

    python tools/analysis_tools/compare_pools.py configs/evidence/PLAN.py
    python tools/analysis_tools/compare_pools.py configs/evidence/PLAN.py --jobs 2

The same command goes on where it was stopped. All results are in one JSON file.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.analysis.evidence_file import read_results
from attnpool_mm.analysis.evidence_plots import draw_tradeoff
from attnpool_mm.analysis.evidence_tables import SIGNS, columns_of
from attnpool_mm.analysis.results import text_table, write_plot
from attnpool_mm.engine import launch
from attnpool_mm.engine.candidate_training import locked
from attnpool_mm.engine.interruption import Interrupted, SignalWatch
from attnpool_mm.engine.plan import read_plan
from attnpool_mm.engine.plan_runner import PlanRunner
from attnpool_mm.engine.work_dir import check_file, check_work_dir
from attnpool_mm.utils.checks import check_choice, check_int
from attnpool_mm.utils.errors import ConfigError

PICTURES = (".pdf", ".png", ".svg")
TRAIN = Path(__file__).resolve().parents[1] / "train.py"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plan", help="the plan, such as configs/evidence/spem.py")
    parser.add_argument(
        "--work-dir",
        help="folder for the trainings (default: ./work_dirs/evidence/NAME_OF_PLAN)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="the results; what it holds already is not trained again (default: "
        "results of the work folder)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings at once (default: 1)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="check the plan and list its networks with their cost; train nothing",
    )
    instead.add_argument(
        "--time",
        type=int,
        metavar="N",
        help="instead of training, time N training steps of every network, in turns",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the metric against FLOPs and peak memory, as .png, .svg or .pdf",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="options of all trainings, beside the plan's and before its levels', such "
        "as train_dataloader.dataset.data_root=FOLDER",
    )
    return parser.parse_args(arguments)


def paths(args: argparse.Namespace) -> tuple[Path, Path]:
    """The folder for the trainings, and the file of results.

    Raises:
        ConfigError: They cannot be written.
    """
    name = Path(args.plan).stem
    folder = Path(args.work_dir or Path("work_dirs") / "evidence" / name)
    json_path = Path(args.json or folder / f"{name}.json")
    check_work_dir(str(folder))
    check_file("--json", json_path)
    if args.plot:
        check_file("--plot", Path(args.plot))
        check_choice("the ending of --plot", Path(args.plot).suffix, PICTURES)
    return folder, json_path


def cost_table(runner: PlanRunner) -> str:
    """The networks of a plan and what they cost."""
    networks = list(runner.networks())
    costs = [runner.costs[run.group] for run in networks]
    columns = {
        axis: [run.levels[axis] for run in networks] for axis in runner.plan.levels
    }
    columns |= {
        "image": ["x".join(map(str, cost["shape"])) for cost in costs],
        "parameters": [f"{cost['parameters']:,}" for cost in costs],
        "MFLOPs": [f"{cost['flops'] / 1e6:,.1f}" for cost in costs],
        "peak, fused (kB)": [f"{cost['peak_fused'] / 1e3:,.1f}" for cost in costs],
        "unfused (kB)": [f"{cost['peak_unfused'] / 1e3:,.1f}" for cost in costs],
    }
    return text_table(columns)


def time_table(runner: PlanRunner) -> str:
    """What a training step of each network takes."""
    steps = runner.timing["steps"]
    networks = [run for run in runner.networks() if run.group in steps]
    columns = {
        axis: [run.levels[axis] for run in networks] for axis in runner.plan.levels
    }
    times = [steps[run.group] for run in networks]
    columns["step (ms)"] = [f"{1e3 * time['seconds']:.1f}" for time in times]
    if runner.plan.reference:
        columns["to the reference"] = [f"{time['ratio']:.2f}" for time in times]
    return text_table(columns)


def run(args: argparse.Namespace) -> None:
    """Train, or list, or time.

    Raises:
        ConfigError: An option or the plan cannot be used, or a training failed.
    """
    check_int("--jobs", args.jobs)
    if args.time is not None:
        check_int("--time", args.time)
    if args.plot and args.dry_run:
        raise ConfigError("--plot with --dry-run: there are no results to draw")
    folder, json_path = paths(args)
    plan = read_plan(args.plan)
    plan.options |= args.cfg_options or {}
    runner = PlanRunner(plan, json_path)
    runner.check()
    num_runs, num_missing = len(runner.runs), len(runner.missing)
    report(f"{num_runs} trainings, {num_runs - num_missing} of them done")
    if runner.others:
        report(
            f"{json_path}: {runner.others} results are not of this plan's configs and "
            "metric; when it is written, a copy with them is kept beside it"
        )
    if args.dry_run:
        print(cost_table(runner))
        return
    if args.time is not None:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):  # beside trainings they would mean nothing
            runner.time(args.time)
        print(time_table(runner))
    else:
        report(f"what each prints: {folder}/NAME.txt")
        runner.train(folder, TRAIN, args.jobs, report)
    results = read_results(json_path)
    if results.runs:
        print(text_table(columns_of(results)))
        if results.reference:
            print(", ".join(f"{sign} {word}" for word, sign in SIGNS.items()))
    print(f"results: {json_path}")
    failed = [name for name, record in runner.records.items() if record["problem"]]
    if args.plot and len(failed) < len(runner.records):
        write_plot(args.plot, draw_tradeoff(results))
    if failed and args.time is None:
        raise ConfigError(f"trainings that failed: {', '.join(failed)}")


def report(line: str) -> None:
    """Say how far it is."""
    print(line, flush=True)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        with launch.one_line_errors(), SignalWatch() as watch:
            watch.moment = "no training was running"
            run(args)
    except Interrupted as stop:
        print(stop.message, file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
