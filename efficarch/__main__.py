"""``python -m efficarch``, for a bare checkout."""

import sys

from efficarch.cli import main

sys.exit(main())
