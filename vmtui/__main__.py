"""`python -m vmtui` is the same program as the console script."""

from vmtui.cli.main import main

if __name__ == "__main__":
    main()
