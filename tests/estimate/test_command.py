import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tdro.errors import InputError
from tdro.estimate.command import estimate, prepared_at
from tdro.estimate.comparison import estimate_comparison
from tdro.estimate.mend import bytes_of
from tdro.estimate.render import Device
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.run.context import prepare_tasks
from tdro.stages import RunDirectory

TRAINING = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3}


@pytest.fixture
def recipe(task_folder, tiny_llm, tmp_path):
    """Writes a recipe, its keys changed or added as given, and returns its path."""

    def write(**changes):
        content = {
            "tasks": {"folder": str(task_folder)},
            "holdout": 10,
            "model": {"name_or_path": str(tiny_llm), "precision": "fp32"},
            "proxy": {"layers": 2},
            "reference": TRAINING,
            "learning": {"steps": 3, "batch_size": 8, "negatives": 2},
            "training": TRAINING,
            "retrievers": ["uniform", "learned"],
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def stages(path, *overrides, device=None):
    found = estimate(load_recipe(path, overrides), device or Device())
    return {one.stage.label: one for one in found.stages}


def test_every_stage_is_told_and_nothing_is_written(tdro, recipe, tmp_path):
    path = recipe()
    before = sorted(tmp_path.rglob("*"))
    asked = ("estimate", path, "-o", tmp_path / "out", "--memory", "1GB", "--throughput", "100")
    code, shown, _ = tdro(*asked)
    assert code == 0
    for label in ("4 tasks", "proxy encoder", "reference losses", "mixture", "scores of uniform"):
        assert label in shown
    assert "hours at 100 TFLOPS" in shown.replace("\n", " ")
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert sorted(tmp_path.rglob("*")) == before


def test_the_figures_are_written_as_json(tdro, recipe, tmp_path):
    path = recipe()
    asked = ("estimate", path, "-o", tmp_path / "out", "--json", tmp_path / "told.json")
    assert tdro(*asked, "--throughput", "0.001", "--devices", "2")[0] == 0
    found = {
        one["place"]: one for one in json.loads((tmp_path / "told.json").read_text())["stages"]
    }
    reference = found["reference"]
    # Three steps of 8 rows, a quarter of them of a task with six.
    assert reference["rows"] == 22
    assert reference["memory"]["optimizer"] == 2 * 4 * reference["trained_parameters"]
    total = sum(reference[f"flops{part}"] for part in ("", "_of_padding", "_of_attention"))
    assert reference["hours"] == pytest.approx(total / (2 * 1e9) / 3600)


def test_a_comparison_is_told_seed_by_seed_and_nothing_is_written(tdro, recipe, tmp_path):
    mixtures = ["uniform", "uniform-longer", "tdro", "tdro/top-0.7", "learning-curve", "soup"]
    path = recipe(compare={"mixtures": mixtures, "seeds": 4, "budgets": [0.5]})
    before = sorted(tmp_path.rglob("*"))
    told = tmp_path / "told.json"
    asked = ("estimate", path, "--compare", "-o", tmp_path / "out", "--throughput", "1e-6")
    code, shown, _ = tdro(*asked, "--json", told)
    assert code == 0
    shown = shown.replace("\n", " ")
    assert "One of 4 seeds is shown." in shown
    content = json.loads(told.read_text())
    assert content["seeds"] == 4
    found = {one["place"]: one for one in content["stages"]}
    hours = 4 * sum(one["hours"] for one in found.values())
    assert f"Computing takes {hours:,.3g} hours at 1e-06 TFLOPS" in shown
    half, whole = found["retrievers/tdro%400.5"], found["retrievers/tdro"]
    assert half["rows"] == pytest.approx(2 / 3 * whole["rows"], abs=1)
    assert {"experts/tiny", "runs/soup", "mixtures/learning-curve"} <= set(found)
    assert not {"merging/search", "mixtures/merge-search", "retrievers/soup"} & set(found)
    # What learning costs is spent on more steps.
    learned = sum(found[place]["flops"] for place in ("reference", "reference_losses"))
    learned += found["mixtures/tdro"]["flops"]
    uniform = found["retrievers/uniform"]["flops"]
    longer = found["retrievers/uniform-longer"]["flops"]
    assert longer == pytest.approx(uniform + learned, abs=uniform / TRAINING["steps"] / 2)
    told.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def told_of(path, *overrides, device=None):
    found = estimate_comparison(load_recipe(path, overrides), device or Device())
    return {one.stage.place: one for one in found.stages}, found


def test_a_longer_training_is_bought_with_all_that_its_method_takes(recipe):
    merging = {"start_steps": 2, "steps": 2, "samples": 4, "confirm": 2, "development": 4}
    mixtures = ["uniform", "uniform-longer", "merge-search"]
    path = recipe(
        learning={"method": "merge-search"}, merging=merging, compare={"mixtures": mixtures}
    )
    found, _ = told_of(path)
    assert sum(place.startswith("experts/") for place in found) == 4
    learning = [
        one for place, one in found.items() if place.split("/")[0] not in ("retrievers", "runs")
    ]
    uniform, longer = found["retrievers/uniform"], found["retrievers/uniform-longer"]
    bought = sum(one.work.weights for one in learning) / uniform.work.weights * TRAINING["steps"]
    assert longer.stage.settings.steps == TRAINING["steps"] + round(bought)
    # Activations that are computed again are not bought for, as `tdro compare` does not count them.
    recomputed, _ = told_of(path, "training.gradient_checkpointing=true")
    settings = recomputed["retrievers/uniform-longer"].stage.settings
    assert settings.steps == longer.stage.settings.steps


def test_known_selections_are_counted_and_files_have_any_name(recipe, tmp_path):
    Mixture({"alpha": 0.9, "tiny": 0.1}).save(tmp_path / "uniform-longer.json")
    mixtures = ["uniform-longer.json", "uniform-longer.json/top-0.5", "proportional/top-0.25"]
    found, told = told_of(recipe(compare={"mixtures": mixtures}))
    alpha = found["retrievers/proportional%2Ftop-0.25"]
    assert alpha.rows == found["retrievers/uniform-longer%2Ftop-0.5"].rows == 3 * 8
    assert found["retrievers/uniform"].rows < found["retrievers/uniform-longer"].rows < 3 * 8
    assert not any("not learned yet" in note for note in told.notes)


def test_a_stage_of_another_method_that_does_not_fit_is_told_how_to_fit(recipe):
    path = recipe(compare={"mixtures": ["tdro", "learning-curve"]})
    curve = told_of(path)[0]["curve/longer"]
    _, told = told_of(path, device=Device(memory=curve.memory.peak - 1))
    assert curve.stage.label in told.misfits


def test_fewer_layers_take_less_of_everything(recipe):
    found = stages(recipe())
    proxy, model = found["reference"], found["retriever uniform"]
    assert proxy.parameters < model.parameters
    assert proxy.memory.peak < model.memory.peak
    assert proxy.work.total < model.work.total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "less"),
    [
        ("reference.gradient_checkpointing=true", True),
        ("reference.mini_batch_size=2", True),
        ("reference.lora={rank: 2}", True),
        ("reference.batch_size=4", True),
        ("model.max_passage_length=8", True),
        ("reference.batch_size=16", False),
        ("reference.negatives=3", False),
    ],
)
def test_the_options_of_a_training_move_its_memory(recipe, override, less):
    # A larger model, since of four tiny layers the weights are most.
    path = recipe(proxy={}, reference={**TRAINING, "batch_size": 8})
    before = stages(path)["reference"].memory.peak
    after = stages(path, override)["reference"].memory.peak
    assert (after < before) is less
    assert after != before


