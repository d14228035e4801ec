from tdro.learning.growing import Growing


def test_each_sees_its_own_beginning():
    one = Growing("ab")
    two = one.extended("cd")
    fork = one.extended("x")
    assert ["".join(each) for each in (one, two, fork)] == ["ab", "abcd", "abx"]
    assert (one[-1], two[-1], fork[-1]) == ("b", "d", "x")
    assert (one[:5], two[1:3], len(fork)) == (("a", "b"), ("b", "c"), 3)
    assert two.extended("e")[-1] == "e"


def test_any_sequence_becomes_one():
    grown = Growing("a")
    assert Growing.of(grown) is grown
    assert list(Growing.of((1, 2)).extended([3])) == [1, 2, 3]
