"""Images by their names and contents: read with suspicion, kept once."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image, features

from meschain.app.images.content import PIXELS_MAX, look_at
from meschain.app.images.naming import CodedVariant, Codes, Owner
from meschain.app.images.press import derive
from meschain.app.images.refusal import ImageReason, ImageRefused
from meschain.app.images.source import SourceRefused, opened_source
from meschain.app.images.store import BYTES_MAX, ImageStore, Received, receive
from meschain.domain.image import derived_names, hash_in, original_name
from meschain.messages import LANGUAGES, Catalog
from tests.pictures import picture, vast_png

# — names —

VARIANTS = (
    CodedVariant(1, 10, "KZK-1042-M", "8690000000012", "KZK-1042"),
    CodedVariant(2, 10, "KZK-1042-L", "8690000000029", "KZK-1042"),
    CodedVariant(3, 11, "ABC", "555", "ABC"),
    CodedVariant(4, 12, "ABC-2", "555", "M4"),
    CodedVariant(5, 13, "abc", "", "M5"),
    CodedVariant(6, 14, "ŞAL-7", "", "M6"),
)


@pytest.mark.parametrize(
    ("name", "product", "variant", "place"),
    [
        ("KZK-1042-M.jpg", 10, 1, 1),
        ("KZK-1042-M-2.jpg", 10, 1, 2),
        ("KZK-1042-M_3.png", 10, 1, 3),
        ("KZK-1042-M 4.png", 10, 1, 4),
        ("KZK-1042-M (5).webp", 10, 1, 5),
        ("KZK-1042-M(6).webp", 10, 1, 6),
        ("kzk-1042-m.JPG", 10, 1, 1),
        ("photos/summer/KZK-1042-M.jpg", 10, 1, 1),
        ("8690000000029-2.jpg", 10, 2, 2),
        ("KZK-1042.jpg", 10, None, 1),
        ("KZK-1042_2.jpg", 10, None, 2),
        ("KZK-1042-L/2.jpg", 10, 2, 2),
        ("KZK-1042-L/IMG_0007.jpg", 10, 2, 7),
        ("KZK-1042-L/IMG_4711.jpg", 10, 2, 4711),
        ("KZK-1042-L/front.jpg", 10, 2, 1),
        ("ABC-2.jpg", 12, 4, 1),  # a whole code comes before a code and a number
        ("ABC-2-2.jpg", 12, 4, 2),
        ("ABC.jpg", 11, 3, 1),  # told apart by case
        ("abc.jpg", 13, 5, 1),
        ("S\u0327AL-7.jpg", 14, 6, 1),  # letters in pieces, as macOS writes names
    ],
)
def test_a_file_belongs_to_the_code_that_it_is_named_after(
    name: str, product: int, variant: int | None, place: int
) -> None:
    owner, found = Codes(VARIANTS).owner_of(name)
    assert (owner.product_id, owner.variant_id, found) == (product, variant, place)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.jpg", ImageReason.UNMATCHED),
        ("KZK-1042-XL.jpg", ImageReason.UNMATCHED),
        ("KZK-1042-M-100.jpg", ImageReason.UNMATCHED),
        ("555.jpg", ImageReason.AMBIGUOUS),  # a barcode of two variants
        ("Abc.jpg", ImageReason.AMBIGUOUS),  # two SKUs but for case
    ],
)
def test_a_name_of_nobody_or_of_several_is_refused(name: str, reason: ImageReason) -> None:
    with pytest.raises(ImageRefused) as refused:
        Codes(VARIANTS).owner_of(name)
    assert refused.value.reason is reason


def test_a_model_code_that_is_also_a_sku_means_the_variant() -> None:
    assert Codes(VARIANTS).find("ABC") == Owner(11, 3, "ABC")


# — contents —


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
    ],
)
def test_what_a_file_is_its_content_decides(tmp_path: Path, kind: str, media_type: str) -> None:
    path = tmp_path / "photo.gif"
    picture(path, (40, 60), kind=kind)
    look = look_at(path)
    assert (look.media_type, look.width_px, look.height_px) == (media_type, 40, 60)


def reason_of(path: Path, content: bytes) -> ImageReason:
    path.write_bytes(content)
    with pytest.raises(ImageRefused) as refused:
        look_at(path)
    return refused.value.reason


def test_lying_damaged_and_vast_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    whole = picture(path, (400, 600))
    assert reason_of(path, b"<svg xmlns='http://www.w3.org/2000/svg'/>") is ImageReason.TYPE
    assert reason_of(path, b"%PDF-1.7") is ImageReason.TYPE
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "GIF")
    assert reason_of(path, gif.getvalue()) is ImageReason.TYPE
    assert reason_of(path, whole[: len(whole) // 2]) is ImageReason.DAMAGED
    assert reason_of(path, whole[:20]) in {ImageReason.DAMAGED, ImageReason.TYPE}
    side = int(PIXELS_MAX**0.5) + 10
    assert reason_of(path, vast_png(side, side)) is ImageReason.TOO_MANY_PIXELS
    assert reason_of(path, vast_png(100_000, 100_000)) is ImageReason.TOO_MANY_PIXELS
    assert reason_of(path, vast_png(600, 600)[:-200]) is ImageReason.DAMAGED


def test_an_image_is_as_large_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (60, 40)).save(path, "JPEG", exif=exif)
    look = look_at(path)
    assert (look.width_px, look.height_px) == (40, 60)


def test_no_more_is_copied_than_an_image_may_have(tmp_path: Path) -> None:
    with pytest.raises(ImageRefused) as refused:
        receive(io.BytesIO(b"x" * (BYTES_MAX + 1)), tmp_path / "image")
    assert refused.value.reason is ImageReason.TOO_LARGE
    with pytest.raises(ImageRefused) as refused:
        receive(io.BytesIO(b""), tmp_path / "image")
    assert refused.value.reason is ImageReason.EMPTY


# — folders and archives —


def fetched(path: Path, target: Path) -> dict[str, ImageReason | int]:
    """Name → bytes, or why it is refused."""
    found: dict[str, ImageReason | int] = {}
    with opened_source(path) as files:
        for file in files:
            try:
                found[file.name] = file.fetch(target).content_bytes
            except ImageRefused as refused:
                found[file.name] = refused.reason
    return found


def test_a_folder_is_read_in_order_without_litter_links_and_pipes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("b.jpg", "a/1.jpg", ".hidden.jpg", "Thumbs.db", "__MACOSX/c.jpg", ".git/d.jpg"):
        picture(folder / name, (4, 4))
    secret = tmp_path / "secret.jpg"
    picture(secret)
    (folder / "link.jpg").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.jpg")
    found = fetched(folder, tmp_path / "target")
    assert list(found) == ["a/1.jpg", "b.jpg", "link.jpg", "pipe.jpg"]
    assert found["link.jpg"] is found["pipe.jpg"] is ImageReason.NO_FILE


def test_names_that_no_text_can_hold_are_made_sayable(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    os.close(os.open(os.fsencode(folder) + b"/KZK-\xde.jpg", os.O_CREAT | os.O_WRONLY))
    picture(folder / "\x1b[2J.jpg", (4, 4))
    assert sorted(fetched(folder, tmp_path / "target")) == ["KZK-�.jpg", "�[2J.jpg"]


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_writes_nothing_outside_and_bad_members_hold_nothing_up(
    tmp_path: Path,
) -> None:
    good = picture(tmp_path / "good.jpg", (4, 4))
    members = {
        "A.jpg": good,
        "../../evil.jpg": good,
        "/etc/evil.jpg": good,
        "sub\\B.jpg": good,
        "..\\evil.jpg": good,
        ".DS_Store": b"x",
        "large.jpg": b"\0" * (BYTES_MAX + 1),
    }
    source = packed(tmp_path / "photos.zip", members)
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / "target"
    assert fetched(source, target) == {
        "../../evil.jpg": ImageReason.NAME_UNSAFE,
        "../evil.jpg": ImageReason.NAME_UNSAFE,
        "/etc/evil.jpg": ImageReason.NAME_UNSAFE,
        "A.jpg": len(good),
        "large.jpg": ImageReason.TOO_LARGE,
        "sub/B.jpg": len(good),
    }
    assert sorted(tmp_path.rglob("*")) == sorted([*before, target])


def test_an_archive_that_unfolds_beyond_measure_is_not_read_on(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb.zip", {f"{n}.jpg": b"\0" * (16 << 20) for n in range(8)})
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(SourceRefused) as refused:
        fetched(bomb, tmp_path / "target")
    assert refused.value.kind == "bomb"


def test_a_header_that_lies_about_the_size_does_not_help(tmp_path: Path) -> None:
    path = packed(tmp_path / "lie.zip", {"A.jpg": b"\0" * (BYTES_MAX + 1)})
    content = bytearray(path.read_bytes())
    true = (BYTES_MAX + 1).to_bytes(4, "little")
    path.write_bytes(content.replace(true, (100).to_bytes(4, "little")))
    found = fetched(path, tmp_path / "target")
    assert found["A.jpg"] in {ImageReason.UNREADABLE, ImageReason.TOO_LARGE}


def test_encrypted_and_broken_members_are_named_and_what_is_no_archive_is_refused(
    tmp_path: Path,
) -> None:
    path = packed(tmp_path / "a.zip", {"A.jpg": b"one" * 50, "B.jpg": b"two" * 50})
    content = path.read_bytes()
    # The flag "encrypted" in both headers of the first member.
    place = content.index(b"PK\x01\x02") + 8
    marked = bytearray(content)
    marked[6] |= 1
    marked[place] |= 1
    path.write_bytes(marked)
    assert fetched(path, tmp_path / "target") == {"A.jpg": ImageReason.UNREADABLE, "B.jpg": 150}
    other = tmp_path / "notes.txt"
    other.write_text("no archive", encoding="utf-8")
    with pytest.raises(SourceRefused) as refused:
        fetched(other, tmp_path / "target")
    assert refused.value.kind == "kind"
    with pytest.raises(FileNotFoundError):
        fetched(tmp_path / "absent.zip", tmp_path / "target")


# — the store and derived sizes —


def put(store: ImageStore, folder: Path, content: bytes) -> str:
    path = folder / "incoming"
    received = receive(io.BytesIO(content), path)
    name = original_name(received.content_hash, look_at(path).media_type)
    store.folder.mkdir(exist_ok=True)
    store.keep(received, name)
    return name


def test_a_content_is_kept_once_and_pruned_with_all_that_was_made_of_it(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    one = put(store, tmp_path, picture(tmp_path / "1.jpg", (40, 60)))
    two = put(store, tmp_path, picture(tmp_path / "2.png", (40, 60), kind="PNG"))
    assert put(store, tmp_path, (tmp_path / "1.jpg").read_bytes()) == one
    assert sorted(store.names()) == sorted([one, two])
    derive(store.path(two))
    orphan = store.folder / "ff" / f"{'f' * 64}-160.webp"  # made while its original was pruned
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    left = store.path(one).parent / ".derived-x"
    left.mkdir()
    (store.folder / "incoming" / "y").mkdir(parents=True)
    kept = hash_in(one)
    assert kept is not None
    assert store.prune({kept}) == (1, (tmp_path / "2.png").stat().st_size)
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == [one]
    assert not left.exists()


def test_a_content_that_was_cut_off_on_the_disk_is_put_anew(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    content = picture(tmp_path / "1.jpg", (40, 60))
    name = put(store, tmp_path, content)
    store.path(name).write_bytes(content[:10])
    put(store, tmp_path, content)
    assert store.path(name).read_bytes() == content


def test_names_that_are_not_ours_lead_nowhere() -> None:
    hexadecimal = "a" * 64
    assert hash_in(f"{hexadecimal}.jpg") == hash_in(f"{hexadecimal}-480.webp") == hexadecimal
    for name in (
        *("../master.key", f"../{hexadecimal}.jpg", f"{hexadecimal}", f"{hexadecimal}.svg"),
        *(f"{hexadecimal}-481.webp", f"{hexadecimal}-480.jpg", f"{hexadecimal}.jpg\n"),
    ):
        assert hash_in(name) is None, name


def test_sizes_are_made_in_both_formats_never_enlarged_and_without_the_cameras_notes(
    tmp_path: Path,
) -> None:
    assert features.check("webp")
    assert features.check("avif")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "CAMERA-OF-KAYA"
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (900, 600), (10, 120, 200)).save(path, "JPEG", exif=exif)
    received: Received = receive(io.BytesIO(path.read_bytes()), tmp_path / "copy")
    original = path.rename(tmp_path / original_name(received.content_hash, "image/jpeg"))
    derive(original)
    for name, (width, media_type) in derived_names(received.content_hash).items():
        content = (tmp_path / name).read_bytes()
        assert b"CAMERA-OF-KAYA" not in content
        with Image.open(io.BytesIO(content)) as image:
            assert image.get_format_mimetype() == media_type
            assert image.size == {1200: (600, 900), 480: (480, 720), 160: (160, 240)}[width]


@pytest.mark.parametrize(
    ("mode", "kind", "extension"),
    [("P", "PNG", "png"), ("RGBA", "PNG", "png"), ("CMYK", "JPEG", "jpg"), ("L", "AVIF", "avif")],
)
def test_images_of_every_color_mode_become_sizes(
    tmp_path: Path, mode: str, kind: str, extension: str
) -> None:
    path = tmp_path / f"{'0' * 64}.{extension}"
    Image.new(mode, (300, 200)).save(path, kind)
    derive(path)
    assert len(list(tmp_path.glob("0*-*"))) == 6


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_has_a_text(language: str) -> None:
    words = Catalog.load(language)
    assert [each for each in ImageReason if each not in words] == []
