"""From a plan's json to summaries, tables, sentences and pictures."""

import json
import math
import random
import re
import statistics
from itertools import product

import numpy as np
import pytest
from evidence_results import POOLS, STRIDES, made_up, results_of, run_of
from scipy import stats

from attnpool_mm.analysis.difference_plots import draw_differences
from attnpool_mm.analysis.evidence import summaries
from attnpool_mm.analysis.evidence_average import averaged
from attnpool_mm.analysis.evidence_file import parse_results, read_results
from attnpool_mm.analysis.evidence_plots import draw_tradeoff
from attnpool_mm.analysis.evidence_tables import columns_of
from attnpool_mm.analysis.evidence_verdicts import conditions, verdicts
from attnpool_mm.utils.errors import ConfigError

REFERENCE = dict(pool="strided")


@pytest.fixture(scope="module")
def results():
    return parse_results(made_up(), "made_up")


def small(values, **more):
    """A json of pools alone: pool → the values of its seeds; None is no run."""
    runs = [
        run_of(dict(pool=pool), seed, value)
        for pool, seeds in values.items()
        for seed, value in enumerate(seeds)
        if value is not None
    ]
    count = max(map(len, values.values()))
    reference = dict(pool=next(iter(values)))
    return results_of(dict(pool=list(values)), runs, count, reference, **more)


def last_values(content, **levels):
    """Seed → accuracy of the last epoch, read off the json."""
    return {
        run["seed"]: run["epochs"][-1]["accuracy/top1"]
        for run in content["runs"]
        if levels.items() <= run["levels"].items()
    }


def test_the_mean_over_an_axis(results):
    content = made_up()
    (lip,) = summaries(
        averaged(results, "strides", "aggressive"), None, dict(pool="LIP")
    )
    each = [last_values(content, strides=strides, pool="LIP") for strides in STRIDES]
    assert lip.values == pytest.approx(
        {seed: np.mean([values[seed] for values in each]) for seed in range(3)}
    )
    at_one = dict(pool="LIP", strides="aggressive")
    (same,) = summaries(results, where=at_one)
    assert (lip.cost, lip.step) == (same.cost, same.step)
    (without,) = summaries(averaged(results, "strides"), None, dict(pool="LIP"))
    assert without.cost == {} and without.step is None
    # the mean of the differences is the difference of the means
    points = [row.difference.mean for row in summaries(results, where=dict(pool="LIP"))]
    assert lip.difference.mean == pytest.approx(np.mean(points))
    assert lip.difference.family == len(POOLS) - 1


def test_what_is_not_at_every_level_is_not_in_the_mean_over_them():
    content = made_up()
    left_out = dict(pool="LIP", strides="standard")
    nowhere = dict(strides="more aggressive")
    content["exclude"] = [left_out, nowhere]
    content["runs"] = [
        run
        for run in content["runs"]
        if not any(
            part.items() <= run["levels"].items() for part in (left_out, nowhere)
        )
    ]
    failed = [run for run in content["runs"] if run["levels"]["pool"] == "max"][:1]
    failed += [run for run in content["runs"] if run["levels"]["pool"] == "blur"][:3]
    for run in failed:  # one seed, and every seed
        run["problem"] = "it diverged"
    rows = summaries(averaged(parse_results(content), "strides"))
    pools = [row.levels["pool"] for row in rows]
    assert pools == [pool for pool in POOLS if pool != "LIP"]
    (row,) = (row for row in rows if row.levels["pool"] == "max")
    assert row.values.keys() == {1, 2} and row.failed == {0: "standard: it diverged"}
    (blur,) = (row for row in rows if row.levels["pool"] == "blur")
    assert blur.values == {} and blur.failed.keys() == {0, 1, 2}
    values = [last_values(content, pool="max", strides=s)[1] for s in [*STRIDES][:2]]
    assert row.values[1] == pytest.approx(np.mean(values))


def test_the_mean_of_average_precisions_is_in_per_cent():
    def run(pool, stride, **scores):
        metrics = {f"coco/{name}": value for name, value in scores.items()}
        levels = dict(pool=pool, stride=stride)
        return run_of(levels, 0, 0) | dict(epochs=[metrics])

    axes = dict(pool=["max", "lip"], stride=["1", "2"])
    runs = [
        run("max", "1", bbox_mAP=0.2, bbox_mAP_s=0.5),
        run("max", "2", bbox_mAP=0.4, bbox_mAP_s=-1.0),  # nothing small
    ]
    content = results_of(axes, runs, 1, dict(pool="max"), metric="coco/bbox_mAP")
    (mean,) = averaged(parse_results(content), "stride").runs
    assert mean.value("coco/bbox_mAP") == pytest.approx(30)
    assert mean.value("coco/bbox_mAP_s") is None


