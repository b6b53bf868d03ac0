"""The UDOCKER_DIR on disk: layers, images, containers, locks, unpacking."""