@pytest.mark.slow
def test_the_options_of_learning_move_its_memory(recipe):
    path = recipe(learning={"steps": 3, "batch_size": 24, "negatives": 3, "chunk_tokens": 1024})
    found = stages(path)["mixture"].memory
    for override in (
        *("learning.chunk_tokens=256", "learning.gradient_checkpointing=true"),
        "learning.lora={rank: 2}",
    ):
        assert stages(path, override)["mixture"].memory.peak < found.peak
    # A bound that is not reached changes nothing.
    loose = stages(path, "learning.chunk_tokens=100000")["mixture"].memory
    assert loose == stages(path, "learning.chunk_tokens=200000")["mixture"].memory


@pytest.mark.slow
def test_bf16_halves_what_forward_passes_keep_but_not_the_weights(recipe):
    # Enough text that weight copies are small beside it.
    path = recipe(reference={**TRAINING, "batch_size": 64, "negatives": 3})
    fp32 = stages(path)["reference"].memory
    bf16 = stages(path, "model.precision=bf16")["reference"].memory
    assert (bf16.parameters, bf16.optimizer) == (fp32.parameters, fp32.optimizer)
    assert 0.4 < bf16.activations / fp32.activations < 0.9


@pytest.mark.slow
def test_devices_share_rows_and_each_holds_all_of_a_model(recipe):
    path = recipe(reference={**TRAINING, "batch_size": 16}, exclude_tasks=["tiny"])
    one = stages(path)["reference"]
    two = stages(path, device=Device(2))["reference"]
    assert two.memory.activations < one.memory.activations
    assert two.memory.parameters == one.memory.parameters
    # Gradients are exchanged in buffers of their size.
    assert two.memory.gradients == 2 * one.memory.gradients
    assert two.work == one.work


