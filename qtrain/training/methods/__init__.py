"""How a run learns: an optimizer and its schedule behind one interface."""
