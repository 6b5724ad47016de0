"""Pilots in an OFDM slot."""

from pydantic import Field, NonNegativeInt, PositiveInt

from linksim.settings import Settings


class PilotPattern(Settings):
    """Which resource elements of a slot carry pilots; each has unit power.

    symbols: the OFDM symbols with pilots, from 0. spacing: in them every so-manyth subcarrier has
    one, as near to the middle of the band as on either side; the others carry data.
    """

    symbols: tuple[NonNegativeInt, ...] = Field(min_length=1)
    spacing: PositiveInt = 1

    def subcarriers(self, count: int) -> range:
        """The subcarriers with pilots, of ``count``."""
        return range((count - 1) % self.spacing // 2, count, self.spacing)
