"""Train the global model on this client's data: python train.py <model-in> <model-out>"""

import os
import sys

from data import load_train
from model import load_model
from settings import load_settings

from fedn.model.helpers import sklearn as helper


def main(model_in, model_out):
    settings = load_settings()
    model = load_model(
        model_in,
        seed=int(os.environ.get("FEDN_SEED", 0)),
        batch_size=settings["batch_size"],
        learning_rate_init=settings["learning_rate"],
    )
    images, labels = load_train()
    for _ in range(settings["epochs"]):
        model.partial_fit(images, labels)
    helper.save(model_out, model, num_examples=len(labels), metrics={"training_loss": model.loss_})


if __name__ == "__main__":
    main(*sys.argv[1:])
