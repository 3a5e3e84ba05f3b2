"""The command line: the door to everything, above every other layer."""
