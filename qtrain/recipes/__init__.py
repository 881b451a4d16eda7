"""Recipes that ship with qtrain, one YAML a network family and data set; made of what ``qtrain.recipe`` reads."""