def test_a_column_of_another_metric(results):
    where = dict(strides="standard")
    columns = columns_of(results, ["change", "change:shift_consistency"], where)
    cells = columns["shift consistency: difference"]
    for row, cell in zip(
        summaries(results, "shift_consistency", where), cells, strict=True
    ):
        if row.difference:
            points = f"{row.difference.mean:+.2f}".replace("-", "−")
            assert cell.endswith(points)
    assert cells != columns["difference"]


@pytest.mark.parametrize(("strides", "pool"), [*product(STRIDES, ["LIP", "average"])])
def test_a_summary_is_of_the_last_epochs(results, strides, pool):
    content = made_up()
    (row,) = summaries(results, where=dict(strides=strides, pool=pool))
    values = last_values(content, strides=strides, pool=pool)
    against = last_values(content, strides=strides, **REFERENCE)
    assert row.values == values and row.failed == {}
    assert row.mean == pytest.approx(statistics.mean(values.values()))
    assert row.std == pytest.approx(statistics.stdev(values.values()))
    means = [v - against[seed] for seed, v in values.items()]
    assert row.difference.mean == pytest.approx(statistics.mean(means))


@pytest.mark.parametrize("strides", STRIDES)
def test_an_interval_is_of_the_rest_of_an_analysis_of_variance(results, strides):
    """Of a balanced design, by the plain formula: network, seed and a rest."""
    family = summaries(results, where=dict(strides=strides))
    values = np.array([[*row.values.values()] for row in family])
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    networks, seeds = values.shape
    degrees = (networks - 1) * (seeds - 1)
    error = math.sqrt(2 * np.square(rest).sum() / degrees / seeds)
    half = stats.t.ppf(0.975, degrees) * error
    for row in family:
        if row.difference:
            found = row.difference
            assert found.high - found.mean == pytest.approx(half)
            assert found.mean - found.low == pytest.approx(half)
            t = abs(found.mean) / error
            assert found.p == pytest.approx(2 * stats.t.sf(t, degrees))


def test_of_one_pool_and_its_reference_it_is_the_paired_t_test():
    content = small(dict(max=[70.0, 71.5, 72.0], lip=[71.0, 71.0, 74.0]))
    found = summaries(parse_results(content))[1].difference
    test = stats.ttest_rel([71.0, 71.0, 74.0], [70.0, 71.5, 72.0])
    assert found.p == pytest.approx(test.pvalue)
    assert found.low == pytest.approx(test.confidence_interval().low)


def test_a_missing_run_leaves_the_others_their_scatter():
    """Network 'b' has one seed, and so tells nothing of the scatter."""
    whole = small(dict(max=[70.0, 71.5, 72.0], lip=[71.0, 71.0, 74.0]))
    more = small(dict(max=[70.0, 71.5, 72.0], lip=[71.0, 71.0, 74.0], b=[75.0]))
    _, expected = summaries(parse_results(whole))
    _, lip, b = summaries(parse_results(more))
    assert lip.scatter.degrees == expected.scatter.degrees == 2
    assert lip.scatter.variance == pytest.approx(expected.scatter.variance)
    assert lip.difference == expected.difference  # b is no comparison of its family
    assert b.difference.word == "one seed" and math.isnan(b.difference.low)
    (said,) = verdicts(parse_results(more))
    assert "one seed: b (+5.00)" in said and "highest mean: lip" in said


def test_a_collapsed_network_leaves_the_others_their_intervals():
    """Its own is that of the paired t test, and it is said."""
    draw = random.Random(0)
    values = {
        name: [round(70 + step + draw.gauss(0, 0.2), 2) for _ in range(3)]
        for name, step in (*((c, 0) for c in "abcdef"), ("good", 1))
    }
    before = summaries(parse_results(small(values)))
    results = parse_results(small({**values, "bad": [70.0, 10.0, 70.0]}))
    first, *rows, bad = summaries(results)
    for row, expected in zip(rows, before[1:], strict=True):
        assert row.difference.p == pytest.approx(expected.difference.p)
    test = stats.ttest_rel([*bad.values.values()], [*first.values.values()])
    assert bad.difference.p == pytest.approx(test.pvalue)
    (said,) = verdicts(results)
    assert "  - better: good" in said and "more than the others: bad;" in said
    assert "more than" not in verdicts(parse_results(small(values)))[0]
    content = small({"bad": [70.0, 10.0, 70.0], **values})  # as the reference
    reference, *rows = summaries(parse_results(content))
    for row in rows:
        test = stats.ttest_rel([*row.values.values()], [*reference.values.values()])
        assert row.difference.p == pytest.approx(test.pvalue)


