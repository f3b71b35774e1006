"""`python -m backlit`: the command line."""

from backlit.cli import main

main()
