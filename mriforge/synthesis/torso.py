"""What label maps leave out of a torso, found in its CT: fat, muscle, bone, gas, contents.

Thresholds in Hounsfield units are the usual ones: fat -190 to -30 (Yoshizumi et al. 1999,
Radiology 211:283), muscle and organs above, gas and lung far below.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mriforge.anatomy import NUMBER
from mriforge.errors import BadInput

_GAS, _FAT, _BONE = -400.0, -30.0, 180.0
_BODY = -350.0
_CONTENTS = {
    "stomach": ("stomach_contents", "stomach_gas"),
    "duodenum": ("duodenum_contents", "duodenum_contents"),
    "small_intestine": ("small_intestine_contents", "small_intestine_gas"),
    "colon": ("colon_contents", "bowel_gas"),
}
"""Hollow organs: what is in them, and the gas in them."""
_WALL_MM = 3.0
_CORTEX_MM = 6.0


def refuse_other_than_ct(image: np.ndarray) -> None:
    """Refuses an image whose values are not Hounsfield units.

    Raises:
        BadInput: no voxel is as dark as air or none is as bright as tissue.
    """
    if not (np.nanmin(image) < -700 and -150 < np.nanpercentile(image, 90) < 1000):
        raise BadInput(
            f"The image (values {np.nanmin(image):g} to {np.nanmax(image):g}) is not a CT in "
            "Hounsfield units.",
            "Fat and muscle are found in a CT only; leave the image out for other maps.",
        )


def filled_from_ct(tissues: np.ndarray, image: np.ndarray, spacing: float) -> np.ndarray:
    """The tissue map with everything that was unlabelled.

    Args:
        tissues: numbers ``(z, y, x)``, uint8, 0 where nothing is labelled.
        image: CT in Hounsfield units on the same grid.
        spacing: voxel size, mm.

    Returns:
        a new map; labelled voxels keep their organ.
    """
    hounsfield = ndimage.gaussian_filter(image.astype(np.float32), 0.4)
    result = tissues.copy()
    body = body_of(hounsfield, tissues, spacing)
    free = body & (tissues == 0)
    depth = ndimage.distance_transform_edt(body) * spacing
    wall = inside_of_wall(hounsfield, tissues, depth, spacing)
    lung = _lungs(hounsfield, tissues, free)
    gas = free & (hounsfield < _GAS)
    fat = free & ~gas & (hounsfield < _FAT)
    bone = free & (hounsfield > _BONE)
    soft = free & ~gas & ~fat & ~bone
    result[fat & ~wall] = NUMBER["subcutaneous_fat"]
    result[fat & wall] = NUMBER["visceral_fat"]
    result[soft] = NUMBER["other_soft_tissue"]
    result[soft & _muscular(tissues, wall, bone, spacing)] = NUMBER["muscle"]
    result[bone] = NUMBER["other_bone"]
    result[gas] = NUMBER["bowel_gas"]
    result[gas & lung] = NUMBER["lung"]
    # Between lung and its surroundings a voxel is half of each: neither fat nor gas of bowel.
    rim = ndimage.binary_dilation(result == NUMBER["lung"], iterations=1)
    result[free & rim & (hounsfield < -120)] = NUMBER["lung"]
    result[(depth <= max(2.0, spacing)) & free & (hounsfield > -300)] = NUMBER["skin"]
    dense = (result == NUMBER["other_bone"]) & (hounsfield > 350)
    result[dense] = NUMBER["cortical_bone"]
    hollow_organs(result, hounsfield, spacing)
    renal_medulla(result, spacing)
    discs_and_fluid(result, free & (hounsfield > _FAT), spacing)
    return result


def body_of(hounsfield: np.ndarray, tissues: np.ndarray, spacing: float) -> np.ndarray:
    """The largest connected piece that is not air, without holes in any axial slice.

    Tables and blankets are thin: an opening removes what connects them to the body.
    """
    solid = (hounsfield > _BODY) | (tissues > 0)
    steps = max(1, round(3.0 / spacing))
    opened = ndimage.binary_opening(solid, iterations=steps)
    pieces, count = ndimage.label(opened)
    if count == 0:
        return solid
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    body = pieces == sizes.argmax()
    body = (ndimage.binary_dilation(body, iterations=steps) & solid) | (tissues > 0)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def inside_of_wall(
    hounsfield: np.ndarray, tissues: np.ndarray, depth: np.ndarray, spacing: float
) -> np.ndarray:
    """Everything that the muscles and bones of the wall enclose, slice by slice.

    Gaps between muscles are closed up to about 40 mm.
    """
    firm = (tissues > 0) | ((hounsfield > -10) & (depth > max(6.0, 1.5 * spacing)))
    firm = ndimage.binary_opening(firm, iterations=1) | (tissues > 0)
    reach = max(1, round(20.0 / spacing))
    planes = []
    for plane in firm:
        padded = np.pad(plane, reach)
        far = ndimage.distance_transform_edt(~padded) > reach
        closed = ndimage.distance_transform_edt(~far) > reach
        closed = ndimage.binary_fill_holes(closed | padded)
        planes.append(closed[reach:-reach, reach:-reach])
    return np.stack(planes)


def _lungs(hounsfield: np.ndarray, tissues: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Air that belongs to a lung: it touches one, or is a large cavity of lung's density."""
    airy = (free & (hounsfield < _GAS)) | (tissues == NUMBER["lung"])
    pieces, _ = ndimage.label(airy)
    labelled = np.unique(pieces[tissues == NUMBER["lung"]])
    return np.isin(pieces, labelled[labelled > 0])


