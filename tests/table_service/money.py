"""Territories, their currencies and languages through time: Unicode CLDR, as the package Babel has it.

Babel is under BSD-3-Clause, CLDR under Unicode-3.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from babel import Locale
from babel.core import get_global

from tests.table_service.relations import Relation, Row, relation

# Scripts from right to left, without capitals, with marks that combine, and beyond the first plane.
LOCALES = ("en", "de", "ar", "he", "fa", "ja", "zh_Hant", "hi", "th", "ru", "vi", "ff_Adlm", "und")


@cache
def relations() -> dict[str, Relation]:
    """Return the relations by name; those that others refer to come first."""
    found = (
        _locales(),
        _currencies(),
        _territories(),
        _currency_names(),
        _currency_uses(),
        _territory_languages(),
    )
    return {one.name: one for one in found}


def _locales() -> Relation:
    return relation(
        "locales",
        "code:text! language:text! script:text name:text! plural_rules:json! decimal_mark:text "
        "day_names:text[]!",
        ((code, *_locale(Locale.parse(code))) for code in LOCALES),
        keys=[["code"]],
        checks={"code": "length(code) <= 11", "week": "len(day_names) = 7"},
    )


def _locale(locale: Locale) -> Row:
    days = locale.days["format"]["wide"]
    return (
        locale.language,
        locale.script,
        locale.display_name or "",
        json.dumps(locale.plural_form.rules, sort_keys=True),
        locale.number_symbols.get("latn", {}).get("decimal"),
        [days[day] for day in range(7)],
    )


def _currencies() -> Relation:
    fractions: Any = get_global("currency_fractions")
    uses: Any = get_global("all_currencies")
    names = Locale("en").currencies

    def rows() -> Iterator[Row]:
        for code in sorted(uses.keys() | fractions.keys() - {"DEFAULT"}):
            digits, rounding, cash_digits, cash_rounding = fractions.get(code, fractions["DEFAULT"])
            territories = sorted(uses.get(code, ()))
            yield (
                *(code, names.get(code), digits, rounding, cash_digits, cash_rounding),
                territories or None,
            )

    return relation(
        "currencies",
        "code:text! name:text digits:int16! rounding:int16! cash_digits:int16! cash_rounding:int16! "
        "territories:text[]",
        rows(),
        keys=[["code"]],
        checks={"code": "regexp_full_match(code, '[A-Z]{3}')", "digits": "digits >= 0"},
    )


def _territories() -> Relation:
    zones: Any = get_global("territory_zones")
    used: Any = get_global("territory_currencies")
    spoken: Any = get_global("territory_languages")
    names = Locale("en").territories
    codes = sorted(used.keys() | spoken.keys() | zones.keys() | names.keys())
    return relation(
        "territories",
        "code:text! name:text zones:text[]",
        ((code, names.get(code), zones.get(code)) for code in codes),
        keys=[["code"]],
    )


def _currency_names() -> Relation:
    known = {row[0] for row in _currencies().rows}

    def rows() -> Iterator[Row]:
        for code in LOCALES:
            locale = Locale.parse(code)
            for currency in sorted(locale.currencies.keys() & known):
                symbol = locale.currency_symbols.get(currency)
                yield code, currency, locale.currencies[currency], symbol

    return relation(
        "currency_names",
        "locale:text! currency:text! name:text! symbol:text",
        rows(),
        keys=[["locale", "currency"]],
        references=["locale>locales(code)", "currency>currencies(code)"],
    )


def _currency_uses() -> Relation:
    uses: Any = get_global("territory_currencies")

    def rows() -> Iterator[Row]:
        for territory in sorted(uses):
            for currency, starts, ends, tender in uses[territory]:
                period = (date(*day) if day else None for day in (starts, ends))
                yield territory, currency, *period, tender

    return relation(
        "currency_uses",
        "territory:text! currency:text! starts:date ends:date tender:bool!",
        rows(),
        keys=[["territory", "currency", "starts"]],
        checks={"period": "ends >= starts"},
        references=["territory>territories(code)", "currency>currencies(code)"],
    )


def _territory_languages() -> Relation:
    spoken: Any = get_global("territory_languages")

    def rows() -> Iterator[Row]:
        for territory in sorted(spoken):
            for language, facts in sorted(spoken[territory].items()):
                percent = Decimal(repr(facts["population_percent"])).quantize(Decimal("0.000001"))
                yield territory, language, percent, facts["official_status"]

    return relation(
        "territory_languages",
        "territory:text! language:text! percent:decimal(9,6)! status:text",
        rows(),
        keys=[["territory", "language"]],
        checks={"percent": "percent BETWEEN 0 AND 100"},
        references=["territory>territories(code)"],
    )
