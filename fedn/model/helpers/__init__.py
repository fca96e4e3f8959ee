"""Load and save a framework's model as a FEDn model file: one module per framework."""
