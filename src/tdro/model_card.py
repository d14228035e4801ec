"""What a trained model's card says of the tasks: their names, rows and columns."""

from typing import Any

from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformerModelCardData


class TaskCard(SentenceTransformerModelCardData):
    """A model card without sample texts and without statistics of texts.

    The trainer would read and tokenise a hundred rows of every task for them before its first step,
    minutes where there are a thousand tasks, and would publish texts of the user's data.
    """

    def compute_dataset_metrics(
        self,
        dataset: Any,
        dataset_info: dict[str, Any],
        loss: Any,
        router_mapping: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Describes one task by what is known without reading its texts, and the loss."""
        if not isinstance(dataset, Dataset):
            found: dict[str, Any] = super().compute_dataset_metrics(
                dataset, dataset_info, loss, router_mapping
            )
            return found
        # A stream is described by its columns and the loss alone.
        stream = Dataset.from_dict(dataset[:1]).to_iterable_dataset()
        told: dict[str, Any] = super().compute_dataset_metrics(
            stream, dataset_info, loss, router_mapping
        )
        return {**told, "size": len(dataset)}

    def set_widget_examples(self, dataset: Dataset | DatasetDict) -> None:
        """Leaves the examples out."""
