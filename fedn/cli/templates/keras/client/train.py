"""Train the global model on this client's data: python train.py <model-in> <model-out>"""

import os
import sys

from data import load_train
from model import make_model
from settings import load_settings

from fedn.model.helpers import keras as helper


def main(model_in, model_out):
    settings = load_settings()
    seed = int(os.environ.get("FEDN_SEED", 0)) % 2**32
    model = helper.load(model_in, into=make_model(seed=seed, learning_rate=settings["learning_rate"]))
    images, labels = load_train()
    fitted = model.fit(images, labels, epochs=settings["epochs"], batch_size=settings["batch_size"], verbose=0)
    metrics = {"training_loss": fitted.history["loss"][-1]}
    helper.save(model_out, model, num_examples=len(labels), metrics=metrics)


if __name__ == "__main__":
    main(*sys.argv[1:])
