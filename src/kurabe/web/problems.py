"""What goes wrong with a request, with its status and the words that a page says it in."""


class Problem(Exception):
    """An answer that is not the page asked for; `key` names its words, `values` fill them in."""

    def __init__(self, status: int, key: str, **values: object) -> None:
        super().__init__(key)
        self.status = status
        self.key = key
        self.values = values


def short(text: str, most: int = 80) -> str:
    """A text that may be anything, cut to a length that can be shown."""
    return text if len(text) <= most else text[: most - 1] + "…"
