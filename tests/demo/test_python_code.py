from tdro.demo.python_code import py_comment_code, py_doc_code, stdlib_folder

MODULE = '''# A licence line of many plain words that stands alone

class Cat:
    def purr(self, loudness):
        """Make the sound of a happy cat.

        More words.
        """
        sound = "r" * loudness
        return sound + " and again " + sound

    def short(self):
        """Return nothing much of any use."""
        return 1

    def stub(self, first_long_argument, second_long_argument, third):
        """Only a docstring stands in here."""

    def walk(self):
        # --------------------
        # Walk the cat around the whole
        # garden, then come back.
        for corner in self.garden.corners:
            self.go_to(corner, carefully=True)
        self.go_home()

        self.sleep()
'''


def test_docstrings_are_taken_out_of_their_functions(tmp_path):
    (tmp_path / "cat.py").write_text(MODULE)
    assert list(py_doc_code(tmp_path)) == [
        (
            "Make the sound of a happy cat.",
            'def purr(self, loudness):\n    sound = "r" * loudness\n'
            '    return sound + " and again " + sound',
        )
    ]


def test_comments_stand_for_the_lines_below_them(tmp_path):
    (tmp_path / "cat.py").write_text(MODULE)
    assert list(py_comment_code(tmp_path)) == [
        (
            "Walk the cat around the whole garden, then come back.",
            "for corner in self.garden.corners:\n    self.go_to(corner, carefully=True)\n"
            "self.go_home()",
        )
    ]


def test_installed_packages_tests_and_broken_files_are_left_out(tmp_path):
    for folder in ("site-packages/x", "test", "json/tests"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "cat.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "latin.py").write_bytes(b"x = '\xff'\n")
    assert list(py_doc_code(tmp_path)) == []
    assert list(py_comment_code(tmp_path)) == []


def test_the_standard_library_is_found():
    assert (stdlib_folder() / "ast.py").is_file()
