"""Words of every script: what a word is, what is told of scripts without spaces, and vocabularies of earlier days."""

from __future__ import annotations

import json
import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbi_helpers.data import DataError, Vocabulary, clean, load_text
from gbi_helpers.experiments.language.reading import load_language

SPACED = {
    "Hindi": "नमस्ते दुनिया , मैं ठीक हूँ",
    "Tamil": "வணக்கம் உலகம்",
    "Bengali": "ওহে বিশ্ব",
    "Telugu": "హలో ప్రపంచం",
    "Malayalam": "നമസ്കാരം ലോകം അവന്\u200d",  # the last one with a joiner at its end
    "Sinhala": "ශ්\u200dරී ලංකා",
    "Arabic with its vowels": "مَرْحَبًا بِالعَالَمِ",
    "Persian": "می\u200cخواهم بروم",
    "Hebrew with its points": "שָׁלוֹם עוֹלָם",
    "Vietnamese": "tiếng việt",
    "accents that no letter has": "x̄ m̃ a̱ɓ",
    "Turkish": "i̇stanbul ışık",
    "Korean": "안녕하세요 여러분",
    "Thai with spaces": "ฉัน รัก น้ำ".replace("\u0e33", "\u0e4d\u0e32"),  # as NFKC writes it
}


@pytest.mark.parametrize("written", SPACED.values(), ids=SPACED)
def test_marks_and_joiners_belong_to_their_word(written):
    composed = unicodedata.normalize("NFC", written)
    assert clean(composed) == clean(unicodedata.normalize("NFD", written)) == composed
    vocabulary = Vocabulary.of_words({"a": [clean(written)]}, 20)
    ids = vocabulary.encode(unicodedata.normalize("NFD", written))
    assert vocabulary.decode(ids) == composed
    assert vocabulary.unknown not in ids


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("Auf\u200clage Zusam\u00admen \ufeffend", "auflage zusammen end"),
        ("a\u00ad\u0301b", "áb"),
        ("\u200fשלום\u200f עולם", "שלום עולם"),
        ('צה"ל צה״ל ג׳ירפה', "צה ל צה״ל ג׳ירפה"),
        ("ها\u200c ها", "ها ها"),
        ("\u0301 1\ufe0f\u20e3 ❤️ ´", "1"),
        ("की  n't की 's", "कीn't की's"),
    ],
)
def test_what_nobody_sees_parts_no_word(written, cleaned):
    assert clean(written) == cleaned


BLOCKS = {
    "Latin": "abcdefghijklmnopqrstuvwxyzøßđı" + "".join(map(chr, range(0x300, 0x33F))),
    "Cyrillic": "абвгдежзиклмнопрстуфхцчшщьэюяіїй\u0301\u0483",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ\u0301\u0308\u0345",
    **{
        name: "".join(sign for sign in map(chr, range(first, last)) if unicodedata.category(sign) in ("Lo", "Mn", "Mc"))
        for name, first, last in (
            ("Hebrew", 0x591, 0x5EB),
            ("Arabic", 0x620, 0x653),
            ("Devanagari", 0x900, 0x980),
            ("Bengali", 0x980, 0xA00),
            ("Gurmukhi", 0xA00, 0xA80),
            ("Tamil", 0xB80, 0xC00),
            ("Telugu", 0xC00, 0xC80),
            ("Malayalam", 0xD00, 0xD80),
            ("Sinhala", 0xD80, 0xE00),
        )
    },
}


@st.composite
def words(draw):
    """Words of one script: each a letter, and then letters and marks."""
    signs = BLOCKS[draw(st.sampled_from(list(BLOCKS)))]
    letters = [sign for sign in signs if sign.isalpha()]
    word = st.builds("{}{}".format, st.sampled_from(letters), st.text(alphabet=signs, max_size=6))
    return draw(st.lists(word, max_size=6))


@given(words())
def test_words_are_what_stands_between_spaces(written):
    cleaned = clean(" ".join(written)).split()
    assert cleaned == [unicodedata.normalize("NFKC", word.lower()) for word in written]
    assert clean(unicodedata.normalize("NFD", " ".join(written))).split() == cleaned


PIECES = [
    *" '’-.1\n",
    "\u200c",
    "\u200d",
    "\u00ad",
    "\u061c",
    "\ufe0f",
    "n't",
    "'s",
    "Σ",
    "İ",
    "中",
    "ᄀ",
    "ᅡ",
    *"éक़ीمَšֻשำ",
]


@given(st.lists(st.sampled_from([*PIECES, "\u0301", "\u094d", "\u0327"]), max_size=14).map("".join))
def test_cleaning_is_settled_after_once_and_deaf_to_encoding(written):
    once = clean(written)
    assert clean(once) == once
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert clean(unicodedata.normalize(form, written)) == once


