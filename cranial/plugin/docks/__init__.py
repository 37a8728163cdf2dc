"""What can be asked in napari: one file a dock."""
