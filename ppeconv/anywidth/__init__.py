"""One network, any width: AWN (arXiv 2012.03153), S-Net (arXiv 1812.08928) and US-Net (arXiv 1903.05134).

from ppeconv import anywidth
model = anywidth.make_anywidth(model, kind="awn")
with model.at_width(0.37):
    scores = model(images)
"""

from .channels import Channels, Layout
from .convert import make_anywidth
from .layers import AnyWidthConv2D, AnyWidthLinear, TriangularConv2D, TriangularLinear
from .narrow import WidthCounts, count_width, narrow
from .norms import CalibratedBatchNorm, PrivateBatchNorm, SharedBatchNorm
from .width import Facts, calibrate, set_width, width_of

__all__ = [
    "AnyWidthConv2D",
    "AnyWidthLinear",
    "CalibratedBatchNorm",
    "Channels",
    "Facts",
    "Layout",
    "PrivateBatchNorm",
    "SharedBatchNorm",
    "TriangularConv2D",
    "TriangularLinear",
    "WidthCounts",
    "calibrate",
    "count_width",
    "make_anywidth",
    "narrow",
    "set_width",
    "width_of",
]
