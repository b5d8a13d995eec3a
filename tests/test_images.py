import io
import os
import random
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from atrous.errors import ImageError, OutputError
from atrous.images import UnreadableError, image_size, read_image, read_raw_mask, write_image, write_mask
from atrous.labels import VOID_COLOUR, Labels

SMOOTH = np.stack(np.meshgrid(np.arange(0, 240, 10), np.arange(0, 160, 10)), axis=-1)  # (16, 24, 2)
PHOTO = np.dstack([SMOOTH, np.full(SMOOTH.shape[:2], 90)]).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), extra, chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_give_the_same_pixels(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(encoded(Image.fromarray(PHOTO), kind, **({"lossless": True} if kind == "WEBP" else {})))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, PHOTO)
    assert image_size(path) == PHOTO.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turn_is_applied_once(tmp_path, kind, orientation):
    path = tmp_path / "a"
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = encoded(Image.fromarray(PHOTO), kind, exif=turned(orientation), **options)
    path.write_bytes(content)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    read = read_image(path)
    np.testing.assert_array_equal(read, np.asarray(expected))
    assert read.shape[:2] == (PHOTO.shape[:2] if orientation < 5 else PHOTO.shape[1::-1])
    assert image_size(path) == read.shape[:2]
    corner = read[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int).sum(axis=1).argmin()  # the dark corner is top left at 1
    assert corner == {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation]


def test_exif_after_the_pixels_of_a_png_counts_too(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 1, 8, 0, b"\0\1\2\3", chunk(b"eXIf", turned(6).tobytes().removeprefix(b"Exif\0\0"))))
    assert image_size(path) == (3, 1)
    assert read_image(path)[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_is_no_turn(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.fromarray(PHOTO), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert read_image(path).shape == PHOTO.shape
    assert image_size(path) == PHOTO.shape[:2]


def test_grey_palette_cmyk_and_transparent_pictures_become_rgb(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    colours = Image.fromarray(PHOTO)
    see_through = Image.fromarray(np.dstack([PHOTO, np.zeros(PHOTO.shape[:2], np.uint8)]))
    palette = colours.quantize(8)
    cases = {
        "grey": (Image.fromarray(grey), "PNG", {}, np.dstack([grey] * 3)),
        "grey and alpha": (Image.merge("LA", [Image.fromarray(grey)] * 2), "PNG", {}, np.dstack([grey] * 3)),
        "rgba keeps the stored colours": (see_through, "PNG", {}, PHOTO),
        "palette": (palette, "PNG", {}, np.asarray(palette.convert("RGB"))),
        "palette with transparency": (
            palette,
            "PNG",
            {"transparency": bytes([0, 99])},
            np.asarray(palette.convert("RGB")),
        ),
        "cmyk": (Image.fromarray(PHOTO).convert("CMYK"), "TIFF", {}, PHOTO),
        "1 bit": (Image.fromarray(grey > 100), "PNG", {}, np.dstack([(grey > 100) * np.uint8(255)] * 3)),
        "16 bit": (Image.fromarray(grey.astype(np.uint16) * 257), "PNG", {}, np.dstack([grey] * 3)),
        "16 bit tiff": (Image.fromarray(grey.astype(np.uint16) * 257), "TIFF", {}, np.dstack([grey] * 3)),
    }
    for name, (image, kind, options, expected) in cases.items():
        (tmp_path / name).write_bytes(encoded(image, kind, **options))
        np.testing.assert_array_equal(read_image(tmp_path / name), expected, err_msg=name)


def test_cmyk_jpeg_is_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=100))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - PHOTO).mean() < 5


