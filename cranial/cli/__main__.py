"""`python -m cranial.cli` is `cranial`."""

import sys

from . import main

sys.exit(main())
