"""The udocker command line, one file per command."""
