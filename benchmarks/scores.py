"""Our scores against independent implementations: nDCG@10 by three tools, BM25 by its tokeniser.

nDCG@10 of one fixed model, the static embeddings of a GGUF file, on four benchmarks: by tdro, by
sentence-transformers' InformationRetrievalEvaluator and by mteb, from the same texts. mteb's result
files have five decimals; here the mean is taken of what it scored for each query.

BM25 on SciFact, as tdro mines negatives, against the 0.665 that BEIR published, and with BEIR's
parameters, stop words and stemmer put in one by one.
"""

import argparse
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import datasets
import mteb
import numpy as np
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from tdro.encoder import build_encoder
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.loaders.find import find_sources
from tdro.evaluation.scores import score
from tdro.evaluation.search import search
from tdro.settings import EncoderSettings
from tdro.tasks.negatives import RANKING, TOKENISING

PUBLISHED = 0.665
METRIC = "nDCG@10"
ANSERINI = {"method": "lucene", "k1": 0.9, "b": 0.4}
# Lucene's English analyzer; bm25s has the list under the name "english".
STOPPED = {**TOKENISING, "stopwords": "english"}

Tool = Callable[[SentenceTransformer, Benchmark], float]


def main() -> None:
    """Scores everything and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    root = Path(__file__).parents[1]
    parser.add_argument("model", type=Path, help="a GGUF file, such as the demo's")
    parser.add_argument(
        "benchmarks", type=Path, nargs="?", default=root.parent / "shared/data/benchmarks"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    logging.getLogger("mteb").setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    benchmarks = [source.read(None) for source in find_sources([options.benchmarks])]
    model = build_encoder(EncoderSettings(name_or_path=str(options.model), kind="static"))
    figures: dict[str, Any] = {"ndcg": {}, "bm25": {}}
    table = Table("benchmark", *TOOLS, "largest difference")
    for benchmark in benchmarks:
        found = {name: tool(model, benchmark) for name, tool in TOOLS.items()}
        difference = max(abs(value - found["tdro"]) for value in found.values())
        figures["ndcg"][benchmark.name] = {**found, "difference": difference}
        shown = [f"{value:.8f}" for value in found.values()]
        table.add_row(benchmark.name, *shown, f"{difference:.1e}")
    console = Console()
    console.print(table)
    scifact = next((one for one in benchmarks if one.name == "scifact"), None)
    if scifact is not None:
        figures["bm25"] = lexical(scifact)
        table = Table("BM25 on scifact", METRIC, f"against {PUBLISHED}")
        for name, value in figures["bm25"].items():
            table.add_row(name, f"{value:.4f}", f"{value - PUBLISHED:+.4f}")
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def ours(model: SentenceTransformer, benchmark: Benchmark) -> float:
    """Returns the mean nDCG@10 by tdro's search and ir-measures."""
    return mean(benchmark, search(model, benchmark, prompt=""))


def sbert(model: SentenceTransformer, benchmark: Benchmark) -> float:
    """Returns it by sentence-transformers; relevance is binary there."""
    documents = dict(zip(benchmark.documents["id"], benchmark.documents["text"], strict=True))
    relevant = {
        query: {document for document, value in judged.items() if value > 0}
        for query, judged in benchmark.qrels.items()
    }
    evaluator = InformationRetrievalEvaluator(
        benchmark.queries, documents, relevant, write_csv=False, ndcg_at_k=[10]
    )
    return float(evaluator(model)["cosine_ndcg@10"])


def by_mteb(model: SentenceTransformer, benchmark: Benchmark) -> float:
    """Returns it by mteb, from a task that is made of the local files."""
    per_query: list[float] = []

    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="LocalRetrieval",
            description="A local benchmark.",
            dataset={"path": "local/files", "revision": "1"},
            type="Retrieval",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            queries = {"id": list(benchmark.queries), "text": list(benchmark.queries.values())}
            corpus = {"id": benchmark.documents["id"][:], "text": benchmark.documents["text"][:]}
            self.dataset = {
                "default": {
                    "test": RetrievalSplitData(
                        corpus=datasets.Dataset.from_dict(corpus),
                        queries=datasets.Dataset.from_dict(queries),
                        relevant_docs=benchmark.qrels,
                        top_ranked=None,
                    )
                }
            }
            self.data_loaded = True

        def task_specific_scores(self, scores: Any, *_: Any, **__: Any) -> dict[str, float]:
            per_query.extend(line["ndcg_cut_10"] for line in scores.values())
            return {}

    prompts = {"query": "", "document": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = SentenceTransformerEncoderWrapper(model, model_prompts=prompts)
        mteb.evaluate(wrapped, Local(), cache=None, show_progress_bar=False)
    return float(np.mean(per_query))


TOOLS: dict[str, Tool] = {"tdro": ours, "sentence-transformers": sbert, "mteb": by_mteb}


def lexical(benchmark: Benchmark) -> dict[str, float]:
    """Returns nDCG@10 of BM25 as tdro mines negatives, and of what lies between it and BEIR's."""
    import Stemmer

    stemmer = Stemmer.Stemmer("porter")
    return {
        "tdro: words, k1 1.5, b 0.75": bm25(benchmark, TOKENISING, RANKING),
        "the same, k1 0.9, b 0.4": bm25(benchmark, TOKENISING, ANSERINI),
        "and English stop words": bm25(benchmark, STOPPED, ANSERINI),
        "and Porter's stemmer": bm25(benchmark, {**STOPPED, "stemmer": stemmer}, ANSERINI),
        "tdro's k1 and b with both": bm25(benchmark, {**STOPPED, "stemmer": stemmer}, RANKING),
    }


def bm25(benchmark: Benchmark, tokenising: dict[str, Any], ranking: dict[str, Any]) -> float:
    """Returns the mean nDCG@10 of BM25 over title and text in one field."""
    words = bm25s.tokenize(list(benchmark.queries.values()), return_ids=False, **tokenising)
    index = bm25s.BM25(**ranking, backend="numpy")
    index.index(bm25s.tokenize(benchmark.documents["text"][:], **tokenising), show_progress=False)
    scores = [index.get_scores_from_ids(index.get_tokens_ids(query)) for query in words]
    ids = benchmark.documents["id"][:]
    run = {}
    for query, row in zip(benchmark.queries, scores, strict=True):
        order = np.argsort(-row, kind="stable")[:100]
        run[query] = {ids[place]: float(row[place]) for place in order if row[place] > 0}
    return mean(benchmark, run)


def mean(benchmark: Benchmark, run: dict[str, dict[str, float]]) -> float:
    """Returns the mean nDCG@10 of a run over all queries."""
    found = score(benchmark, run, (METRIC,))
    return sum(line[METRIC] for line in found.values()) / len(found)


if __name__ == "__main__":
    main()
