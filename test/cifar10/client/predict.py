"""Name the class of this client's first test images: python predict.py <model-in> <predictions-out.json>"""

import json
import sys
from pathlib import Path

import torch
from data import load_test
from model import new_model
from settings import load_settings

from fedn.model.helpers import torch as helper

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main(model_in, predictions_out):
    torch.set_num_threads(1)
    images, _ = load_test()
    model = helper.load(model_in, into=new_model())
    with torch.no_grad():
        predicted = model(images[: load_settings()["predict_images"]]).argmax(dim=1).tolist()
    Path(predictions_out).write_text(json.dumps({"classes": [CLASSES[one] for one in predicted]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
