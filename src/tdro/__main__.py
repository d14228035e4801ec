"""Runs the command line as ``python -m tdro``."""

from tdro.cli import main

if __name__ == "__main__":
    main()
