"""Images of neurons from a folder or git repository laid out as the public one, and the catalogue of them."""
