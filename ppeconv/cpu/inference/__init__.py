"""An exported network, run by the oneDNN library that the paddlepaddle wheel bundles, with as few passes as it can."""

from .executor import Executor

__all__ = ["Executor"]
