"""Train the global model on this client's data: python train.py <model-in> <model-out>"""

import os
import sys

import numpy as np
from data import load_train
from model import step
from settings import load_settings

from fedn.model.helpers import numpy as helper


def main(model_in, model_out):
    settings = load_settings()
    model = helper.load(model_in)
    images, labels = load_train()
    rng = np.random.default_rng(int(os.environ.get("FEDN_SEED", 0)))
    for _ in range(settings["epochs"]):
        order = rng.permutation(len(labels))
        batches = np.split(order, range(settings["batch_size"], len(order), settings["batch_size"]))
        losses = [step(model, images[batch], labels[batch], settings["learning_rate"]) for batch in batches]
    metrics = {"training_loss": np.concatenate(losses).mean()}
    helper.save(model_out, model, num_examples=len(labels), metrics=metrics)


if __name__ == "__main__":
    main(*sys.argv[1:])
