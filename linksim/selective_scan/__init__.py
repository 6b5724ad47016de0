"""The selective scan of state-space models with CSI-ReST: one function, four backends."""

from linksim.selective_scan.api import selective_scan, selective_scan_bidirectional
from linksim.selective_scan.backend import backends
from linksim.selective_scan.checks import ScanParameters

__all__ = ["ScanParameters", "backends", "selective_scan", "selective_scan_bidirectional"]
