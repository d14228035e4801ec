import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.errors import InputError
from tdro.report.record import load_run
from tdro.report.series import task_losses, weight_lines
from tests.report.conftest import BY_TASK, HOSTILE, PLAIN, RETRIEVERS, keep


def test_everything_is_read(run_directory):
    record = load_run(run_directory)
    assert record.name == "run <b>1"
    assert record.recipe.startswith("tasks:")
    assert list(record.mixtures) == ["last", "mean", "ema"]
    assert record.mixture is record.mixtures["last"]
    assert set(record.mixture.weights) == {*HOSTILE, *PLAIN}
    assert record.trajectory.num_rows == 60 * 12
    assert record.reference_by_task.column("task").to_pylist() == [*HOSTILE, *PLAIN]
    assert tuple(sampling.retriever for sampling in record.samplings) == RETRIEVERS
    assert sum(record.samplings[0].batches.values()) == 996
    assert record.scores.num_rows == 5 * 3 * 5
    assert [stage.finished for stage in record.stages] == sorted(
        stage.finished for stage in record.stages
    )
    assert len(record.stages) == 5


@pytest.mark.parametrize("kept", ["last", "mean", "ema"])
def test_the_kept_mixture_is_the_mixture(run_directory, kept):
    keep(run_directory, kept)
    record = load_run(run_directory)
    assert record.mixture_names == [kept, *(name for name in record.mixtures if name != kept)]
    assert record.mixture is record.mixtures[kept]


def test_without_a_kept_mixture_the_last_one_is_the_mixture(run_directory):
    for path in run_directory.glob("mixture/*.json"):
        mixture = json.loads(path.read_text())
        mixture.pop("kept", None)
        path.write_text(json.dumps(mixture))
    assert load_run(run_directory).mixture_names == ["last", "mean", "ema"]
    (run_directory / "mixture/last.json").unlink()
    assert load_run(run_directory).mixture_names == ["mean", "ema"]


def test_reference_losses_by_task_may_be_missing_but_not_lack_a_column(run_directory):
    path = run_directory / BY_TASK
    pq.write_table(pq.read_table(path).drop_columns(["unseen_loss"]), path)
    with pytest.raises(InputError, match=r"by_task\.parquet lacks the column 'unseen_loss'"):
        load_run(run_directory)
    path.unlink()
    assert load_run(run_directory).reference_by_task is None


def test_manifests_of_hidden_and_deep_folders_are_left_out(run_directory):
    for folder in (".mixture.stale", "a/b/c"):
        (run_directory / folder).mkdir(parents=True)
        (run_directory / folder / "manifest.json").write_text('{"stage": "x", "seconds": 1}')
    (run_directory / "manifest.json").write_text('{"stage": "top", "seconds": 1}')
    names = [stage.name for stage in load_run(run_directory).stages]
    assert "x" not in names
    assert "top" in names


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run directory"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="is not a run directory"):
        load_run(tmp_path / "none")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("mixture/last.json", "{", r"last\.json is not valid JSON"),
        ("mixture/last.json", "[]", r"last\.json must be a JSON object .*'domain_weights'"),
        ("mixture/ema.json", '{"domain_weights": {"a": "x"}}', r"ema\.json: .*'domain_weights'"),
        (
            "mixture/mean.json",
            '{"domain_weights": {"a": 1.0}, "size": {"a": 0.5}}',
            r"mean\.json: .*'size'",
        ),
        ("retrievers/r0/sampling.json", "{}", r"sampling\.json must .*'retriever'"),
        (BY_TASK, "PAR1", r"by_task\.parquet is not a whole Parquet file"),
        ("warnings.json", '{"a": 1}', r"warnings\.json must be a JSON list of texts"),
        ("scores.parquet", "PAR1", r"scores\.parquet is not a whole Parquet file"),
        ("mixture/manifest.json", "{}", r"manifest\.json must .*'stage'"),
        ("mixture/manifest.json", '{"stage": "a", "seconds": "1"}', r"manifest\.json: .*'seconds'"),
    ],
)
def test_broken_files_are_named(run_directory, file, content, message):
    (run_directory / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load_run(run_directory)


def test_uneven_sampling_and_missing_column(run_directory):
    path = run_directory / "retrievers/r0/sampling.json"
    sampling = json.loads(path.read_text())
    path.write_text(json.dumps({**sampling, "batches": [1]}))
    with pytest.raises(InputError, match="must be equally long"):
        load_run(run_directory)
    path.unlink()
    pq.write_table(pa.table({"retriever": ["a"]}), run_directory / "scores.parquet")
    with pytest.raises(InputError, match="lacks the column 'benchmark'"):
        load_run(run_directory)


def trajectory(steps, values):
    """A table of two tasks; the second is absent in every odd step."""
    lines = [
        {
            "step": step,
            "task": task,
            "weight": 0.25 if task == "a" else 0.75,
            "proxy_loss": None if task == "b" and step % 2 else float(values[step]),
            "reference_loss": None if task == "b" else 1.0,
        }
        for step in range(steps)
        for task in ("a", "b")
    ]
    return pa.Table.from_pylist(lines)


def test_losses_are_averaged_over_thirds_without_absent_tasks():
    losses = {loss.task: loss for loss in task_losses(trajectory(6, [6, 4, 9, 9, 2, 1]))}
    assert (losses["a"].proxy_first, losses["a"].proxy_last) == (5.0, 1.5)
    assert (losses["b"].proxy_first, losses["b"].proxy_last) == (6.0, 2.0)
    assert losses["a"].change == -3.5
    assert losses["a"].reference_last == 1.0
    assert losses["b"].reference_last != losses["b"].reference_last, "never there: NaN"


def test_weight_lines_keep_both_ends_and_sort_by_final_weight():
    lines = weight_lines(trajectory(1000, range(1000)))
    assert list(lines.weights) == ["b", "a"]
    assert len(lines.steps) == 200
    assert (lines.steps[0], lines.steps[-1]) == (0, 999)
    assert weight_lines(trajectory(1, [1])).steps.tolist() == [0]
