"""The commands, thin: each joins experiments, exporter and reports; ``qtrain.cli`` starts them.

A command is ``command(parser, words, options) -> exit status``, beside the ``..._parser()`` of its options; it imports
what it needs when it runs, since torch and Brevitas take seconds.
"""
