"""``python -m meschain`` is ``meschain``."""

from meschain.cli import main

main()
