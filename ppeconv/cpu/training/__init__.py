"""What stands in for Paddle's layers while `ppeconv.backend` is enabled."""
