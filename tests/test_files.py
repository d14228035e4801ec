import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.files import file_name

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
