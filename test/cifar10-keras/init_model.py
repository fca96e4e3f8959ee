"""Write the seed model, from which the first round begins: python init_model.py <model-out>"""

import os
import sys

sys.path.insert(0, "client")

from model import keras, new_model

from fedn.model.helpers import keras as helper

if __name__ == "__main__":
    (model_out,) = sys.argv[1:]
    keras.utils.set_random_seed(int(os.environ.get("FEDN_SESSION_SEED", 0)))
    helper.save(model_out, new_model())
