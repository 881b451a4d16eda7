"""What a run, a manifest and a FINN folder say of their data: classes, shape, and what the bytes stand for."""

from dataclasses import dataclass

BYTES = (0.0, 255.0)  # what 0 and 255 stand for where the values are bytes from the start


@dataclass(frozen=True)
class DataFacts:
    """What there is to know of a data set's inputs, which reach a network as uint8 [N, C, H, W] over 255.

    Attributes:
        name: as the recipe has it: a set's name, a folder, a file or ``module:name``.
        class_names: in the order of the labels.
        shape: channels, height and width of an input; a signal [C, L] is [C, L, 1], a row [F] is [F, 1, 1].
        layout: of the data where they come from: NCHW, NHWC, NCL (signals) or NF (rows).
        value_range: what the bytes 0 and 255 stand for, in the data's own unit; a value between them lies on the line.
        mean: of each channel over the training split, with the bytes over 255; empty where it was not computed.
        deviation: likewise, the standard deviation.
        digest: of the data that the run saw, to notice other ones; empty for the published sets, whose files are known.
    """

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    layout: str = "NCHW"
    value_range: tuple[float, float] = BYTES
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    digest: str = ""
