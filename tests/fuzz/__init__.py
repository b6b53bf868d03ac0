"""Hostile bytes for everything that reads what strangers wrote.

``targets.py`` turns bytes into input and checks what the product does with it, ``run.py`` looks for bytes
that break it, led by coverage; ``make fuzz`` runs it, and tests/unit/test_fuzz.py a short time of it.
"""
