"""`python -m evalqueue`: the command line."""

from evalqueue.cli.main import main

if __name__ == "__main__":
    main()
