"""Which of the passages that were found are negatives, and why the others are not."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tdro.mining.near import Shingles, alike, may_be_alike, parcels, shingles
from tdro.mining.ranking import Ranked
from tdro.mining.settings import MiningSettings
from tdro.mining.texts import TaskTexts
from tdro.tasks.texts import select_texts
from tdro.tasks.training import task_seed

Numbers = NDArray[np.int32]
Judge = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]
"""Gives the score of each pair of a query and a passage."""

FILTERED = ("equal", "near_equal", "margin", "score", "judge")
"""Why a passage that was found is no negative: it equals an answer, or nearly; its score is too
close to that of a positive, or out of bounds; the judge rates it above a positive."""

_KEPT_SHINGLES = 8192


@dataclass(frozen=True)
class Chosen:
    """The negatives of some rows.

    Attributes:
        negatives: Passage numbers of each row, those it brought first where they are kept.
        counts: ``found``, each of ``FILTERED``, ``judged``, and of the negatives that rows brought
            ``given`` and ``given_near_equal``, which were left out.
    """

    negatives: list[Numbers]
    counts: Counter[str]


class Chooser:
    """Chooses the negatives of a task's rows.

    Args:
        texts: The task.
        settings: What is asked of mining.
        judge: What rates candidates.
    """

    def __init__(self, texts: TaskTexts, settings: MiningSettings, judge: Judge | None) -> None:
        self._texts, self._settings, self._judge = texts, settings, judge
        self._seed = task_seed(settings.seed, "mining", texts.name)
        every = np.arange(len(texts.passages))
        self._parcels = np.stack(
            [parcels(shingles(text)) for text in select_texts(texts.passages, every)]
        )
        self._shingles = lru_cache(_KEPT_SHINGLES)(lambda number: shingles(self._passage(number)))

    def depth(self, row: int) -> int:
        """Returns how many passages have to be found for a row so that its ranks are filled."""
        kept = len(self._texts.given[row]) if self._settings.append else 0
        return self._settings.ranks[1] + len(self._texts.answers(row)) + kept

    def choose(self, first: int, ranked: Sequence[Ranked]) -> Chosen:
        """Chooses the negatives of consecutive rows.

        Filters come before ranks, as in ``mine_hard_negatives``: a rank counts candidates that
        nothing speaks against. The judge sees what the ranks leave, from the front, until a row has
        its negatives.

        Args:
            first: The first of the rows.
            ranked: What was found for each of them.
        """
        counts: Counter[str] = Counter()
        kept, orders = [], []
        for row, found in enumerate(ranked, start=first):
            given = self._given(row, counts)
            kept.append(given)
            orders.append(self._order(row, self._candidates(row, found, given, counts)))
        count = self._settings.count
        if self._judge is None:
            mined = [order[:count] for order in orders]
        else:
            mined = self._judged(first, orders, self._judge, counts)
        both = [np.concatenate(one) for one in zip(kept, mined, strict=True)]
        return Chosen(both, counts)

    def _given(self, row: int, counts: Counter[str]) -> Numbers:
        """Returns the negatives that a row brought and keeps."""
        given = self._texts.given[row]
        if not self._settings.append or len(given) == 0:
            return given[:0]
        given = given[~np.isin(given, self._texts.answers(row))]
        passed = given[~self._near(row, given)]
        counts["given"] += len(self._texts.given[row])
        counts["given_near_equal"] += len(self._texts.given[row]) - len(passed)
        return passed

    def _candidates(self, row: int, found: Ranked, given: Numbers, counts: Counter[str]) -> Numbers:
        """Returns what was found and is not spoken against, closest first."""
        settings = self._settings
        counts["found"] += len(found.numbers)
        numbers, scores = found.numbers, found.scores
        against: dict[str, Callable[[], NDArray[np.bool_]]] = {
            "equal": lambda: np.isin(numbers, self._texts.answers(row)),
            "near_equal": lambda: self._near(row, numbers),
            "margin": lambda: scores > _highest(found.lowest, settings),
            "score": lambda: _out_of_bounds(scores, settings),
        }
        for reason, is_out in against.items():
            out = is_out()
            counts[reason] += int(np.count_nonzero(out))
            numbers, scores = numbers[~out], scores[~out]
        # Those that a row has are no candidates, and nothing is wrong with them.
        return numbers[~np.isin(numbers, given)]

    def _near(self, row: int, numbers: Numbers) -> NDArray[np.bool_]:
        """Tells which passages nearly equal an answer of a row or its query."""
        near = np.zeros(len(numbers), dtype=bool)
        if len(numbers) == 0:
            return near
        others = [self._shingles(number) for number in self._texts.answers(row).tolist()]
        counts = self._parcels[numbers]
        for other in [*others, shingles(self._texts.queries[row].as_py())]:
            may = may_be_alike(counts, parcels(other), self._settings.near)
            for place in np.flatnonzero(~near & may).tolist():
                near[place] = self._is_near(int(numbers[place]), other)
        return near

    def _is_near(self, number: int, other: Shingles) -> bool:
        return alike(self._shingles(number), other) >= self._settings.near

    def _order(self, row: int, candidates: Numbers) -> Numbers:
        """Returns the candidates within the ranks in the order in which they are taken."""
        within = candidates[slice(*self._settings.ranks)]
        if self._settings.sampling == "top":
            return within
        return np.random.default_rng([self._seed, row]).permutation(within)

    def _judged(
        self, first: int, orders: Sequence[Numbers], judge: Judge, counts: Counter[str]
    ) -> list[Numbers]:
        """Takes from the front what the judge lets pass, asking only as far as it has to."""
        highest = self._rated_positives(first, orders, judge)
        taken: list[list[int]] = [[] for _ in orders]
        asked = [0] * len(orders)
        while True:
            pairs = []
            for place, order in enumerate(orders):
                wanting = self._settings.count - len(taken[place])
                some = order[asked[place] : asked[place] + wanting].tolist()
                asked[place] += len(some)
                pairs += [(place, number) for number in some]
            if not pairs:
                return [np.array(one, dtype=np.int32) for one in taken]
            scores = judge([self._pair(first + place, number) for place, number in pairs])
            for (place, number), score in zip(pairs, scores.tolist(), strict=True):
                counts["judged"] += 1
                if score > highest[place]:
                    counts["judge"] += 1
                else:
                    taken[place].append(number)

    def _rated_positives(
        self, first: int, orders: Sequence[Numbers], judge: Judge
    ) -> NDArray[np.float32]:
        """Returns the highest score that the judge may give a negative of each row."""
        highest = np.full(len(orders), np.inf, dtype=np.float32)
        pairs = [
            (place, number)
            for place, order in enumerate(orders)
            if len(order)
            for number in self._texts.positives[first + place].tolist()
        ]
        if pairs:
            scores = judge([self._pair(first + place, number) for place, number in pairs])
            np.minimum.at(highest, [place for place, _ in pairs], scores)
        highest -= np.float32(self._settings.judge_margin)
        return highest

    def _pair(self, row: int, number: int) -> tuple[str, str]:
        return self._texts.queries[row].as_py(), self._passage(number)

    def _passage(self, number: int) -> str:
        text: str = self._texts.passages[number].as_py()
        return text


def _highest(lowest: float, settings: MiningSettings) -> float:
    """Returns the highest score of a negative, by the lowest score of its row's positives."""
    highest = np.inf
    if settings.margin is not None:
        highest = lowest - settings.margin
    if settings.relative_margin is not None:
        # By the size of the score: below zero, a share of the score itself would loosen the bound.
        highest = min(highest, lowest - abs(lowest) * settings.relative_margin)
    return highest


def _out_of_bounds(scores: NDArray[np.float32], settings: MiningSettings) -> NDArray[np.bool_]:
    out = np.zeros(len(scores), dtype=bool)
    if settings.min_score is not None:
        out |= scores < settings.min_score
    if settings.max_score is not None:
        out |= scores > settings.max_score
    return out
