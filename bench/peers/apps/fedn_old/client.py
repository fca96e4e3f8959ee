"""A client over FEDn 0.33's client API: `python client.py CONTROLLER I`; the weights that came, plus I + 1."""

from __future__ import annotations

import sys
import uuid
from io import BytesIO
from typing import Any

import numpy as np

from fedn.network.clients.fedn_client import ConnectToApiResult, FednClient
from fedn.utils.helpers.helpers import get_helper


def main() -> None:
    """Connect, then train whenever asked."""
    url, number = sys.argv[1], int(sys.argv[2])
    helper, own = get_helper("numpyhelper"), np.float32(number + 1)

    def train(model: BytesIO, _settings: dict[str, Any]) -> tuple[BytesIO, dict[str, Any]]:
        model.seek(0)
        answer = BytesIO()
        helper.save([weights + own for weights in helper.load(model)], answer)
        answer.seek(0)
        return answer, {"training_metadata": {"num_examples": 1}}

    client = FednClient(train_callback=train)
    name = f"client-{number}"
    about = {"name": name, "client_id": str(uuid.uuid4()), "package": "local", "combiner_preferred": "combiner"}
    result, found = client.connect_to_api(url, "", about)
    if result != ConnectToApiResult.Assigned:
        sys.exit(f"not assigned: {result} {found}")
    client.init_grpchandler(found, name, "")
    client.run()


if __name__ == "__main__":
    main()
