"""What training and inference on a CPU share: oneDNN, threads, memory, what the CPU is."""
