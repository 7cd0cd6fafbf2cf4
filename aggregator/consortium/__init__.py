"""The coordinator's office: the CA, the roster, the broker's configuration and the kits of the hospitals."""
