"""PaddleDetection: networks of ppeconv as backbones of its detectors.

Importing this package registers `PPEConv` with ppdet's own registry, so that its YAML may say `backbone: PPEConv`:

    import ppeconv.integrations.ppdet

Raises:
    UserError: PaddleDetection is not installed.
"""

from ppeconv.integrations.ppdet.backbone import PPEConv

__all__ = ["PPEConv"]
