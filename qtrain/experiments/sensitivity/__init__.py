"""How much worse a network is with one quantizer narrowed: what a fit chooses by, and a search begins with."""
