"""The embedded scheduler: arrays on this machine, without any batch system."""
