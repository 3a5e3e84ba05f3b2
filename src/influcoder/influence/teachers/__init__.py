"""Teachers: how features and curvature become an influence."""
