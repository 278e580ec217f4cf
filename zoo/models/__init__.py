"""The built-in architectures: ``builder(norm=..., num_classes=..., in_channels=..., **kwargs)`` to a module."""
