"""Images of any size: computed by windows, with little memory, as if at once."""

from atrous.tiling.blended import Blended
from atrous.tiling.choice import Means, Tiles, choose_tiles, parse_tile
from atrous.tiling.parts import Trunk
from atrous.tiling.stitched import Stitched
from atrous.tiling.tiler import Tiler

__all__ = ["Blended", "Means", "Stitched", "Tiler", "Tiles", "Trunk", "choose_tiles", "parse_tile"]
