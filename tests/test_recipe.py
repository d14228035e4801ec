import inspect
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tdro.errors import InputError
from tdro.recipe import Recipe
from tdro.recipe_file import load_recipe
from tdro.settings import LearningSettings, LoraSettings


@pytest.fixture
def recipe(task_folder, tiny_llm, tmp_path):
    """Writes a recipe, its keys changed or added as given, and returns its path."""

    def write(**changes):
        content = {
            "tasks": {"folder": str(task_folder)},
            "model": {"name_or_path": str(tiny_llm), "layers": 3, "max_query_length": 16},
            "proxy": {"layers": 2},
            "reference": {"steps": 5, "temperature": 0.05, "learning_rate": 0.001},
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_the_proxy_differs_from_the_model_only_in_what_is_said(recipe):
    found = load_recipe(recipe())
    assert (found.proxy.layers, found.proxy.max_query_length) == (2, 16)
    assert found.proxy.name_or_path == found.model.name_or_path


def test_learning_takes_rate_and_temperature_from_the_reference(recipe):
    found = load_recipe(recipe(learning={"temperature": 0.002}))
    assert (found.learning.learning_rate, found.learning.temperature) == (0.001, 0.002)


def test_values_are_overridden_by_dotted_keys(recipe):
    found = load_recipe(
        recipe(), ["learning.steps=7", "retrievers=[uniform, ema]", "proxy.layers=1", "seed=3"]
    )
    assert (found.learning.steps, found.proxy.layers, found.seed) == (7, 1, 3)
    assert found.retrievers == ("uniform", "ema")


def test_the_resolved_recipe_is_a_recipe_and_gives_the_same(recipe, tmp_path, monkeypatch):
    found = load_recipe(recipe())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "recipe.yaml").write_text(found.to_yaml())
    monkeypatch.chdir(elsewhere)
    assert load_recipe(elsewhere / "recipe.yaml") == found


