from __future__ import annotations

import pytest

from meschain.exchange.damage import BarcodeColumn, check_sku, check_text
from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason


@pytest.mark.parametrize(
    ("sku", "reason"),
    [
        ("", Reason.SKU_MISSING),
        ("12.May", Reason.SKU_DATE),
        ("5-Eki", Reason.SKU_DATE),
        ("Şub.26", Reason.SKU_DATE),
        ("May-12", Reason.SKU_DATE),
        ("12.Ağu.2026", Reason.SKU_DATE),
        ("2026-05-01", Reason.SKU_DATE),
        ("2026-05-01 00:00:00", Reason.SKU_DATE),
        ("01.05.2026", Reason.SKU_DATE),
        ("1/5/26", Reason.SKU_DATE),
        ("05/31/2026", Reason.SKU_DATE),
        ("8,68E+12", Reason.SKU_NUMBER_FORMAT),
        ("1.2E+05", Reason.SKU_NUMBER_FORMAT),
        ("K" * 101, Reason.SKU_TOO_LONG),
    ],
)
def test_what_a_spreadsheet_made_of_a_sku_is_refused(sku: str, reason: Reason) -> None:
    with pytest.raises(Fault) as refusal:
        check_sku(sku)
    assert refusal.value.reason is reason


@pytest.mark.parametrize(
    "sku",
    ["KZK-1042-M", "MAR-12", "12E5", "1.2.3.4", "45.13.2026", "2026-13-01", "MAY12", "İĞNE-1", "7"],
)
def test_a_plausible_sku_is_left_alone(sku: str) -> None:
    check_sku(sku)


def column(*barcodes: str) -> BarcodeColumn:
    noted = BarcodeColumn()
    for barcode in barcodes:
        noted.note(barcode)
    return noted


@pytest.mark.parametrize(
    ("barcode", "reason"),
    [
        ("8,68E+12", Reason.BARCODE_NUMBER_FORMAT),
        ("8.68E+12", Reason.BARCODE_NUMBER_FORMAT),
        ("8680000000017.0", Reason.BARCODE_NUMBER_FORMAT),
        ("X" * 41, Reason.BARCODE_TOO_LONG),
    ],
)
def test_a_damaged_barcode_is_refused(barcode: str, reason: Reason) -> None:
    with pytest.raises(Fault) as refusal:
        column().check(barcode)
    assert refusal.value.reason is reason


@pytest.mark.parametrize("barcode", ["DP000123", "8690000000012", "123", "IN-HOUSE 7", "0" * 5])
def test_an_in_house_code_or_a_true_gtin_passes_without_a_word(barcode: str) -> None:
    assert column("8690000000012").check(barcode) is None


def test_a_wrong_check_digit_is_only_a_warning() -> None:
    warning = column().check("8690000000013")
    assert warning is not None
    assert warning.reason is Reason.BARCODE_CHECK_DIGIT


def test_lost_zeros_are_proven_by_a_neighbor_with_the_same_beginning() -> None:
    with pytest.raises(Fault) as refusal:
        column("0799999000022").check("799999000039")
    assert refusal.value.reason is Reason.BARCODE_ZEROS_LOST
    assert refusal.value.params["restored"] == "0799999000039"


def test_lost_zeros_without_a_neighbor_are_only_suspected_among_thirteen_digit_codes() -> None:
    warning = column("8690000000012", "8690000000029").check("799999000039")
    assert warning is not None
    assert warning.reason is Reason.BARCODE_ZEROS_DOUBTFUL


def test_a_upc_among_in_house_codes_is_a_upc() -> None:
    assert column("DP1", "DP2", "DP3").check("799999000039") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Kazak\x07", Reason.ROW_CONTROL_CHARACTER),
        ("Kazak\x85", Reason.ROW_CONTROL_CHARACTER),
        ("\ufffdorap", Reason.ROW_DAMAGED_TEXT),
    ],
)
def test_invisible_and_lost_characters_are_refused(text: str, reason: Reason) -> None:
    with pytest.raises(Fault) as refusal:
        check_text(text, "Ürün Adı")
    assert refusal.value.reason is reason


def test_line_ends_and_tabs_belong_to_a_description_and_to_no_key() -> None:
    check_text("Yün\r\n\tkazak", "Açıklama")
    with pytest.raises(Fault) as refusal:
        check_text("KZK\t1", "Stok Kodu", is_key=True)
    assert refusal.value.reason is Reason.ROW_CONTROL_CHARACTER
