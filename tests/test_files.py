import itertools
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.files import discard, file_name, publish
from tests.kills import killed_before

NAMES = st.text("a.-_~+/% é日", min_size=1, max_size=60)
LONG = "中文检索任务的训练数据集合一二"


@given(NAMES, NAMES)
@example("日" * 14, "日" * 15)
@example("a" * 121, "a" * 122)
@example("a" * 121, file_name("a" * 121))
def test_file_names_are_safe_and_distinct(first, other):
    names = file_name(first), file_name(other)
    for name in names:
        assert set(name) <= set(string.ascii_letters + string.digits + "._-~%+")
        assert len(name) <= 120
        assert not name.startswith(".")
    assert (names[0] == names[1]) == (first == other)


def test_long_names_keep_their_beginning_and_whole_codes():
    assert len(LONG) == 15
    name = file_name(LONG)
    assert name.startswith("%E4%B8%AD%E6%96%87")
    codes, _, digest = name.partition("+")
    assert len(digest) == 16
    assert len(codes) % 3 == 0
    assert file_name("a" * 120) == "a" * 120, "what was short enough has the name it had"


def test_an_empty_name_is_told():
    with pytest.raises(InputError, match="An empty name"):
        file_name("")


def folders(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir(parents=True)
        for part in "abc":
            (tmp_path / name / part).write_text(name)
    return tmp_path / "new", tmp_path / "old"


def test_killed_at_any_change_what_is_published_is_whole_and_the_next_call_tidies(tmp_path):
    for change in itertools.count(1):
        root = tmp_path / str(change)
        root.mkdir()
        new, target = folders(root)
        with killed_before(change) as came:
            publish(new, target)
        if target.exists():
            assert len({(target / part).read_text() for part in "abc"}) == 1, "old or new"
        if not new.exists():
            new, _ = folders(tmp_path / str(change) / "again")
        publish(new, target)
        assert [path.name for path in root.iterdir() if path.name != "again"] == ["old"]
        assert {path.read_text() for path in target.iterdir()} == {"new"}
        if not came:
            break
    assert change > 5


def test_a_folder_is_discarded_at_once(tmp_path):
    for change in itertools.count(1):
        root = tmp_path / str(change)
        root.mkdir()
        _, folder = folders(root)
        with killed_before(change) as came:
            discard(folder)
        assert not folder.exists() or len(list(folder.iterdir())) == 3
        discard(folder)
        assert [path.name for path in root.iterdir()] == ["new"]
        if not came:
            break
    assert change > 3
