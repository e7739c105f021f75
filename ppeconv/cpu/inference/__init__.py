"""An exported network, run by the oneDNN library that the paddlepaddle wheel bundles, with as few passes as it can."""
