"""Which operator to take: networks beside each other in accuracy and measured latency, and what follows from it."""
