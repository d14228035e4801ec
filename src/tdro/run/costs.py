"""What the models of a run cost: rows, tokens, floating-point operations and seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tdro.files import MANIFEST_FILE, file_name, read_json
from tdro.run.context import Context
from tdro.settings import LEARNING_CURVE, MERGE_SEARCH, REGRESSION, EncoderSettings

# A forward pass multiplies and adds; a backward pass does so twice as often again.
FORWARD, TRAINING = 2, 6


@dataclass(frozen=True)
class Cost:
    """What some stages cost.

    Attributes:
        rows: Rows that went through a model.
        tokens: Tokens that did.
        flops: Floating-point operations, from the tokens and the parameters each is multiplied
            with: 2 a parameter in a forward pass, 6 in a training step. Attention's products of
            tokens with tokens are left out.
        seconds: Time the stages took; of a killed and resumed one, its last attempt.
    """

    rows: int = 0
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.rows + other.rows,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
        )


def training_cost(context: Context, trained: Path) -> Cost:
    """Returns what training a retriever cost.

    Args:
        context: The recipe at work.
        trained: Folder of the finished stage.
    """
    return _cost(trained, TRAINING * _parameters_per_token(context, context.recipe.model))


def learner_cost(context: Context, method: str) -> Cost:
    """Returns what learning a mixture cost, with all that had to be done for it.

    Args:
        context: The recipe at work, its stages finished.
        method: The learner, or ``soup``.
    """
    at, recipe = context.directory.finished, context.recipe
    if method in (MERGE_SEARCH, "soup"):
        trained = [at(f"experts/{file_name(name)}") for name in context.sizes]
        if recipe.merging.start_steps:
            trained.append(at("merging/start"))
        inferred = []
        if method == MERGE_SEARCH:
            found = at(f"mixtures/{method}")
            confirmed = range(len(read_json(found / "last.json")["real"]))
            trained += [at(f"confirmed/{number}") for number in confirmed]
            inferred = [at("merging/search"), found]
    elif method == LEARNING_CURVE:
        trained = [at("curve/shorter"), at("curve/longer")]
        inferred = [at(f"mixtures/{method}")]
    elif method == REGRESSION:
        numbers = range(1, recipe.regression.mixtures + 1)
        trained = [at(f"regression/{number}") for number in numbers]
        inferred = [at(f"mixtures/{method}")]
    else:
        folds = [at(f"reference_folds/{number}") for number in ("1", "2")]
        references = folds if recipe.reference.folds > 1 else [at("reference")]
        trained = [*references, at(f"mixtures/{method}")]
        inferred = [at("reference_losses")]
    return _sum(context, trained, TRAINING) + _sum(context, inferred, FORWARD)


def _sum(context: Context, folders: Iterable[Path], passes: int) -> Cost:
    unit = passes * _parameters_per_token(context, context.recipe.proxy)
    return sum((_cost(folder, unit) for folder in folders), Cost())


def _cost(folder: Path, flops_per_token: int) -> Cost:
    manifest = read_json(folder / MANIFEST_FILE)
    facts = manifest["facts"]
    tokens = facts.get("tokens", 0)
    return Cost(facts.get("rows", 0), tokens, tokens * flops_per_token, manifest["seconds"])


def _parameters_per_token(context: Context, settings: EncoderSettings) -> int:
    place = context.shared.finished(f"encoders/{context.recipe.encoder_name(settings)}")
    manifest = read_json(place / MANIFEST_FILE)
    return int(manifest["facts"]["parameters_per_token"])
