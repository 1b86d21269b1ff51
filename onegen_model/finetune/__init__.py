"""Joint language-modelling and contrastive training of a OneGen checkpoint."""
