"""Tables, figures and pages made of recorded runs; nothing here trains."""
