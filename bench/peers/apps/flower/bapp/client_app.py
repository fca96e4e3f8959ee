"""The client: the weights that came, plus a constant of its own."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Answer with the weights and an equal share."""
    own = np.float32(int(context.node_config["i"]) + 1)
    weights = ArrayRecord({name: Array(array.numpy() + own) for name, array in msg.content["arrays"].items()})
    content = RecordDict({"arrays": weights, "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=content, reply_to=msg)