def test_the_correction_is_of_the_comparisons_with_one_reference(results):
    for strides in STRIDES:
        rows = summaries(results, where=dict(strides=strides))
        (reference,) = (row for row in rows if row.is_reference)
        assert reference.levels["pool"] == "strided" and reference.difference is None
        found = [row.difference for row in rows if row.difference]
        assert {d.family for d in found} == {len(POOLS) - 1}
        least = min(found, key=lambda d: d.p)
        assert least.p_holm == pytest.approx(min(1, least.p * (len(POOLS) - 1)))
        assert all(d.p_holm >= d.p for d in found)
    (alone,) = summaries(results, where=dict(strides="standard", pool="LIP"))
    assert alone.difference.family == len(POOLS) - 1


def test_what_failed_and_what_is_missing_is_said():
    content = small({"max": [70, 71, 72], "lip": [72, None, math.nan], "nlp": [None]})
    content["runs"] += [
        run_of(dict(pool="nlp"), seed, 10.0, problem=f"loss is nan; to try: {seed}")
        for seed in (1, 2)
    ]
    results = parse_results(content)
    top, lip, nlp = summaries(results)
    assert lip.values == {0: 72} and list(lip.failed) == [2]
    assert lip.difference.n == 1 and lip.difference.p_holm is None
    assert nlp.values == {} and nlp.failed[1] == "loss is nan; to try: 1"
    assert math.isnan(nlp.mean) and nlp.difference is None and math.isnan(nlp.std)
    columns = columns_of(results, ["value", "runs", "word", "difference"])
    assert columns["top-1 (%)"] == ["71.00 ± 1.00", "72.00 (1 failed)", "failed (2)"]
    assert columns["runs"] == ["3 of 3", "1 of 3", "0 of 3"]
    assert columns["which is"] == ["reference", "one seed", "–"]
    text = conditions(results)
    assert "7 of 9 runs" in text and "nlp_seed1, nlp_seed2: loss is nan." in text
    assert "lip_seed2: accuracy/top1 is nan" in text
    (said,) = verdicts(results)
    assert "failed: nlp" in said and "one seed: lip (+2.00)" in said


def test_what_has_not_run_yet_is_a_row():
    results = parse_results(small({"max": [70, 71], "lip": [None]}))
    assert columns_of(results, ["value"])["top-1 (%)"] == ["70.50 ± 0.71", "–"]
    assert "not run yet: lip" in verdicts(results)[0]
    assert "2 of 4 runs" in conditions(results)
    left_out = parse_results(
        small({"max": [70, 71], "lip": [None]}, exclude=[dict(pool="lip")])
    )
    assert "2 of 2 runs" in conditions(left_out) and len(summaries(left_out)) == 1


def test_while_all_have_failed_there_are_no_values():
    runs = [run_of(dict(pool="max"), 0, 0, epochs=[], problem="no space left")]
    results = parse_results(results_of(dict(pool=["max"]), runs, 1, dict(pool="max")))
    columns = columns_of(results, ["value", "shift_consistency", "corruption/mean"])
    assert columns["top-1 (%)"] == ["failed (1)"]
    assert columns["shift consistency (%)"] == ["failed (1)"]


def test_without_a_reference_nothing_is_compared():
    content = small({"max": [70, 71], "lip": [72, 73]}) | dict(reference={})
    results = parse_results(content)
    assert columns_of(results, ["difference"])["difference"] == ["–", "–"]
    (said,) = verdicts(results)
    assert "highest mean: lip" in said and "gainst" not in said


def test_detection_is_in_per_cent_and_without_objects_nothing():
    metrics = {"coco/bbox_mAP": 0.312, "coco/bbox_mAP_s": -1}
    runs = [run_of(dict(pool="max"), s, 0, epochs=[metrics]) for s in range(2)]
    content = results_of(dict(pool=["max", "lip"]), runs, 2, dict(pool="max"))
    results = parse_results(content | {"metric": "coco/bbox_mAP"})
    columns = columns_of(results, ["value", "coco/bbox_mAP_s"])
    assert columns["AP (%)"] == ["31.20 ± 0.00", "–"]
    assert columns["AP small (%)"] == ["–", "–"]


