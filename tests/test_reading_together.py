from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import ConcatDataset, DataLoader, SequentialSampler

from tdro.mixture import Mixture


def test_a_loader_reads_each_batch_at_once():
    calls = []

    def texts(numbers):
        calls.append(numbers["row"])
        return {"text": [f"row {row}" for row in numbers["row"]]}

    parts = [
        Dataset.from_dict({"row": list(range(first, first + 6))}).with_transform(texts)
        for first in (0, 100)
    ]
    inner = [DefaultBatchSampler(SequentialSampler(part), 3, drop_last=False) for part in parts]
    whole = ConcatDataset(parts)
    sampler = Mixture.uniform(["a", "b"]).batch_sampler(["a", "b"])(whole, inner)
    wanted = [[whole[row]["text"] for row in rows] for rows in sampler]
    calls.clear()
    loader = DataLoader(whole, batch_sampler=sampler, collate_fn=list)
    assert [[row["text"] for row in batch] for batch in loader] == wanted
    assert [len(rows) for rows in calls] == [3] * 4
    mixed = [5, 6, 0, 1]
    assert whole.__getitems__(mixed) == [whole[row] for row in mixed]
