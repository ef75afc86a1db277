"""Controllers made by hand that drive a MaskedMimic policy: each writes masks and poses, none needs training."""