@pytest.mark.slow
def test_recomputing_costs_a_third_more(recipe):
    path = recipe()
    plain = stages(path)["reference"].work
    again = stages(path, "reference.gradient_checkpointing=true")["reference"].work
    assert again.weights == pytest.approx(plain.weights * 8 / 6)
    twice = stages(path, "reference.gradient_checkpointing=true", "reference.mini_batch_size=4")[
        "reference"
    ].work
    assert twice.weights == pytest.approx(plain.weights * 10 / 6)


@pytest.mark.slow
def test_a_stage_that_does_not_fit_is_told_how_to_fit(recipe):
    path = recipe(proxy={}, reference={**TRAINING, "batch_size": 64, "negatives": 3})
    peak = stages(path)["reference"].memory.peak
    device = Device(memory=peak // 2)
    found = estimate(load_recipe(path), device)
    words = found.misfits["reference"]
    assert words == "set reference.gradient_checkpointing to true"
    mended = stages(path, "reference.gradient_checkpointing=true", device=device)["reference"]
    assert device.fits(mended) in ("yes", "perhaps")
    hopeless = estimate(load_recipe(path), Device(memory=1000)).misfits["reference"]
    assert "FSDP2" in hopeless


def test_a_static_model_is_estimated(recipe, tiny_llm):
    model = {"name_or_path": str(tiny_llm), "kind": "static"}
    found = stages(recipe(model=model, proxy={}))["reference"]
    table = found.parameters * 4
    # Of the table there are a gradient for queries and one for passages before they are added.
    assert 5 * table <= found.memory.peak < 6.5 * table
    assert found.work.padding == found.work.attention == 0


def test_a_model_that_cannot_be_read_is_one_sentence(tdro, recipe, tmp_path):
    path = recipe(model={"name_or_path": "nobody/nothing"}, proxy={})
    code, _, said = tdro("estimate", path, "-o", tmp_path / "out")
    assert code == 2
    assert said.startswith("tdro: The model 'nobody/nothing' cannot be loaded")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--memory", "much"), "--memory takes a size"),
        (("--memory", "0GB"), "above zero"),
        (("--throughput", "0"), "--throughput takes TFLOPS above zero"),
    ],
)
def test_a_wrong_size_is_one_sentence(tdro, recipe, words, sentence):
    code, _, said = tdro("estimate", recipe(), *words)
    assert code == 2
    assert sentence in said


@given(st.floats(0.001, 1e6), st.sampled_from([("GB", 10**9), ("GiB", 2**30), ("mb", 10**6)]))
def test_sizes_are_read_with_their_units(number, unit):
    assert bytes_of(f"{number} {unit[0]}") == pytest.approx(number * unit[1], abs=1)


def test_a_number_without_a_unit_is_refused():
    assert bytes_of("512 B") == 512
    for text in ("80", " 0.5 "):
        with pytest.raises(InputError, match=f"takes a unit: {text.strip()}GB"):
            bytes_of(text)
    with pytest.raises(InputError):
        bytes_of("GB")


def test_a_task_prepared_for_another_recipe_is_not_counted(recipe, tmp_path):
    path, root = recipe(), tmp_path / "run"
    prepare_tasks(load_recipe(path), RunDirectory(root, Console(quiet=True)))
    sources = {source.name: source for source in load_recipe(path).task_sources()}
    assert prepared_at(load_recipe(path), root, sources["alpha"]) == root / "tasks" / "alpha"
    fewer = load_recipe(path, ["max_rows=10"])
    assert prepared_at(fewer, root, sources["alpha"]) is None
    other = replace(sources["alpha"], path=sources["beta"].path)
    assert prepared_at(load_recipe(path), root, other) is None
    gone = replace(sources["alpha"], path=tmp_path / "gone.jsonl")
    assert prepared_at(load_recipe(path), root, gone) is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [("learned", True), ("top-0.7", True), ("helped", True), ("proportional", False)],
)
def test_a_mixture_that_is_not_learned_yet_is_told_to_count_as_uniform(recipe, asked, told):
    path = recipe(learning={"method": "learning-curve"}, retrievers=["uniform", asked])
    notes = estimate(load_recipe(path), Device()).notes
    assert any("not learned yet counts as uniform" in note for note in notes) == told
