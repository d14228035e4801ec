import gzip
import json
import os
import random
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import settings

# How long an example takes depends on the machine; what it shows does not.
settings.register_profile("tdro", deadline=None)
settings.load_profile("tdro")

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lnrst"]


def write_task(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def synthetic_rows(count, seed, first=0):
    """Queries that share words with their positive, so that a bag of words can learn them."""
    draw = random.Random(seed)
    rows = []
    for number in range(first, first + count):
        words = draw.sample(WORDS, 6)
        rows.append(
            {
                "query": f"{words[0]} {words[1]} {number}",
                "pos": [f"{' '.join(words)} {number}"],
                "neg": [],
            }
        )
    return rows


@pytest.fixture
def tdro(monkeypatch, capsys):
    """Runs the command line as a shell would and returns exit code, output and errors."""
    from tdro import cli

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["tdro", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory):
    """Four tasks of different sizes, one smaller than a batch."""
    folder = tmp_path_factory.mktemp("data")
    sizes = {"alpha": 120, "beta": 80, "gamma": 60, "tiny": 7}
    index = {}
    for place, (name, size) in enumerate(sizes.items()):
        write_task(folder / "tasks" / f"{name}.jsonl.gz", synthetic_rows(size, place))
        index[name] = {"instruction": f"Given {name} words, retrieve the {name} line"}
    (folder / "tasks.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory):
    """A random decoder of 4 small layers with a byte-level tokenizer that adds no EOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("tiny_llm")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<end>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>"
    )
    tokenizer.chat_template = "{% for m in messages %}<chat>{{ m['content'] }}{% endfor %}"
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def masked_lm(tiny_llm, tmp_path_factory):
    """A random encoder of 2 small layers with a masked language model's head."""
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, set_seed

    folder = tmp_path_factory.mktemp("masked_lm")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.chat_template = None
    tokenizer.model_max_length = 64
    set_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def training_tasks(task_folder, tmp_path):
    """The synthetic tasks, prepared, without a hold-out."""
    from tdro.tasks.prepare import prepare_task
    from tdro.tasks.sources import find_sources
    from tdro.tasks.task import Task
    from tdro.tasks.training import hold_out

    tasks = []
    for source in find_sources(task_folder):
        folder = tmp_path / source.name
        folder.mkdir()
        prepare_task(source, folder)
        tasks.append(hold_out(Task.open(folder), 0, seed=0))
    return tasks
