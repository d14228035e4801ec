import csv
import io
import json
from html import unescape

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tdro.cli import app
from tdro.errors import InputError
from tdro.evaluation.comparison import comparison_rows, render_comparison
from tdro.report.comparison import headline, read_comparison, write_comparison
from tests.report.conftest import HOSTILE, PLAIN, make_comparison

RETRIEVERS = ("uniform", "learned <b>", "a|b, c")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "found"
    return make_comparison(folder, RETRIEVERS, (*HOSTILE[:3], *PLAIN[:3]))


def test_what_is_clear_is_said_first_and_nothing_else(comparison):
    sentences = headline(read_comparison(comparison))
    assert len(sentences) == 3
    assert all("above “uniform” in nDCG@10: “learned <b>” (+0." in one for one in sentences)


def test_all_tables_hold_every_retriever_once_a_group_and_metric(comparison):
    write_comparison(comparison)
    with (comparison / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Three groups, two metrics; the baseline is not set against itself with fewer rows.
    assert len(rows) == 3 * 2 * (3 + 3)
    with (comparison / "benchmarks.csv").open() as file:
        header, *lines = csv.reader(file)
    assert len(header) == 3 + 6
    assert len(lines) == 2 * (6 + 3)
    with (comparison / "costs.csv").open() as file:
        costs = {line["retriever"]: line for line in csv.DictReader(file)}
    assert float(costs["a|b, c@0.5"]["training_rows"]) == 500
    assert "a&#124;b, c@0.5" in (comparison / "comparison.md").read_text()


def test_a_group_without_the_first_metric_is_told_by_its_own(tmp_path):
    folder = make_comparison(tmp_path / "found", RETRIEVERS, PLAIN[:3])
    table = pq.read_table(folder / "scores.parquet")
    answered = pc.equal(table["group"], "external")
    ndcg, nothing = table["nDCG@10"], pa.scalar(None, pa.float64())
    table = table.set_column(
        table.column_names.index("nDCG@10"), "nDCG@10", pc.if_else(answered, nothing, ndcg)
    ).append_column("Acc@20", pc.if_else(answered, ndcg, nothing))
    pq.write_table(table.drop_columns(["R@100"]), folder / "scores.parquet")
    found, page = write_comparison(folder)
    assert found.metrics == {"holdout": "nDCG@10", "unseen": "nDCG@10", "external": "Acc@20"}
    (told,) = [one for one in headline(found) if "Acc@20" in one]
    assert "clearly above “uniform” in Acc@20: “learned <b>” (+0." in told
    text = (folder / "comparison.md").read_text()
    assert text.count("| external | Acc@20 |") > 2
    assert "external, Acc@20" in page.read_text()
    drawn = Console(width=120, file=io.StringIO())
    drawn.print(render_comparison(comparison_rows(found.everything), found.metrics))
    assert "external, Acc@20" in drawn.file.getvalue()


def test_names_are_escaped_in_the_page(comparison):
    _, path = write_comparison(comparison)
    text = path.read_text()
    body = text[: text.index('<script type="application/json"')]
    assert "<script>alert" not in body
    assert "learned <b>" not in body
    assert "learned <b>" in unescape(body)


def test_the_legend_names_every_line_with_its_colour_and_dash(tmp_path):
    names = ("uniform", *(f"mixture-{number}" for number in range(11)))
    folder = make_comparison(tmp_path / "many", names, PLAIN[:3], seeds=1)
    text = write_comparison(folder)[1].read_text()
    legend = text[text.index('<ul class="legend">') :].partition("</ul>")[0]
    assert legend.count("<li>") == len(names)
    data = text[text.index('<script type="application/json" id="figures">') :]
    figure = json.loads(data.partition(">")[2].partition("</script>")[0])["curve-holdout"]
    for name, line, entry in zip(names, figure["data"], legend.split("<li>")[1:], strict=True):
        assert entry.strip().removesuffix("</li>").endswith(name)
        assert line["line"]["color"] in entry
        assert ("stroke-dasharray" in entry) == (line["line"]["dash"] == "dash")


def test_small_probabilities_are_printed_as_in_the_terminal(tmp_path):
    folder = make_comparison(tmp_path / "two", RETRIEVERS[:2], PLAIN[:3])
    text = write_comparison(folder)[1].read_text()
    assert "<td>&lt;0.001</td>" in text
    assert "<td>0.000</td>" not in text
    assert "| &#60;0.001 |" in (folder / "comparison.md").read_text()


def test_warnings_are_counted_and_listed(comparison):
    (comparison / "warnings.json").write_text('["first <b>", "second"]')
    text = write_comparison(comparison)[1].read_text()
    (comparison / "warnings.json").unlink()
    assert "<summary>2 warnings</summary>" in text
    assert "<li>first &lt;b&gt;</li>" in text
    assert "warning</summary>" not in write_comparison(comparison)[1].read_text()


def test_the_report_command_writes_it_again(comparison, capsys):
    path = comparison / "report.html"
    path.unlink(missing_ok=True)
    app(["report", str(comparison)], standalone_mode=False)
    assert path.is_file()


def test_a_folder_without_a_comparison_is_said_to_be_one(tmp_path):
    with pytest.raises(InputError, match="holds no comparison"):
        read_comparison(tmp_path)