def test_what_is_not_known_to_be_in_per_cent_is_shown_as_it_is():
    def shown(metric):
        content = made_up()
        content["metric"] = metric
        for run in content["runs"]:
            for epoch in run["epochs"]:
                epoch[metric] = epoch["accuracy/top1"] / 1000
        columns = columns_of(parse_results(content), ["value", "points"])
        return {name: column[0] for name, column in columns.items() if "/" not in name}

    columns, fractions = shown("NMI"), shown("pascal_voc/mAP")
    mean = summaries(parse_results(made_up()))[0].mean
    assert columns["NMI"].startswith(f"{mean / 1000:.4f} ± ")
    assert fractions["mAP (%)"].startswith(f"{mean / 10:.2f} ± ")


def test_columns(results):
    names = ["value", "parameters", "flops", "peak_fused", "step", "corruption/mean"]
    columns = columns_of(results, names, dict(strides="aggressive"))
    assert list(columns)[0] == "pool"  # neither the network nor the strides vary
    at = columns["pool"].index("NLP, patch 1")
    (row,) = summaries(results, where=dict(strides="aggressive", pool="NLP, patch 1"))
    assert columns["MFLOPs"][at] == f"{row.cost['flops'] / 1e6:.1f}"
    assert columns["peak (kB)"][at] == f"{row.cost['peak_fused'] / 1e3:.1f}"
    assert columns["training step"][at] == "1.30×"
    measured = [
        run["measures"]["corruption/mean"]
        for run in made_up()["runs"]
        if run["levels"] == row.levels
    ]
    mean = statistics.mean(measured)
    assert columns["corrupted, mean (%)"][at].startswith(f"{mean:.2f} ± ")


def test_what_the_runs_ran_on_is_said():
    content = small({"max": [70, 71]})
    for run, threads in zip(content["runs"], (1, 2), strict=True):
        run["machine"] = dict(device="x86_64 CPU", threads=threads)
    said = conditions(parse_results(content))
    assert "x86_64 CPU (threads: 1) and x86_64 CPU (threads: 2)" in said


def test_side_by_side_is_the_same_table(results):
    wide = columns_of(results, ["value", "difference"], across="strides")
    assert len(wide) == 1 + 2 * len(STRIDES) and wide["pool"] == list(POOLS)
    for level in STRIDES:
        long = columns_of(results, ["value"], dict(strides=level))
        assert wide[f"{level}: top-1 (%)"] == long["top-1 (%)"]


def test_side_by_side_with_gaps():
    content = made_up()
    content["exclude"] = [dict(strides="standard", pool="LIP")]
    content["runs"] = [
        run
        for run in content["runs"]
        if run["levels"] | content["exclude"][0] != run["levels"]
    ]
    wide = columns_of(parse_results(content), ["value"], across="strides")
    at = wide["pool"].index("LIP")
    assert wide["pool"] == list(POOLS) and wide["standard: top-1 (%)"][at] == "–"
    assert wide["aggressive: top-1 (%)"][at] != "–"


def test_the_front_of_a_table_is_that_of_its_rows(results):
    where = dict(strides="standard")
    found = columns_of(results, ["front"], where)["Pareto front"]
    rows = summaries(results, where=where)
    best = max(range(len(rows)), key=lambda i: rows[i].mean)
    least = min(range(len(rows)), key=lambda i: rows[i].cost["flops"])
    assert "FLOPs" in found[best] and "FLOPs" in found[least]


def test_the_sentences_name_each_row_once(results):
    said = verdicts(results, dict(strides="aggressive"))
    assert len(said) == 1 and said[0].startswith("- **aggressive**, against strided")
    words, (highest,) = said[0].split("\n")[1:-1], said[0].split("\n")[-1:]
    named = [name for line in words for name in line.partition(": ")[2].split("; ")]
    wanted = [
        f"{row.levels['pool']} ({row.difference.mean:+.2f})".replace("-", "−")
        for row in summaries(results, where=dict(strides="aggressive"))
        if row.difference
    ]
    assert sorted(named) == sorted(wanted)
    rows = summaries(results, where=dict(strides="aggressive"))
    best = max(rows, key=lambda row: row.mean)
    assert f"{best.levels['pool']} ({best.mean:.2f})" in highest


