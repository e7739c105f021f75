"""What is done to Paddle's layers one at a time: handing over, folding, shuffling."""
