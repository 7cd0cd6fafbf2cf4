"""The data officer's part of the silo: which plans were approved here, and by whom."""
