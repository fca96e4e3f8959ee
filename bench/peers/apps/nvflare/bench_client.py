"""A client's part of the job, over NVFlare's Client API: the weights that came, plus a constant of its own."""

from __future__ import annotations

import numpy as np
import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel

flare.init()
own = np.float32(flare.get_site_name().rpartition("-")[2])
while flare.is_running():
    model = flare.receive()
    weights = {name: np.asarray(array, np.float32) + own for name, array in model.params.items()}
    flare.send(FLModel(params=weights, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