def test_paths_start_from_the_recipe(recipe, task_folder, tmp_path, monkeypatch):
    (tmp_path / "mine.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    monkeypatch.chdir("/")
    found = load_recipe(recipe(tasks=[{"name": "mine", "path": "mine.jsonl"}]))
    assert found.tasks[0].path == tmp_path / "mine.jsonl"
    assert found.task_sources()[0].name == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"traning": {}}, ["'traning'", "'training'"]),
        ({"learning": {"step": 3}}, ["'learning.step'", "value 3", "'steps'"]),
        ({"model": {"name": "x"}}, ["'model.", "name_or_path"]),
        (
            {"model": {"name_or_path": "m", "kind": "static"}, "training": {"mini_batch_size": 4}},
            ["training.mini_batch_size", "'static'", "no layers"],
        ),
        ({"training": {"save_adapter": True}}, ["'save_adapter' is only read when 'lora' is set"]),
        ({"proxy": {"dimensions": 8}}, ["'dimensions' is only read by kind: static"]),
        (
            {"learning": {"method": "regression"}, "retrievers": ["uniform", "ema"]},
            ["'ema' asks for a mixture that regression does not leave"],
        ),
        ({"training": {"lora": {"ranks": 4}}}, ["'training.lora.ranks'", "'rank'"]),
        ({"learning": {"steps": 0}}, ["'learning.steps'", "0", "greater than 0"]),
        ({"learning": {"method": "tdr"}}, ["'learning.method'", "'tdr'", "nearest is 'tdro'."]),
        (
            {"learning": {"method": "regression", "steps": 3}},
            ["see the section 'regression' and write learning: {method: regression} alone"],
        ),
        ({"tasks": "data"}, ["'tasks' is 'data': write tasks: {folder: data}."]),
        (
            {"tasks": "data/a.jsonl.gz"},
            ["write tasks: [{name: a, path: data/a.jsonl.gz}]."],
        ),
        ({"tasks": ["a.jsonl"]}, ["'tasks.0' is 'a.jsonl': write {name: a, path: a.jsonl}."]),
        ({"model": "some/llm"}, ["'model' is 'some/llm': write model: {name_or_path: some/llm}."]),
        ({"proxy": "llm"}, ["'proxy' is 'llm': write proxy: {name_or_path: llm}."]),
        (
            {"learning_rate": 0.1},
            ["unknown here", "'reference.learning_rate', 'learning.l", "or 'training.learning_rat"],
        ),
        ({"pooling": "cls"}, ["'model.pooling' or 'proxy.pooling'"]),
        ({"shorter": 0.1}, ["it is a key of a section, 'curve.shorter'."]),
        ({"training": {"warmup": "long"}}, ["'training.warmup'", "'long'"]),
        ({"retrievers": ["unifrom"]}, ["'unifrom'", "'uniform'"]),
        ({"retrievers": ["top-7"]}, ["'top-7'"]),
        ({"retrievers": ["top-0.0"]}, ["'top-0.0'"]),
        ({"learning": {"method": ["tdro", "doremi"]}}, ["'learning.method'", "'tdro'"]),
        ({"retrievers": ["last", "last"]}, ["two retrievers are called 'last'"]),
        ({"tasks": {"folder": "nowhere"}}, ["'tasks.folder'", "'nowhere'"]),
        ({"tasks": {"foldr": "."}}, ["'tasks.foldr'", "'folder'"]),
        ({"tasks": [{"name": "a", "path": "gone.jsonl"}]}, ["'tasks.0.path'", "'gone.jsonl'"]),
        ({"tasks": [{"name": "a", "pth": "x"}]}, ["'tasks.0.p", "path"]),
        (
            {"tasks": [{"name": "a", "path": "x", "dataset": "o/d"}]},
            ["'tasks.0'", "'path' and 'dataset' are both given"],
        ),
        ({"tasks": [{"name": "a"}]}, ["'tasks.0'", "give a 'path', or a 'dataset'"]),
        (
            {"tasks": [{"name": "a", "dataset": "o/d", "filter": {"min_query_word": 2}}]},
            ["'tasks.0.filter.min_query_word'", "value 2", "'min_query_words'"],
        ),
        (
            {"tasks": [{"name": "a", "dataset": "o/d", "columns": {"qery": "q", "positive": "p"}}]},
            ["'tasks.0.columns.qery'", "'query'"],
        ),
        (
            {"tasks": [{"name": "a", "dataset": "o/d", "max_rows": 0}]},
            ["'tasks.0.max_rows'", "0"],
        ),
        ({"benchmarks": ["gone"]}, ["'benchmarks.0.path'", "'gone'"]),
        ({"model": {"name_or_path": "gone.gguf"}}, ["'model.name_or_path'", "gone.gguf"]),
    ],
)
def test_a_mistake_is_one_sentence_with_key_value_and_remedy(recipe, changes, words):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe(**changes))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "recipe.yaml" in sentence
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ("tdro/top-0.7", "tdro/top-.70", "tdro/top-0.7"),
        ("tdro/top-1.0", {"method": "tdro", "top": 1}, "tdro/top-1"),
        ("temperature-.50", {"temperature": 0.5}, "temperature-0.5"),
        ("temperature-10", "temperature-10.0", "temperature-10"),
        ("temperature-2.0/top-.5", "temperature-2/top-0.50", "temperature-2/top-0.5"),
    ],
)
def test_a_number_of_a_mixture_has_one_spelling(recipe, one, other, named):
    found = load_recipe(recipe(compare={"mixtures": ["uniform", one]}))
    assert found.compare.mixtures == ("uniform", named)
    assert load_recipe(recipe(compare={"mixtures": [other]})).compare == found.compare
    with pytest.raises(InputError, match=f"'{named}' is named twice"):
        load_recipe(recipe(compare={"mixtures": [one, other]}))


