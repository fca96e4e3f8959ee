"""Write the seed model: python init_model.py <model-out>"""

from __future__ import annotations

import sys

import numpy as np

from fedn.model.helpers import numpy as helper

helper.save(sys.argv[1], {"w": np.zeros(8, np.float32), "steps": np.zeros(1, np.int64)})
