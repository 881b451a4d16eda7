"""What a proof does not show: answers that would be equal whatever the graph computed, classes that no image is of."""

from torch import Tensor

from qtrain.export.errors import ProofError

_NAMED = 10


def check_answers(logits: Tensor) -> None:
    """See that equal classes say something of the graph.

    Args:
        logits: of the reference, [N, classes].

    Raises:
        ProofError: one logit, or the same logits for every image.
    """
    if logits.shape[1] < 2:
        raise ProofError(
            "one logit: class 0 is the answer to every image, so that equal classes would prove nothing; give the last "
            "layer two outputs and train with cross entropy"
        )
    if len(logits) > 1 and bool((logits == logits[:1]).all()):
        raise ProofError(
            f"all {len(logits)} images get the same logits, so that equal classes would prove nothing; look at the "
            "training, and at weights that are all zero"
        )


def caveats(answers: Tensor, labels: Tensor, classes: int) -> tuple[str, ...]:
    """Say in sentences what the test set leaves open.

    Args:
        answers: class of each image, int64 [N].
        labels: int64 [N].
        classes: how many there are.
    """
    found = []
    if len(answers) == 1:
        found.append("one test image only")
    elif len(answers.unique()) == 1:
        found.append(f"every test image gets class {int(answers[0])}: no other answer was seen")
    of = set(labels.tolist())
    if len(of) == 1 and len(labels) > 1:
        found.append(f"all test images are of class {int(labels[0])}")
    missing = [label for label in range(classes) if label not in of]
    if missing and len(labels) > 1:
        names = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
        found.append(f"no test image is of {'class' if len(missing) == 1 else 'classes'} {names}")
    return tuple(found)
