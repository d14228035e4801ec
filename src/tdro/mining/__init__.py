"""Hard negatives for tasks: ranked by BM25 or a model, filtered, written as tasks."""