# --- scripts without spaces ------------------------------------------------------------------------------------------

UNSPACED = {
    "Chinese or Japanese": "我喜欢学习机器学习",
    "Chinese or Japanese ": "こんにちは、世界。私は学生です。",
    "Chinese or Japanese  ": "我们使用PyTorch训练神经网络模型",
    "Thai": "สวัสดีชาวโลก",
    "Lao": "ສະບາຍດີຊາວໂລກ",
    "Burmese": "မင်္ဂလာပါကမ္ဘာလောက",
    "Khmer": "សួស្តីពិភពលោក",
}
TOLD = r"is {}, which is written without spaces, so it cannot be cut into words: put a space between its words"
WORDS = Vocabulary.of_words({"a": ["the cat sat"]}, 10)
both = pytest.mark.parametrize(("script", "written"), UNSPACED.items(), ids=map(str.strip, UNSPACED))


def lay(folder, **sources: str):
    folder.mkdir()
    for source, content in sources.items():
        for split in ("train", "valid", "test"):
            (folder / f"{source}.{split}.txt").write_text(content, encoding="utf-8")
    return folder


@both
def test_text_without_spaces_is_told(script, written, tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    told = TOLD.format(script.strip())
    with pytest.warns(UserWarning, match=f"^This text {told}\\.$"):
        WORDS.encode(written)
    with pytest.raises(ValueError, match=f"^The text of b {told}\\.$"):
        Vocabulary.of_words({"a": ["the cat"], "b": [clean(written)]}, 10)
    folder = lay(tmp_path / "texts", english="the cat sat on the mat", own=f"{written}\n{written}")
    for vocabulary in (50, WORDS):
        with pytest.raises(DataError, match=f"^The training text of own {told}, or ask for tokens='bpe', which needs "):
            load_text(folder, vocabulary=vocabulary)


@both
def test_pieces_of_words_need_no_spaces(script, written, tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    folder = lay(tmp_path / "texts", english="the cat sat on the mat", own=f"{written}\n{written}")
    data = load_text(folder, tokens="bpe", vocabulary=200)
    assert data.vocabulary.unknown not in data.test[1]
    assert clean(written) in data.vocabulary.decode(data.test[1])


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("He said 你好 to me", 5),
        ("see 机器学习 (machine learning)", 6),
        ("我 喜欢 学习 机器", 4),
        ("你好", 1),
        ("ฉัน รัก คุณ", 3),
    ],
)
def test_some_words_of_such_scripts_do_no_harm(written, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(WORDS.encode(written)) == count
        Vocabulary.of_words({"a": [clean(written)]}, 10)


# --- vocabularies of earlier days ------------------------------------------------------------------------------------

OLD_HINDI = json.dumps({"words": ["<unk>", "<bos>", "नमस", "त"], "pieces": ""})  # as kept when marks were lost


def test_an_old_vocabulary_cuts_as_its_network_has_learnt(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    old = Vocabulary.from_json(OLD_HINDI)
    assert old.clean("नमस्ते") == "नमस त"
    assert old.encode("नमस्ते").tolist() == [2, 3]
    assert Vocabulary.from_json(old.to_json()) == old != Vocabulary(old.words)
    folder = lay(tmp_path / "texts", one="नमस्ते", two="त")
    assert load_text(folder, vocabulary=old).test[0].tolist() == [old.start, 2, 3]


def test_an_old_vocabulary_of_latin_letters_reads_every_script():
    stored = json.loads(Vocabulary(("<unk>", "<bos>", "sauté")).to_json())
    del stored["cut"]
    old = Vocabulary.from_json(json.dumps(stored))
    assert old == Vocabulary(old.words)
    assert old.encode("sauté नमस्ते saute\u0301").tolist() == [2, 0, 2]


def test_a_vocabulary_of_days_to_come_is_refused():
    stored = json.loads(WORDS.to_json()) | {"cut": 3}
    with pytest.raises(ValueError, match=r"made by a later version of gbi_helpers: install that one\."):
        Vocabulary.from_json(json.dumps(stored))


@pytest.mark.parametrize("name", ["packages", "plane"])
def test_the_shipped_vocabularies_read_as_ever(name):
    _, vocabulary, _, _ = load_language(name)
    text = "Chop the onion, sauté it: don't (ever) did n't wait 45 min. naïve Café -- Zoë’s"
    assert vocabulary.ids(clean(text, 1)) == vocabulary.encode(text).tolist()
    assert len(vocabulary.encode("नमस्ते दुनिया")) == 2


def test_pieces_that_cannot_be_read_are_refused():
    with pytest.raises(ValueError, match=r"pass what Vocabulary\.to_json"):
        Vocabulary.from_json('{"words": ["<unk>", "<bos>", "a"], "pieces": "rubbish"}')
