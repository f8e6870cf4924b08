"""`python -m app.cli` is `sprout`."""

from app.cli.main import main

main()
