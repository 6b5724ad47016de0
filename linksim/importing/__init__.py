"""Published checkpoints as weights of linksim's codecs, without running anybody's code."""

from linksim.importing.importer import CONVERTERS, import_weights

__all__ = ["CONVERTERS", "import_weights"]
