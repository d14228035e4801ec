import json

import pytest

from tdro.mixture import Mixture

from ..conftest import synthetic_rows

# Names that end a string, a line or a pattern, or start a command, where they are not escaped.
NASTY = ['it\'s "x"', "new\nline", "$(touch hit) `touch hit`", "small[b]*?", "日本 \u2028#%s{}"]


def write_rows(folder, sizes, layout=lambda row: row):
    folder.mkdir(exist_ok=True)
    for place, (name, size) in enumerate(sizes.items()):
        rows = map(layout, synthetic_rows(size, place))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)


@pytest.fixture
def nasty(tmp_path):
    """A mixture of tasks with nasty names, their files, and one task of weight 0 without any."""
    sizes = {name: 20 + place for place, name in enumerate(NASTY)}
    write_rows(tmp_path / "data", sizes)
    weights = [0.4, 0.3, 0.15, 0.1, 0.05]
    mixture = Mixture(
        {"dropped\nrun()": 0.0, **dict(zip(NASTY, weights, strict=True))},
        {"dropped\nrun()": 1000, **sizes},
    )
    mixture.save(tmp_path / "mixture.json")
    return tmp_path
