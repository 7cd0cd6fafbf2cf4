"""How bytes travel between the aggregator and its silos: one small seam, several carriers."""
