"""The entries of a comparison: what each trains, and with which mixture."""

from dataclasses import dataclass, replace
from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.scores import BASELINE
from tdro.files import file_name
from tdro.mixture import Mixture
from tdro.recipe import Recipe
from tdro.run.context import Context
from tdro.run.costs import learner_cost, training_cost
from tdro.run.merging import complete_soup
from tdro.run.mixture import complete_mixture, simple_mixture
from tdro.run.models import complete_retriever
from tdro.selection import selected, split_selection
from tdro.settings import LEARNERS, MERGE_SEARCH, EncoderSettings, LearningSettings

LONGER = "uniform-longer"
SOUP = "soup"


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Attributes:
        base: What its mixture comes from: a simple mixture, a file, or a learner.
        selection: Its selection, such as ``top-0.7`` or ``helped``, or an empty text.
        budget: Share of the training steps.
    """

    base: str
    selection: str = ""
    budget: float = 1.0

    @property
    def label(self) -> str:
        """Name of the retriever."""
        base = Path(self.base).stem if self.base.endswith(".json") else self.base
        selection = f"/{self.selection}" if self.selection else ""
        return f"{base}{selection}" + (f"@{self.budget}" if self.budget < 1 else "")


def entries_of(recipe: Recipe) -> list[Entry]:
    """Returns what a recipe compares, the baseline first.

    Raises:
        InputError: Two mixture files have the same name.
    """
    found = []
    for budget in recipe.compare.budgets:
        for name in recipe.compare.mixtures:
            base, selection = split_selection(name)
            if budget < 1 and base in (LONGER, SOUP):
                continue
            found.append(Entry(base, selection, budget))
    labels = [entry.label for entry in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(
                f"Two mixtures are called {label!r}: give one of the files another name."
            )
    return sorted(found, key=lambda entry: entry.label != BASELINE)


def run_of(recipe: Recipe, entry: Entry) -> Recipe:
    """Returns the recipe of a run that learns and trains what an entry does."""
    bought = {LONGER: recipe.learning.method, SOUP: MERGE_SEARCH}
    method = bought.get(entry.base, entry.base)
    learns = method in LEARNERS
    steps = max(1, round(entry.budget * recipe.training.steps))
    changes = {
        "learning": method_settings(recipe, method) if learns else recipe.learning,
        "retrievers": ("learned" if learns else BASELINE,),
        "training": recipe.training.model_copy(update={"steps": steps}),
    }
    return recipe.model_copy(update=changes)


def settings_of(context: Context, entry: Entry) -> EncoderSettings:
    """Returns how the model of an entry is built: the soup is made of proxies."""
    return context.recipe.proxy if entry.base == SOUP else context.recipe.model


def method_settings(recipe: Recipe, method: str) -> LearningSettings:
    """Returns how a method learns: others than the recipe's own take its values."""
    given = recipe.learning
    return given if given.method == method else given.with_method(method)


def complete_entry(context: Context, entry: Entry) -> Path:
    """Returns the folder of an entry's retriever, learned and trained where that is not done."""
    if entry.base == SOUP:
        return complete_soup(context)
    settings = run_of(context.recipe, entry).training
    if entry.base == LONGER:
        steps = settings.steps + _bought_steps(context)
        settings = settings.model_copy(update={"steps": steps})
    return complete_retriever(context, entry.label, _mixture(context, entry), settings)


def _mixture(context: Context, entry: Entry) -> Mixture:
    if entry.base == LONGER:
        return Mixture.uniform(context.sizes)
    mixture = simple_mixture(context, entry.base)
    if mixture is None:
        keeps = method_settings(context.recipe, entry.base).keeps
        mixture = Mixture.load(_learned(context, entry.base) / f"{keeps}.json")
    return selected(mixture, entry.selection) if entry.selection else mixture


def _learned(context: Context, method: str) -> Path:
    changed = context.recipe.model_copy(
        update={"learning": method_settings(context.recipe, method)}
    )
    return complete_mixture(replace(context, recipe=changed), f"mixtures/{file_name(method)}")


def _bought_steps(context: Context) -> int:
    """Returns the steps of the uniform retriever that cost what learning the mixture does."""
    method = context.recipe.learning.method
    _learned(context, method)
    uniform = complete_retriever(context, BASELINE, Mixture.uniform(context.sizes))
    one = training_cost(context, uniform).flops / context.recipe.training.steps
    return round(learner_cost(context, method).flops / one)