def test_first_frame_of_a_gif(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("#102030", "#ffffff")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [0x10, 0x20, 0x30]


def test_jpeg_goes_to_simplejpeg_where_it_is_installed(tmp_path, monkeypatch):
    calls = []

    def decode(content, *, colorspace):
        calls.append(colorspace)
        return np.array(Image.open(io.BytesIO(content)).convert("RGB"))

    monkeypatch.setitem(sys.modules, "simplejpeg", types.SimpleNamespace(decode_jpeg=decode))
    (tmp_path / "rgb.jpg").write_bytes(encoded(Image.fromarray(PHOTO), "JPEG", exif=turned(6)))
    (tmp_path / "cmyk.jpg").write_bytes(encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"))
    assert read_image(tmp_path / "rgb.jpg").shape == (24, 16, 3)
    read_image(tmp_path / "cmyk.jpg")
    assert calls == ["RGB"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_simplejpeg_and_pillow_agree(tmp_path, monkeypatch, mode):
    pytest.importorskip("simplejpeg")
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.fromarray(PHOTO).convert(mode), "JPEG", quality=80))
    fast = read_image(path)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    np.testing.assert_array_equal(read_image(path), fast)


def bad_files():
    jpeg = encoded(Image.fromarray(PHOTO), "JPEG")
    picture = encoded(Image.fromarray(PHOTO), "PNG")
    floats = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    return {
        "empty file": (b"", "an empty file"),
        "text": (b"hello, I am text" * 20, "not an image"),
        "truncated JPEG": (jpeg[: len(jpeg) // 2], "truncated JPEG data"),
        "truncated PNG": (picture[: len(picture) // 2], "truncated PNG data"),
        "header only": (picture[:20], "PNG data"),
        "HEIC": (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC"),
        "PDF": (b"%PDF-1.7" + bytes(200), "a PDF file, which is not read"),
        "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "bomb": (png(60_000, 60_000, 1, 0, b""), "3600 million; expected at most 89.5 million pixels"),
        "float": (floats, "32-bit float"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_bad_file_is_an_image_error_with_name_fault_and_next_step(tmp_path, name):
    content, text = bad_files()[name]
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=text) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "expected" in str(caught.value)
    assert isinstance(caught.value, UnreadableError)
    assert caught.value.fault.fix


def test_missing_file_folder_pipe_and_impossible_name(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path / ("n" * 5000))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


def test_pixel_cap_is_exact(tmp_path):
    write_image(tmp_path / "a.png", PHOTO)
    assert read_image(tmp_path / "a.png", max_pixels=16 * 24).shape == PHOTO.shape
    with pytest.raises(ImageError, match="16 x 24 pixels"):
        read_image(tmp_path / "a.png", max_pixels=16 * 24 - 1)


def test_error_can_be_rebuilt_from_its_message():
    # torch's loader does so when a worker process fails
    assert str(UnreadableError("text")) == "text"


def outcome(reader, path) -> str:
    """The message, empty where the file was read; anything but an ImageError fails the test."""
    try:
        reader(path)
    except ImageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_mutated_bytes_raise_nothing_but_image_errors(tmp_path, kind):
    original = encoded(Image.fromarray(PHOTO), kind, exif=turned(6))
    random_bytes = random.Random(7)
    path = tmp_path / "a"
    messages = []
    for _ in range(500):
        content = bytearray(original)
        for _ in range(random_bytes.randint(1, 8)):
            content[random_bytes.randrange(len(content))] = random_bytes.randrange(256)
        if random_bytes.random() < 0.2:
            del content[random_bytes.randrange(len(content)) :]
        path.write_bytes(content)
        messages += [outcome(reader, path) for reader in (read_image, read_raw_mask, image_size)]
    assert "" in messages  # some mutants are still pictures
    assert all(str(path) in message for message in messages if message)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"])
)
def test_any_bytes_raise_nothing_but_image_errors(tmp_path_factory, content, magic):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(magic + content)
    for reader in (read_image, read_raw_mask, image_size):
        message = outcome(reader, path)
        assert not message or str(path) in message


def test_masks_keep_their_values(tmp_path):
    values = np.array([[0, 1, 2], [15, 20, 255]], np.uint8)
    palette = Image.fromarray(values)
    palette.putpalette([7] * 768)
    wide = values.astype(np.uint16) * 200
    cases = {
        "grey": (Image.fromarray(values), "PNG", values),
        "palette": (palette, "PNG", values),
        "palette gif": (palette, "GIF", values),
        "palette bmp": (palette, "BMP", values),
        "1 bit": (Image.fromarray(values > 2), "PNG", (values > 2).astype(np.uint8)),
        "1 bit tiff": (Image.fromarray(values > 2), "TIFF", (values > 2).astype(np.uint8)),
        "16 bit": (Image.fromarray(wide), "PNG", wide),
        "16 bit tiff": (Image.fromarray(wide), "TIFF", wide),
        "32 bit tiff": (Image.fromarray(wide.astype(np.int32)), "TIFF", wide),
        "equal channels": (Image.fromarray(np.dstack([values] * 3)), "PNG", values),
    }
    for name, (image, kind, expected) in cases.items():
        options = {"optimize": False} if kind == "GIF" else {}  # else Pillow renumbers the palette
        (tmp_path / name).write_bytes(encoded(image, kind, **options))
        read = read_raw_mask(tmp_path / name)
        assert read.dtype == expected.dtype, name
        np.testing.assert_array_equal(read, expected, err_msg=name)


@pytest.mark.parametrize(("depth", "row"), [(2, 0b00_01_10_11), (4, 0x0F)])
@pytest.mark.parametrize("colour", [0, 3])
def test_grey_and_palette_masks_of_few_bits_keep_their_numbers(tmp_path, depth, row, colour):
    width = 8 // depth
    palette = chunk(b"PLTE", bytes(range(48)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes([0, row])))
    content = header + (palette if colour == 3 else b"") + data + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert read_raw_mask(tmp_path / "a.png").tolist() == [[0, 1, 2, 3] if depth == 2 else [0, 15]]


def bad_masks():
    colours = Image.fromarray(PHOTO)
    return {
        "colour": (encoded(Image.fromarray(PHOTO // 100 * 100), "PNG"), r"a colour mask \(RGB, \d+ distinct values\)"),
        "many colours": (encoded(colours, "PNG"), r"\(RGB, more than 256"),
        "rgba": (encoded(colours.convert("RGBA"), "PNG"), r"a colour mask \(RGBA"),
        "cmyk": (encoded(colours.convert("CMYK"), "TIFF"), r"a colour mask \(CMYK"),
        "grey with alpha": (encoded(colours.convert("LA"), "PNG"), "a grey mask with transparency"),
        "jpeg": (encoded(colours.convert("L"), "JPEG"), "a JPEG mask.*Export the masks as PNG"),
        "jpeg in tiff": (encoded(colours.convert("L"), "TIFF", compression="jpeg"), "a JPEG mask"),
        "webp": (encoded(colours, "WEBP", lossless=True), "a WebP mask"),
        "turned": (encoded(colours.convert("L"), "PNG", exif=turned(6)), "a mask with an EXIF turn"),
        "turned tiff": (encoded(colours.convert("L"), "TIFF", exif=turned(3)), "a mask with an EXIF turn"),
        "negative": (encoded(Image.fromarray(np.full((2, 2), -1, np.int32)), "TIFF"), "32-bit values from -1"),
        "float": (encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "a mask of float values"),
        "empty": (b"", "an empty file"),
    }


@pytest.mark.parametrize("name", bad_masks())
def test_bad_mask_is_refused_with_the_reason(tmp_path, name):
    content, text = bad_masks()[name]
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ImageError, match=text):
        read_raw_mask(tmp_path / "m.png")


LABELS = Labels(names=("sky", "road"), palette=((1, 2, 3), (4, 5, 6)))


def test_mask_round_trip_in_colour(tmp_path):
    label_map = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    write_mask(tmp_path / "m.png", label_map, LABELS)
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "m.png"), label_map)
    with Image.open(tmp_path / "m.png") as image:
        shown = image.convert("RGB")
    assert [shown.getpixel((x, 0)) for x in range(3)] == [(1, 2, 3), (4, 5, 6), VOID_COLOUR]


@pytest.mark.parametrize("count", [1, 2, 255, 256, 300])
def test_mask_round_trip_with_any_number_of_classes(tmp_path, count):
    labels = Labels.numbered(count)
    label_map = np.array([[0, count - 1, labels.ignore_index]], np.uint16)
    write_mask(tmp_path / "m.png", label_map, labels)
    read = read_raw_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(read, label_map)
    assert read.dtype == (np.uint8 if count <= 255 else np.uint16)


@pytest.mark.parametrize("label_map", [np.full((2, 2), 2), np.zeros((2, 2, 3), int), np.full((1, 1), -1)])
def test_what_is_no_label_map_is_not_written(tmp_path, label_map):
    with pytest.raises(ValueError, match=r"label map|negative|non-negative"):
        write_mask(tmp_path / "m.png", label_map, LABELS)
    assert not list(tmp_path.iterdir())


def test_image_round_trip_and_suffixes(tmp_path):
    write_image(tmp_path / "a.png", PHOTO)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PHOTO)
    write_image(tmp_path / "a.JPG", PHOTO)
    assert np.abs(read_image(tmp_path / "a.JPG").astype(int) - PHOTO).mean() < 4
    write_image(tmp_path / "grey.png", PHOTO[..., 0])
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "grey.png"), PHOTO[..., 0])
    with pytest.raises(OutputError, match=r"the suffix is '\.txt'"):
        write_image(tmp_path / "a.txt", PHOTO)


def test_no_metadata_is_written(tmp_path):
    write_image(tmp_path / "a.jpg", PHOTO)
    write_mask(tmp_path / "m.png", np.zeros((2, 2), np.uint8), LABELS)
    for name in ("a.jpg", "m.png"):
        with Image.open(tmp_path / name) as image:
            assert not image.getexif()
