"""What stands before a query."""


def query_prompt(instruction: str) -> str:
    """Returns what stands before a query of a task (paper, appendix); empty for no instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""
