"""Shapes of PE-Core's vision towers; in a module that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TowerShape:
    """What a tower is built by.

    size, patch: of a picture and of its patches (pixels, square). reference: patches in a row of
    the pictures that it was first trained on, by which positions are counted. outputs: width of
    what it makes.
    """

    size: int
    patch: int
    width: int
    depth: int
    heads: int
    reference: int
    outputs: int

    @property
    def grid(self) -> int:
        """Patches in a row."""
        return self.size // self.patch


TOWERS = {
    "vit_pe_core_tiny_patch16_384": TowerShape(384, 16, 192, 12, 3, 24, 512),
    "vit_pe_core_small_patch16_384": TowerShape(384, 16, 384, 12, 6, 24, 512),
    "vit_pe_core_base_patch16_224": TowerShape(224, 16, 768, 12, 12, 14, 1024),
    "vit_pe_core_large_patch14_336": TowerShape(336, 14, 1024, 24, 16, 24, 1024),
}
"""By timm's names; every published checkpoint has the last. `outputs` is told by a checkpoint."""

POOL_HEADS = 8
"""Heads of the attention that makes one vector of a picture."""
