"""What may be said of how a task is read: its columns, and which rows of it are used."""

from typing import Any

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_serializer,
    model_validator,
)

from tdro.settings import Settings

_Several = tuple[str, ...]


class Options(Settings):
    """Settings that are written with what is set only, so that later ones leave old files alone."""

    @model_serializer(mode="wrap")
    def _what_is_set(self, write: Any) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value not in (None, {}, [], ())}


class Columns(Options):
    """Which columns of a table, or keys of a JSON line, hold what.

    A column of passages holds a text, a list of texts, or objects with ``title`` and ``text``.

    Attributes:
        query: The query.
        positive: The passages that answer it; one column or several.
        negative: Passages that do not answer it; one column or several.
        passages: Instead of both: a list of passages that ``score`` grades. Those graded
            ``filter.min_positive_score`` or more are positives, the others negatives.
        title: Titles of the positives, put before them with a space.
        score: A number for the one positive, or a list of numbers: those of the positives, then
            those of the negatives; or those of ``passages``.
    """

    query: str
    positive: _Several = ()
    negative: _Several = ()
    passages: str | None = None
    title: str | None = None
    score: str | None = None

    @field_validator("positive", "negative", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> "Columns":
        if self.passages is None and not self.positive:
            raise ValueError("name the column of the positive")
        if self.passages is not None and (self.positive or self.negative or self.title):
            raise ValueError("'passages' stands instead of positive, negative and title")
        if self.passages is not None and self.score is None:
            raise ValueError("'passages' needs the column 'score', which grades them")
        return self

    @property
    def required(self) -> set[str]:
        """Columns that every row must have."""
        return {self.query, *self.positive, *filter(None, (self.passages,))}

    @property
    def named(self) -> set[str]:
        """All columns that are named."""
        return self.required | {*self.negative, *filter(None, (self.title, self.score))}


class RowFilter(Options):
    """Which rows and passages of a task are used. What is left out is counted with its reason.

    Words are runs of anything but white space. A row whose query is out of bounds is dropped; of
    passages only those out of bounds are left out, and the row is dropped when no positive remains.

    Attributes:
        min_query_words: Fewest words of a query.
        max_query_words: Most words of a query.
        min_passage_words: Fewest words of a passage.
        max_passage_words: Most words of a passage.
        min_positive_score: Lowest score of a positive.
        max_negative_ratio: Highest score of a negative, as a fraction of the lowest score of the
            row's positives; a negative above it may well be an answer.
        where: Column to the value, or list of values, that rows are used of.
    """

    min_query_words: PositiveInt | None = None
    max_query_words: PositiveInt | None = None
    min_passage_words: PositiveInt | None = None
    max_passage_words: PositiveInt | None = None
    min_positive_score: float | None = None
    max_negative_ratio: PositiveFloat | None = None
    where: dict[str, Any] = Field(default_factory=dict)

    @field_validator("where")
    @classmethod
    def _plain_values(cls, where: dict[str, Any]) -> dict[str, Any]:
        for column, wanted in where.items():
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if not isinstance(value, str | int | float | bool | None):
                    raise ValueError(f"{column!r} is compared with {value!r}: give a value or list")
            if isinstance(wanted, list) and {str, bool} <= set(map(type, wanted)):
                # YAML reads no, off and on as booleans: the Norwegian rows would be dropped.
                raise ValueError(
                    f"{column!r} is compared with texts and with true or false: write a text such "
                    "as 'no', 'yes', 'on' or 'off' in quotes"
                )
        return where

    @model_validator(mode="after")
    def _in_order(self) -> "RowFilter":
        for what in ("query", "passage"):
            least = getattr(self, f"min_{what}_words")
            most = getattr(self, f"max_{what}_words")
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{what}_words is {least}, more than max_{what}_words")
        return self

    @property
    def reads_scores(self) -> bool:
        """Whether scores decide anything."""
        return self.min_positive_score is not None or self.max_negative_ratio is not None

    @property
    def allowed(self) -> dict[str, list[Any]]:
        """The values that rows are used of, by column."""
        return {
            column: wanted if isinstance(wanted, list) else [wanted]
            for column, wanted in self.where.items()
        }
