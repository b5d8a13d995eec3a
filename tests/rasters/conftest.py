import warnings

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")


@pytest.fixture
def write_tiff(tmp_path):
    """Write bands (bands, H, W) as TIFF through rasterio; keyword arguments go to it."""

    def write(bands, name="image.tif", *, prepare=None, **profile):
        bands = np.asarray(bands)
        path = tmp_path / name
        profile = {"driver": "GTiff", "count": bands.shape[0], "dtype": bands.dtype.name, **profile}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(path, "w", height=bands.shape[1], width=bands.shape[2], **profile)
        with file:
            if prepare is not None:
                prepare(file)
            file.write(bands)
        return path

    return write
