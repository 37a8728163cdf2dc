"""What have others reported on SkullBreak, SkullFix and the AutoImplant challenges? Means, with where they are from.

Only figures that were looked up; where a source does not give one, there is none. They are of other test cases than
ours, some of other training data, and so say where the field stands, not who would win on one set.
"""

from dataclasses import dataclass

STUDY = "Wodzinski et al. 2024, arXiv:2406.06372"
_FRIEDRICH = "Friedrich et al. 2023, arXiv:2303.08061 (and its code's README)"
STUDY_GPU_HOURS = 100_000  # A100 hours of the study, "> 100,000" in arXiv:2411.17342, which is by the same authors


@dataclass(frozen=True)
class Reported:
    """What a publication says of one method on one test set; None where it does not say."""

    method: str
    test_set: str
    dice: float | None
    border_dice: float | None
    hd95_mm: float | None
    source: str


REPORTED = (
    Reported("3D U-Net (winner of AutoImplant 2021, retrained)", "SkullBreak", 0.87, 0.91, 2.32, _FRIEDRICH),
    Reported("3D U-Net, sparse (AutoImplant 2021, retrained)", "SkullBreak", 0.71, 0.80, 4.60, _FRIEDRICH),
    Reported("2D U-Net, by slices (AutoImplant 2021, retrained)", "SkullBreak", 0.87, 0.89, 2.13, _FRIEDRICH),
    Reported("point cloud diffusion, ensemble of 5", "SkullBreak", 0.87, 0.89, 2.45, _FRIEDRICH),
    Reported("heavy augmentation: Geo + IR + LDM-VQVAE", "SkullBreak", 0.949, None, None, STUDY),
    Reported("3D U-Net (winner of AutoImplant 2021, retrained)", "SkullFix", 0.91, 0.95, 1.79, _FRIEDRICH),
    Reported("3D U-Net, sparse (AutoImplant 2021, retrained)", "SkullFix", 0.81, 0.87, 3.04, _FRIEDRICH),
    Reported("2D U-Net, by slices (AutoImplant 2021, retrained)", "SkullFix", 0.89, 0.92, 1.98, _FRIEDRICH),
    Reported("point cloud diffusion, ensemble of 5", "SkullFix", 0.90, 0.93, 1.69, _FRIEDRICH),
    Reported("heavy augmentation: Geo + IR + LDM-VQVAE", "SkullFix", 0.968, None, None, STUDY),
    Reported("without symmetry enforcement", "SkullBreak, SkullFix: not told apart", 0.84, 0.76, 2.43,
             "Wodzinski et al. 2024, arXiv:2411.17342, abstract"),
    Reported("symmetry enforcement", "SkullBreak, SkullFix: not told apart", 0.94, 0.94, 1.31,
             "Wodzinski et al. 2024, arXiv:2411.17342, abstract"),
    Reported("two encoder-decoders, coarse to fine", "AutoImplant 2020", 0.8555, None, None,
             "Li et al. 2020, arXiv:2006.12449"),
)  # fmt: skip
