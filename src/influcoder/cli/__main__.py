"""`python -m influcoder.cli` is the command `influcoder`."""

from influcoder.cli.app import main

if __name__ == "__main__":
    main()