def test_a_number_of_a_retriever_has_one_spelling(recipe):
    written = ["top-.70", "temperature-1.0", "helped"]
    found = load_recipe(recipe(retrievers=written, learning={"method": "learning-curve"}))
    assert found.retrievers == ("top-0.7", "temperature-1", "helped")
    with pytest.raises(InputError, match=r"two retrievers are called 'top-0\.7'"):
        load_recipe(recipe(retrievers=["top-0.7", "top-.7"]))


def test_a_mixture_file_is_called_by_its_stem(recipe, tmp_path):
    for place in ("one", "other"):
        extending(tmp_path / place, "last.json", "{}")
    for names in (["last", "one/last.json"], ["one/last.json", "other/last.json"]):
        with pytest.raises(InputError, match="two retrievers are called 'last'"):
            load_recipe(recipe(retrievers=names))


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml"):
        load_recipe(path)


def test_a_key_that_is_written_twice_is_told_with_both_lines(recipe):
    path = recipe()
    path.write_text("learning: {steps: 5}\n" + path.read_text() + "learning:\n  eta: 0.1\n")
    last = path.read_text().splitlines().index("learning:") + 1
    with pytest.raises(InputError) as told:
        load_recipe(path)
    assert f"recipe.yaml:{last}: " in str(told.value)
    assert "the key 'learning' is there already, in line 1" in str(told.value)
    with pytest.raises(InputError, match=r"--set learning: .*the key 'steps' is there already"):
        load_recipe(recipe(), ["learning={steps: 5, 'steps': 6}"])


def test_aliases_and_merge_keys_work_as_ever(recipe):
    path = recipe()
    path.write_text(
        path.read_text()
        + "training: &one {<<: {steps: 3}, steps: 4, batch_size: 6}\n"
        + "learning: {<<: [*one, {negatives: 2, steps: 9}], batch_size: 8}\n"
    )
    found = load_recipe(path)
    assert (found.training.steps, found.training.batch_size) == (4, 6)
    learning = found.learning
    assert (learning.steps, learning.batch_size, learning.negatives) == (4, 8, 2)


@pytest.mark.parametrize("value", ["2024-13-45", "0x_", "!!int abc", "!!bool maybe"])
def test_what_looks_like_a_date_and_is_none_is_told_to_be_put_in_quotes(recipe, value):
    path = recipe()
    path.write_text(path.read_text() + f"exclude_tasks: [{value}]\n")
    for words in ([], [f"seed={value}"]):
        with pytest.raises(InputError) as told:
            load_recipe(path if not words else recipe(), words)
        assert "\n" not in str(told.value)
        assert "put it in quotes" in str(told.value)
        assert ("--set seed: " if words else "recipe.yaml:") in str(told.value)


@pytest.mark.parametrize("override", ["steps", "=3", "seed.deep=3", "seed=[", "sed=1"])
def test_a_wrong_override_is_one_sentence(recipe, override):
    with pytest.raises(InputError):
        load_recipe(recipe(), [override])


