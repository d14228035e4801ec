from functools import partial

import numpy as np
import pytest
import torch

from tdro.encoder import TokenBatch, build_encoder
from tdro.files import WINDOWS
from tdro.plan import Plan, make_plan
from tdro.reference import Share, load_losses, score_plan
from tdro.row_loss import row_chunks, row_losses
from tdro.settings import EncoderSettings


@pytest.fixture(scope="module")
def model(tiny_llm):
    return build_encoder(EncoderSettings(name_or_path=str(tiny_llm), precision="fp32")).eval()


@pytest.fixture
def plan(training_tasks):
    return make_plan(training_tasks, steps=6, batch_size=8, negatives=3, seed=1)


def test_the_row_loss_is_infonce_over_the_rows_own_passages(model):
    queries, passages = ["badle fesin", "goran"], ["badle", "fesin goran", "lan", "tonis"]
    tokens = TokenBatch(model, queries, passages)
    passage_of = np.array([[2, 3, 4], [5, 2, 3]])
    with torch.no_grad():
        found = row_losses(
            model, tokens, np.array([0, 1]), passage_of, temperature=0.1, chunk_tokens=100
        )
    q, p = model.encode_query(queries), model.encode_document(passages)
    for row in range(2):
        logits = q[row] @ p[passage_of[row] - 2].T / 0.1
        wanted = np.log(np.exp(logits).sum()) - logits[0]
        assert found[row].item() == pytest.approx(wanted, abs=1e-4)


def test_chunks_cover_every_row_once_and_are_bounded(model, training_tasks, plan):
    shown = plan.texts([item.task for item in training_tasks], np.arange(48))
    tokens = TokenBatch(model, shown.queries, shown.passages)
    passage_of = shown.passage_of + len(shown.queries)
    chunks = list(row_chunks(tokens, shown.query_of, passage_of, 300))
    assert sorted(np.concatenate(chunks).tolist()) == list(range(48))
    cost = tokens.lengths[shown.query_of] + tokens.lengths[passage_of].sum(axis=1)
    assert len(chunks) > 2
    assert all(cost[chunk].sum() < 300 + cost.max() for chunk in chunks)


def test_a_plan_is_balanced_and_comes_back_the_same(plan, training_tasks, tmp_path):
    per_task = np.bincount(plan.task_of)
    assert per_task.max() - per_task.min() <= 1
    plan.save(tmp_path)
    again = Plan.load(tmp_path)
    for name in ("task_of", "row_of", "passages"):
        np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))
    assert (again.tasks, again.steps, again.seed) == (plan.tasks, plan.steps, plan.seed)


def test_planned_texts_are_the_rows_own_and_prompted(plan, training_tasks):
    tasks = [item.task for item in training_tasks]
    places = np.array([5, 0, 17])
    shown = plan.texts(tasks, places)
    for at, place in enumerate(places):
        task = tasks[plan.task_of[place]]
        query = task.queries[int(plan.row_of[place])]["text"]
        prompt = f"Instruct: {task.instruction}\nQuery: "
        assert shown.queries[shown.query_of[at]] == prompt + query
        wanted = [task.passages[int(number)]["text"] for number in plan.passages[place]]
        assert [shown.passages[number] for number in shown.passage_of[at]] == wanted


class StopError(Exception):
    pass


def test_reference_losses_go_on_from_finished_windows(
    plan, training_tasks, model, tmp_path, monkeypatch
):
    monkeypatch.setattr("tdro.reference.WINDOW", 10)
    tasks = [item.task for item in training_tasks]
    options = {"temperature": 0.05, "chunk_tokens": 500, "precision": "fp32"}
    score = partial(score_plan, [Share(model, np.arange(len(plan.task_of)))], plan, tasks)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    told = []
    tokens = score(whole, tick=lambda *args: told.append(args), **options)
    assert told[-1][:2] == (48, 48)

    def stop(done, total, loss):
        if done == 30:
            raise StopError

    with pytest.raises(StopError):
        score(broken, tick=stop, **options)
    again = []
    resumed = score(broken, tick=lambda *args: again.append(args), **options)
    assert len(again) == 2
    assert resumed == tokens > 0
    np.testing.assert_array_equal(load_losses(whole), load_losses(broken))
    assert len(list(broken.glob(f"{WINDOWS}.parquet"))) == 5
    assert not list(broken.glob("*.partial"))

    # Killed later, as while other rows are scored.
    assert score(broken, tick=lambda *args: again.append(args), **options) == tokens
    assert len(again) == 2
