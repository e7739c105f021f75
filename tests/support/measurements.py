"""Made-up measurements of slim."""

from ppeconv.slimming.measurements import Facts

FACTS = Facts(network="n", cpu="a CPU", runtime="paddle", batch_size=1, threads="2", ppeconv="0", paddle="3.3.1")