def changed(path, value):
    """The made-up json of two pools with another value at a path of keys."""
    content = small({"max": [70, 71], "lip": [72, 73]})
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "plan|axes"),
        ({}, "axes"),
        (changed(["axes"], dict(pool="max")), "axes"),
        (changed(["seeds"], "3"), "seeds"),
        (changed(["metric"], "accuracy/top5"), "accuracy/top1"),
        (changed(["reference"], dict(pool="average")), "average"),
        (changed(["reference"], dict(stride="max")), "stride"),
        (changed(["runs"], None), "runs"),
        (changed(["runs", 0], "run"), "epochs"),
        (changed(["runs", 0, "levels"], dict(pool="soft")), "soft"),
        (changed(["runs", 0, "levels"], dict()), "levels"),
        (changed(["runs", 1, "seed"], 0), "seed"),
        (changed(["runs", 1, "seed"], True), "seed"),
        (changed(["runs", 0, "epochs"], [71.2]), "epochs"),
        (changed(["runs", 0, "epochs"], [{"accuracy/top1": "71"}]), "accuracy/top1"),
        (changed(["runs", 0, "measures"], [1]), "measures"),
        (changed(["runs", 0, "cost"], dict(flops=1)), "parameters"),
        (changed(["timing"], dict(steps=dict(a=1))), "ratio"),
        (changed(["exclude"], [dict(pool="soft")]), "soft"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_plans_json(content, named):
    with pytest.raises(ConfigError, match=rf"^made_up: .*{named}") as error:
        parse_results(content, "made_up")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "", None, '{"a": 1}\n{'])
def test_a_broken_file(tmp_path, text):
    path = tmp_path / "broken.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_results(path)


def test_a_file_is_its_content(tmp_path, results):
    path = tmp_path / "made_up.json"
    path.write_text(json.dumps(made_up()))
    assert read_results(path) == results


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda r: summaries(r, "accuracy/top5"), "accuracy/top1"),
        (lambda r: summaries(r, where=dict(pools="LIP")), "'pool'"),
        (lambda r: summaries(r, where=dict(pool="lip")), "'LIP'"),
        (lambda r: columns_of(r, ["flop"]), "'flops'"),
        (lambda r: columns_of(r, across="stride"), "'strides'"),
        (lambda r: draw_tradeoff(r, ["peak"]), "peak_fused"),
        (lambda r: draw_tradeoff(r, panels="stride"), "'strides'"),
        (lambda r: draw_differences(r, dict(pool="strided")), "difference"),
    ],
)
def test_what_is_not_there(results, call, named):
    with pytest.raises(ConfigError, match=named):
        call(results)


def test_the_picture_has_every_point_and_names_the_front(results):
    figure = draw_tradeoff(results)
    rows = summaries(results)
    for axes, key, unit in zip(
        figure.axes, ("flops", "peak_fused"), (1e6, 1e3), strict=True
    ):
        points = {
            (line.get_xdata()[0], line.get_ydata()[0])
            for line in axes.lines
            if line.get_marker() not in ("None", "")
        }
        assert points == {(row.cost[key] / unit, row.mean) for row in rows}
        named = {(text.xy, text.get_text()) for text in axes.texts}
        best = max(rows, key=lambda row: row.mean)
        at = (best.cost[key] / unit, best.mean)
        assert (at, best.levels["pool"]) in named
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*POOLS, "", *STRIDES, "Pareto front"]


def test_equal_costs_and_single_runs_can_be_drawn():
    results = parse_results(small({"max": [70], "lip": [72], "nlp": [72]}))
    (axes,) = draw_tradeoff(results, ["peak_unfused"]).axes
    names = [text.get_text() for text in axes.texts]
    assert names == ["lip", "nlp"]  # which equal each other
    (panel,) = draw_differences(results).axes
    assert [line.get_xdata()[0] for line in panel.lines] == [0, 2, 2]


def test_no_two_pools_look_the_same(results):
    (legend,) = draw_tradeoff(results, panels="strides").legends
    styles = {(line.get_color(), line.get_marker()) for line in legend.legend_handles}
    assert len(styles) == len(POOLS) + 1  # and the front


def test_the_differences_are_drawn_with_their_intervals(results):
    figure = draw_differences(results)
    assert [axes.get_title() for axes in figure.axes] == list(STRIDES)
    for axes, strides in zip(figure.axes, STRIDES, strict=True):
        drawn = {
            tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2
        }
        for row in summaries(results, where=dict(strides=strides)):
            if row.difference:
                assert (row.difference.low, row.difference.high) in drawn
