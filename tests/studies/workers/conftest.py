"""Makes the fleet of workers and the database server beside these tests importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