def test_tasks_of_all_kinds_survive_writing(recipe, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.jsonl").write_text("[]")
    far = {"name": "far", "dataset": "org/cats", "config": "en", "split": "dev", "revision": "v1"}
    near = {
        "name": "near",
        "path": "shards",
        "columns": {"query": "q", "positive": "p", "negative": ["n1", "n2"]},
        "filter": {"where": {"lang": ["en", "de"]}, "min_query_words": 2},
        "max_rows": 5,
    }
    found = load_recipe(recipe(tasks=[far, near]))
    sources = found.task_sources()
    assert sources[0].place == "org/cats (en, dev, v1)"
    assert sources[1].path == tmp_path / "shards"
    assert sources[1].filter.allowed == {"lang": ["en", "de"]}
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == found
    assert "null" not in yaml.safe_dump(yaml.safe_load(found.to_yaml())["tasks"])


def test_two_tasks_of_one_name_are_refused(recipe, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    entry = {"name": "mine", "path": "mine.jsonl"}
    with pytest.raises(InputError, match="Two tasks are named 'mine'"):
        load_recipe(recipe(tasks=[entry, entry])).task_sources()


def test_an_override_changes_one_of_two_keys_that_share_a_yaml_alias(recipe):
    shared = {"steps": 5, "temperature": 0.05}
    found = load_recipe(recipe(reference=shared, training=shared), ["training.steps=9"])
    assert (found.reference.steps, found.training.steps) == (5, 9)


@pytest.mark.parametrize(
    ("learning", "sentence"),
    [
        ({"method": "group-dro", "cut": 0.1}, "'cut' is read by tdro-pooled, tdro, tdro-released"),
        ({"tolerance": 0.1}, "'tolerance' is only read when 'patience' is set"),
        ({"batch_size": 10, "accumulation": 4}, "cannot be cut into an accumulation of 4"),
        ({"method": "tdr"}, "'learning.method' is 'tdr': input should be 'tdro-pooled'"),
    ],
)
def test_learning_settings_that_would_not_be_read_are_refused(recipe, learning, sentence):
    with pytest.raises(InputError) as told:
        load_recipe(recipe(learning=learning))
    assert sentence in str(told.value)
    assert "{" not in str(told.value)


def test_methods_bring_their_published_values_and_these_survive_writing(recipe, tmp_path):
    found = load_recipe(recipe(learning={"method": "doremi"}))
    assert (found.learning.eta, found.learning.smoothing, found.learning.cut) == (1.0, 1e-3, None)
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").learning == found.learning


def extending(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_recipe_extends_another_key_by_key(recipe, tmp_path):
    recipe(learning={"steps": 7, "eta": 0.1}, retrievers=["uniform", "learned"])
    above = extending(
        tmp_path / "inner",
        "above.yaml",
        "extends: ../recipe.yaml\nlearning: {eta: 0.5}\nretrievers: [ema]\n",
    )
    found = load_recipe(above, ["learning.batch_size=6"])
    assert (found.learning.steps, found.learning.eta, found.learning.batch_size) == (7, 0.5, 6)
    assert found.retrievers == ("ema",)
    assert found.model == load_recipe(tmp_path / "recipe.yaml").model


def test_null_drops_what_a_recipe_below_says(recipe, tmp_path):
    recipe(learning={"steps": 7, "eta": 0.1})
    above = extending(
        tmp_path / "inner",
        "above.yaml",
        "extends: ../recipe.yaml\nlearning: {method: regression, steps: null, eta: null}\n",
    )
    assert load_recipe(above).learning.method == "regression"
    assert load_recipe(tmp_path / "recipe.yaml", ["learning.steps=null"]).learning.steps == 1000


@pytest.mark.parametrize("way", ["extends", "set"])
def test_another_method_takes_over_what_it_reads(recipe, tmp_path, way):
    values = {"steps": 7, "negatives": 3, "eta": 0.1, "cut": 0.2}
    below = recipe(learning=values)

    def learning(method, **more):
        if way == "set":
            told = [f"learning.{key}={value}" for key, value in more.items()]
            return load_recipe(below, [*told, f"learning.method={method}"]).learning
        text = yaml.safe_dump({"extends": "recipe.yaml", "learning": {"method": method, **more}})
        return load_recipe(extending(tmp_path, "above.yaml", text)).learning

    assert learning("learning-curve").method == "learning-curve"
    released = learning("tdro-released")
    assert (released.steps, released.negatives, released.eta) == (7, 3, 0.1)
    assert released.cut == LearningSettings(method="tdro-released").cut != 0.2
    assert learning("tdro-released", cut=0.3).cut == 0.3
    doremi = learning("doremi")
    assert (doremi.steps, doremi.eta) == (7, LearningSettings(method="doremi").eta)
    assert learning("tdro").cut == 0.2
    # What is said beside the method is not dropped without a word.
    with pytest.raises(InputError, match="'steps' is not read by learning-curve"):
        learning("learning-curve", steps=5)


def test_null_drops_any_key_and_whole_sections(recipe, tmp_path):
    plain = load_recipe(recipe())
    recipe(
        holdout=7,
        learning={"steps": 7},
        training={"steps": 9, "lora": {"rank": 4, "alpha": 8}},
        compare={"budgets": [0.5]},
    )
    text = "holdout: null\nlearning:\ntraining: {steps: null, lora: {alpha: null}}\ncompare: null\n"
    above = extending(tmp_path / "inner", "above.yaml", f"extends: ../recipe.yaml\n{text}")
    found = load_recipe(above)
    assert (found.holdout, found.learning.steps, found.training.steps) == (200, 1000, 1000)
    assert (found.training.lora.rank, found.training.lora.alpha) == (4, 32)
    assert found.compare == plain.compare
    words = ["holdout=null", "learning=null", "learning.eta=0.5", "training=null", "compare=null"]
    found = load_recipe(tmp_path / "recipe.yaml", words)
    assert (found.holdout, found.training) == (200, plain.training)
    assert (found.learning.steps, found.learning.eta) == (1000, 0.5)


def test_null_in_the_proxy_drops_what_the_model_says(recipe):
    found = load_recipe(recipe(proxy={"layers": None, "max_query_length": None}))
    assert (found.model.layers, found.model.max_query_length) == (3, 16)
    assert (found.proxy.layers, found.proxy.max_query_length) == (None, 128)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lerning=null", "'lerning'.* is unknown"),
        ("training.step=null", "'training.step'.* is unknown"),
        ("tasks=null", "'tasks' is missing"),
    ],
)
def test_null_hides_no_mistake(recipe, override, sentence):
    with pytest.raises(InputError, match=sentence):
        load_recipe(recipe(), [override])


def test_where_nothing_means_something_it_is_the_default():
    models = [Recipe]
    for model in models:
        for name, field in model.model_fields.items():
            parts = [field.annotation, *get_args(field.annotation)]
            assert field.default is None or type(None) not in parts, (model, name)
            models += [one for one in parts if inspect.isclass(one) and issubclass(one, BaseModel)]
    assert {LearningSettings, LoraSettings} <= set(models)


def test_paths_start_from_the_recipe_that_names_them(recipe, tmp_path):
    for folder in (tmp_path, tmp_path / "inner"):
        extending(folder, "mine.jsonl", '{"query": "a", "pos": ["b"]}\n')
        extending(folder, "m.json", "{}")
    benchmark = tmp_path / "judged"
    benchmark.mkdir()
    recipe(
        tasks=[{"name": "mine", "path": "mine.jsonl"}],
        benchmarks=["judged", {"path": "judged", "name": "again"}],
        retrievers=["m.json"],
        compare={"mixtures": ["m.json/top-0.5", {"file": "m.json"}]},
    )
    above = extending(tmp_path / "inner", "above.yaml", "extends: ../recipe.yaml\n")
    found = load_recipe(above)
    assert found == load_recipe(tmp_path / "recipe.yaml")
    assert found.tasks[0].path == tmp_path / "mine.jsonl"
    own = extending(
        tmp_path / "inner", "own.yaml", "extends: ../recipe.yaml\nretrievers: [m.json]\n"
    )
    assert load_recipe(own).retrievers == (str(tmp_path / "inner" / "m.json"),)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("extends: second.yaml\n", "extends: first.yaml\n", ["first.yaml -> second.yaml -> first"]),
        ("extends: first.yaml\n", "", ["circle: first.yaml -> first.yaml"]),
        ("extends: gone.yaml\n", "", ["first.yaml: 'extends' is 'gone.yaml', which does not"]),
        ("extends: [second.yaml]\n", "", ["first.yaml: 'extends' is", "one other recipe"]),
        ("extends: second.yaml\n", "- 1\n", ["second.yaml is no mapping"]),
    ],
)
def test_a_wrong_extends_is_one_sentence(tmp_path, first, second, words):
    extending(tmp_path, "second.yaml", second)
    with pytest.raises(InputError) as told:
        load_recipe(extending(tmp_path, "first.yaml", first))
    assert all(word in str(told.value) for word in words), told.value
    assert "\n" not in str(told.value)
