"""``python -m provml_tools.ontology``."""

import sys

from provml_tools.ontology import main

sys.exit(main())
