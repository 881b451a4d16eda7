"""A network's graph is the same to the byte each time it is made, whatever random numbers were drawn before."""

import random

from qtrain.export.stages import graph_stages
from qtrain.models import build_model


def test_the_stages_of_one_network_are_the_same_each_time() -> None:
    model = build_model("TFC_2W2A", in_channels=1, image_size=(8, 8)).eval()
    made = []
    for seed in (1, 2):
        random.seed(seed)
        before = random.getstate()
        stages = []
        for stage in graph_stages(model, (1, 8, 8)):
            assert random.getstate() == before  # it is the user's
            stages.append((stage.name, stage.graph.model.SerializeToString(deterministic=True)))
        made.append(stages)
    assert made[0] == made[1]
