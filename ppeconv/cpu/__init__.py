"""Speed on a CPU through the oneDNN library of the paddlepaddle wheel; its face for training is `ppeconv.backend`."""
