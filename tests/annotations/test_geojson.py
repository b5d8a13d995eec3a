"""What GeoJSON says of its coordinates; GDAL's parser of names, in rasterio, is the judge."""

import json

import pytest

from atrous.annotations import feature_collection, write_geojson

WKT_1 = 'PROJCS["WGS 84 / UTM zone 32N",GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]],AUTHORITY["EPSG","32632"]]'
WKT_2 = 'PROJCRS["WGS 84 / UTM zone 32N",BASEGEOGCRS["WGS 84",ID["EPSG",4326]],ID["EPSG",32632]]\n'
NAMELESS = 'PROJCS["my own",GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]],UNIT["metre",1]]'
UTM = "urn:ogc:def:crs:EPSG::32632"


def name_of(**options):
    collection = feature_collection([], **options)
    return collection["crs"]["properties"]["name"] if "crs" in collection else None


@pytest.mark.parametrize("crs", ["EPSG:4326", "epsg:4326", 'GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]]',
                                 'GEOGCRS["WGS 84 (CRS84)",ID["OGC","CRS84"]]'])  # fmt: skip
def test_degrees_are_written_as_the_standard_has_them(crs):
    assert "crs" not in feature_collection([], on_map=True, crs=crs)


@pytest.mark.parametrize("crs", ["EPSG:32632", WKT_1, WKT_2])
def test_other_systems_are_named(crs):
    assert name_of(on_map=True, crs=crs) == UTM


def test_a_system_without_a_code_is_named_by_its_text():
    """The code of a part of it is not the code of the whole."""
    assert name_of(on_map=True, crs=NAMELESS) == NAMELESS


@pytest.mark.parametrize("crs", [None, "", "  "])
def test_an_unknown_system_is_never_taken_for_degrees(crs):
    assert name_of(on_map=True, crs=crs).startswith("LOCAL_CS")


def test_pixels_are_never_taken_for_degrees():
    assert name_of() == name_of(crs="EPSG:4326") == 'LOCAL_CS["image pixels",UNIT["pixel",1]]'


def test_gdal_understands_the_names():
    crs = pytest.importorskip("rasterio.crs").CRS
    assert crs.from_user_input(name_of(on_map=True, crs=WKT_1)).to_epsg() == 32632
    for name in (name_of(), name_of(on_map=True)):
        assert not crs.from_user_input(name).is_geographic


def test_hostile_text_takes_no_time():
    assert name_of(on_map=True, crs="AUTHORITY[" * 100_000)


def test_the_file_is_json(tmp_path):
    write_geojson(tmp_path / "a.geojson", [], on_map=True, crs="EPSG:4326")
    assert json.loads((tmp_path / "a.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
