"""``udocker-batch stage``."""
