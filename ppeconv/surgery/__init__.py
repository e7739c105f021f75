"""Changing networks that stand: operators, recalibration blocks and heads are put in, feature maps are tapped."""
