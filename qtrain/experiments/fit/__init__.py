"""The most accurate network that fits a board at a frame rate: bits by sensitivity, judged by the FINN compiler."""
