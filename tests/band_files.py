"""Files of any bands and numbers, written without the code under test."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CODES = {"u": 1, "i": 2, "f": 3}  # sample formats of TIFF 6.0


def write_tiff(
    path: Path, array: np.ndarray, *, big_endian=False, bigtiff=False, nodata=None, turn=None, photometric=1
):
    """Write (H, W, bands) as plain TIFF in one strip, with nothing but what the format asks for."""
    order = ">" if big_endian else "<"
    height, width, bands = array.shape
    pixels = np.ascontiguousarray(array).astype(array.dtype.newbyteorder(order)).tobytes()
    colours = 3 if photometric == 2 else 1
    tags = {
        256: ("L", [width]),
        257: ("L", [height]),
        258: ("H", [array.dtype.itemsize * 8] * bands),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("Q" if bigtiff else "L", [0]),
        277: ("H", [bands]),
        278: ("L", [height]),
        279: ("L", [len(pixels)]),
        284: ("H", [1]),
        339: ("H", [CODES[array.dtype.kind]] * bands),
    }
    if bands > colours:
        tags[338] = ("H", [0] * (bands - colours))
    if turn is not None:
        tags[274] = ("H", [turn])
    if nodata is not None:
        tags[42113] = ("s", [nodata.encode() + b"\0"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_tiff(order, bigtiff, dict(sorted(tags.items())), pixels))
    return path


def _tiff(order: str, bigtiff: bool, tags: dict, pixels: bytes) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    start = 16 if bigtiff else 8
    header = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if bigtiff else struct.pack(f"{order}HL", 42, start)
    entry, inline, offset = (20, 8, "Q") if bigtiff else (12, 4, "L")
    after = start + (8 if bigtiff else 2) + entry * len(tags) + inline
    packed = {tag: b"".join(_packed(order, kind, value) for value in values) for tag, (kind, values) in tags.items()}
    extra, entries = b"", b""
    total = sum(len(data) for data in packed.values() if len(data) > inline)
    packed[273] = struct.pack(order + offset, after + total)
    for tag, (kind, values) in tags.items():
        data = packed[tag]
        count = len(data) if kind == "s" else len(values)
        place = data.ljust(inline, b"\0")
        if len(data) > inline:
            place = struct.pack(order + offset, after + len(extra))
            extra += data
        number = {"H": 3, "L": 4, "Q": 16, "s": 2}[kind]
        entries += struct.pack(f"{order}HH{offset}", tag, number, count) + place
    count = struct.pack(order + ("Q" if bigtiff else "H"), len(tags))
    return mark + header + count + entries + struct.pack(order + offset, 0) + extra + pixels


def _packed(order: str, kind: str, value) -> bytes:
    return value if kind == "s" else struct.pack(order + kind, value)


def write_png(path: Path, array: np.ndarray):
    """Write (H, W, 1 to 4) uint16 as PNG: grey, grey and alpha, RGB, or RGB and alpha."""
    height, width, channels = array.shape
    rows = array.astype(">u2").reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">LLBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks))
    return path


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def values(shape, dtype, seed=0) -> np.ndarray:
    """Random numbers over most of the type's range."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(0, 100, shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def write_bands_set(root: Path, *, bands=8, dtype="uint16", suffix=".tif", count=6, holes=0, size=(64, 96)):
    """Images of two classes that differ most in the last band, in folders images/ and masks/."""
    for index in range(count):
        rng = np.random.default_rng(index)
        mask = np.zeros(size, np.uint8)
        top, left = rng.integers(4, size[0] // 2), rng.integers(4, size[1] // 2)
        mask[top : top + 24, left : left + 36] = 1
        bright = rng.normal(0, 1, (*size, bands)) + 4 * mask[..., None] * np.linspace(0.25, 1, bands)
        image = (bright * np.linspace(20, 60, bands) + np.linspace(500, 2500, bands)).astype(dtype)
        image[:holes, :5] = np.nan if holes else 0
        write = write_png if suffix == ".png" else write_tiff
        write(root / "images" / f"tile{index}x{suffix}", image)
        path = root / "masks" / f"tile{index}x.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return root