def _muscular(
    tissues: np.ndarray, wall: np.ndarray, bone: np.ndarray, spacing: float
) -> np.ndarray:
    """Where unlabelled soft tissue is muscle: in the wall, around bones and labelled muscles."""
    firm = np.isin(tissues, [NUMBER[key] for key in ("muscle", "other_bone", "vertebrae")]) | bone
    near = ndimage.distance_transform_edt(~firm) * spacing < 25
    deep = ndimage.distance_transform_edt(wall) * spacing
    return near | (deep < 22)


def hollow_organs(tissues: np.ndarray, hounsfield: np.ndarray | None, spacing: float) -> None:
    """Divide hollow organs into wall, contents and gas, in place.

    Contents lie deeper than the wall's thickness and, where there is a CT, are darker than walls,
    or brighter (contrast agent).
    """
    smooth = None if hounsfield is None else ndimage.gaussian_filter(hounsfield, 1.0)
    for key, (contents, gas) in _CONTENTS.items():
        organ = tissues == NUMBER[key]
        if not organ.any():
            continue
        deep = ndimage.distance_transform_edt(organ) * spacing > max(_WALL_MM, 1.2 * spacing)
        inner = deep if smooth is None else deep & ((smooth < 30) | (smooth > 120))
        tissues[organ & inner] = NUMBER[contents]
        if hounsfield is not None:
            tissues[organ & (hounsfield < -250)] = NUMBER[gas]


def renal_medulla(tissues: np.ndarray, spacing: float) -> None:
    """Pyramids below the cortex of the kidneys, in place.

    Where they are in reality a label map does not say: seven to a turn and a few along the kidney,
    deeper than the cortex is thick.
    """
    for key in ("right_kidney", "left_kidney"):
        kidney = tissues == NUMBER[key]
        if not kidney.any():
            continue
        depth = ndimage.distance_transform_edt(kidney) * spacing
        # Only the outer surface counts: the sinus is a dent that closing fills.
        place = np.argwhere(kidney)
        offset = (place - place.mean(axis=0)) * spacing
        turn = np.arctan2(offset[:, 1], offset[:, 2])
        pyramid = np.cos(7 * turn) + np.cos(2 * np.pi * offset[:, 0] / 22.0) > -0.3
        medulla = NUMBER[key.replace("kidney", "renal_medulla")]
        chosen = place[pyramid & (depth[kidney] > _CORTEX_MM)]
        tissues[tuple(chosen.T)] = medulla


def discs_and_fluid(tissues: np.ndarray, soft: np.ndarray, spacing: float) -> None:
    """Discs between vertebral bodies and fluid around the cord, in place, where it is ``soft``."""
    body = tissues == NUMBER["vertebrae"]
    if body.any():
        reach = max(1, round(8.0 / spacing))
        line = np.ones((2 * reach + 1, 1, 1), dtype=bool)
        padded = np.pad(body, ((reach, reach), (0, 0), (0, 0)))
        column = ndimage.binary_closing(padded, line)[reach:-reach]
        tissues[column & ~body & soft] = NUMBER["intervertebral_disc"]
    cord = tissues == NUMBER["spinal_cord"]
    if cord.any():
        near = ndimage.distance_transform_edt(~cord) * spacing <= max(3.5, spacing)
        around = near & soft & (tissues != NUMBER["intervertebral_disc"])
        tissues[around] = NUMBER["cerebrospinal_fluid"]
