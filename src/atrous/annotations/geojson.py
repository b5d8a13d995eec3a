"""GeoJSON (RFC 7946), with a word about what the coordinates are."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from atrous.files import replacing

__all__ = ["feature_collection", "write_geojson"]

PIXELS = 'LOCAL_CS["image pixels",UNIT["pixel",1]]'
UNNAMED = 'LOCAL_CS["unnamed map coordinates",UNIT["unknown",1]]'
_CODE = re.compile(r"EPSG:(\d{1,9})", re.IGNORECASE)
_WKT_CODE = re.compile(r'(?:ID|AUTHORITY)\[\s*"(\w{1,16})"\s*,\s*"?(\w{1,16})"?\s*\]\s*\]\s*$', re.IGNORECASE)
_WGS84 = {("EPSG", "4326"), ("OGC", "CRS84")}


def feature_collection(
    features: Sequence[dict[str, Any]], *, on_map: bool = False, crs: str | None = None
) -> dict[str, Any]:
    """Features as one GeoJSON object.

    RFC 7946 knows one coordinate system: WGS84, longitude first. Features in it are written as the standard says. All
    others carry the `crs` member of GeoJSON 2008, as GDAL writes and reads it: the EPSG code where the text has one, else
    the text itself, and for coordinates in pixels, or on a map whose system is not known, the name of a local system.
    Without it a reader would take pixels for degrees.

    Args:
        features: as from `atrous.regions.polygons`.
        on_map: whether the features were made with a transform; else they are in pixels.
        crs: the map's coordinate system: WKT, or `EPSG:32632`; None where it is not known.
    """
    name = _system_name(crs) if on_map else PIXELS
    member = {} if name is None else {"crs": {"type": "name", "properties": {"name": name}}}
    return {"type": "FeatureCollection", **member, "features": list(features)}


def write_geojson(
    path: Path, features: Iterable[dict[str, Any]], *, on_map: bool = False, crs: str | None = None
) -> None:
    """Write features one by one as GeoJSON; arguments are those of `feature_collection`. Raises OutputError."""
    head, _, tail = json.dumps(feature_collection([], on_map=on_map, crs=crs)).rpartition("]")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(head.encode())
        for number, feature in enumerate(features):
            file.write(b",\n" if number else b"\n")
            file.write(json.dumps(feature).encode())
        file.write(b"]" + tail.encode())


def _system_name(crs: str | None) -> str | None:
    """The name of a map's coordinate system, None for WGS84 itself."""
    if not crs or not crs.strip():
        return UNNAMED
    text = crs.strip()
    code = _CODE.fullmatch(text)
    authority = ("EPSG", code[1]) if code else _authority(text)
    if authority in _WGS84:
        return None
    return f"urn:ogc:def:crs:EPSG::{authority[1]}" if authority and authority[0] == "EPSG" else text


def _authority(text: str) -> tuple[str, str] | None:
    """Who names a whole coordinate system in WKT, and how: the last thing in it."""
    found = _WKT_CODE.search(text[-64:])
    return (found[1].upper(), found[2].upper()) if found else None
